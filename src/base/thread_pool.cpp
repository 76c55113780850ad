// Persistent workers, each with its own ticket: a call hands a share to exactly the workers it needs. A thread takes
// its own share in pieces, half of what is left at a time, so that it meets the same data in every loop, and then helps
// with the shares of others: cores that are slower than their neighbours, or busy with other work, delay nobody for
// long.
//
// Idle workers spin for kSpin, since the next kernel of a model usually follows within microseconds, and then sleep on
// a condition variable, since the machine may be shared. With more threads than cores nobody spins: the spinner would
// hold the core that the work needs.
#include "base/thread_pool.h"

#include <sched.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "base/error.h"

namespace halftone {

namespace {

constexpr auto kSpin = std::chrono::microseconds(80);
constexpr int64_t kPieces = 8;  // of a share at most; more cost more claims than they save waiting

int available_cores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1u, std::thread::hardware_concurrency());
}

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

/// Waits for `ready`, spinning up to kSpin when `spin`; false when time ran out.
template <class Ready>
bool spin_until(bool spin, Ready ready) {
  if (ready()) return true;
  if (!spin) return false;
  const auto deadline = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 16; ++i) {
      relax();
      if (ready()) return true;
    }
  } while (std::chrono::steady_clock::now() < deadline);
  return false;
}

/// One thread's place to sleep until a condition on atomics holds. `wake` costs a load when nobody sleeps.
struct Bed {
  std::atomic<bool> asleep{false};
  std::mutex mutex;
  std::condition_variable changed;

  template <class Ready>
  void sleep_until(Ready ready) {
    std::unique_lock lock(mutex);
    asleep.store(true);  // sequentially consistent, as the caller's store before wake(): one of the two sees the other
    changed.wait(lock, ready);
    asleep.store(false);
  }

  void wake() {
    if (!asleep.load()) return;
    { const std::lock_guard lock(mutex); }  // the sleeper is either before its test of `ready` or inside wait
    changed.notify_one();
  }
};

}  // namespace

struct ThreadPool::State {
  struct alignas(64) Worker {
    std::atomic<uint32_t> ticket{0};  // number of the latest call
    std::atomic<uint32_t> taken{0};   // number of the latest call that was answered

    bool idle() const { return taken.load() == ticket.load(); }
    /// True for one thread a call: the worker, or the caller that needs it no more.
    bool take() {
      uint32_t call = ticket.load();
      uint32_t before = call - 1;
      return taken.compare_exchange_strong(before, call);
    }

    Bed bed;
    std::thread thread;
  };

  /// What is left of a thread's part of the loop.
  struct alignas(64) Share {
    std::atomic<int64_t> next{0};
    int64_t end = 0, smallest = 1;  // of a piece, a multiple of the grain

    bool claim(int64_t& begin, int64_t& piece_end) {
      begin = next.load(std::memory_order_relaxed);
      while (begin < end) {
        const int64_t half = ((end - begin) / 2 + smallest - 1) / smallest * smallest;
        piece_end = std::min(end, begin + std::max(smallest, half));
        if (next.compare_exchange_weak(begin, piece_end, std::memory_order_relaxed)) return true;
      }
      return false;
    }
  };

  int threads;
  bool spin;
  std::vector<Share> shares;    // one a thread
  std::vector<Worker> workers;  // threads - 1 of them; worker i of the vector is number i + 1
  std::mutex callers;           // one loop at a time

  // The loop in progress, written before tickets change.
  Function function = nullptr;
  void* context = nullptr;
  int parts = 1;
  bool stop = false;
  alignas(64) std::atomic<int> pending{0};
  Bed caller;

  explicit State(int thread_count)
      : threads(thread_count),
        spin(thread_count <= available_cores()),
        shares(static_cast<size_t>(thread_count)),
        workers(static_cast<size_t>(thread_count - 1)) {}

  /// Shares of whole grains, as equal as they come.
  void divide(int64_t count, int64_t grain) {
    const int64_t blocks = (count + grain - 1) / grain;
    for (int part = 0; part < parts; ++part) {
      Share& share = shares[static_cast<size_t>(part)];
      const int64_t begin = blocks * part / parts, end = blocks * (part + 1) / parts;
      share.next.store(begin * grain, std::memory_order_relaxed);
      share.end = std::min(count, end * grain);
      share.smallest = std::max<int64_t>(1, (end - begin) / kPieces) * grain;
    }
  }

  /// One's own share first, then what the others have left.
  void run_shares(int number) {
    for (int i = 0; i < parts; ++i) {
      Share& share = shares[static_cast<size_t>((number + i) % parts)];
      int64_t begin, end;
      while (share.claim(begin, end)) function(context, begin, end, number);
    }
  }

  void work(int number) {
    Worker& self = workers[static_cast<size_t>(number - 1)];
    const auto called = [&] { return !self.idle(); };
    for (;;) {
      if (!spin_until(spin, called)) self.bed.sleep_until(called);
      if (!self.take()) continue;  // the caller was faster
      if (stop) return;            // the loop's description may be read only now that the caller waits for this thread
      run_shares(number);
      if (pending.fetch_sub(1) == 1) caller.wake();
    }
  }

  void call(Worker& worker) {
    worker.ticket.fetch_add(1);
    worker.bed.wake();
  }
};

ThreadPool::ThreadPool(int threads) {
  if (threads < 0 || threads > 1024) {
    throw InvalidArgument("thread pool asked for {} threads; use 1 to 1024, or 0 for one a core", threads);
  }
  state_ = std::make_unique<State>(threads == 0 ? std::min(available_cores(), 1024) : threads);
  for (int number = 1; number < state_->threads; ++number) {
    state_->workers[static_cast<size_t>(number - 1)].thread =
        std::thread([s = state_.get(), number] { s->work(number); });
  }
}

ThreadPool::~ThreadPool() {
  state_->stop = true;
  for (auto& worker : state_->workers) state_->call(worker);
  for (auto& worker : state_->workers) worker.thread.join();
}

int ThreadPool::threads() const { return state_->threads; }

void ThreadPool::run(int64_t count, int64_t grain, Function function, void* context) {
  if (count <= 0) return;
  State& s = *state_;
  grain = std::max<int64_t>(grain, 1);
  const int64_t blocks = (count + grain - 1) / grain;
  const int parts = static_cast<int>(std::min<int64_t>(blocks, s.threads));
  if (parts == 1) return function(context, 0, count, 0);

  const std::lock_guard one_at_a_time(s.callers);
  s.function = function;
  s.context = context;
  s.parts = parts;
  s.divide(count, grain);
  s.pending.store(parts - 1);
  for (int part = 1; part < parts; ++part) s.call(s.workers[static_cast<size_t>(part - 1)]);
  s.run_shares(0);
  // All is taken. Who has not begun need not; who has is waited for.
  for (int part = parts - 1; part > 0; --part)
    if (s.workers[static_cast<size_t>(part - 1)].take()) s.pending.fetch_sub(1);
  const auto done = [&] { return s.pending.load() == 0; };
  if (!spin_until(s.spin, done)) s.caller.sleep_until(done);
}

}  // namespace halftone
