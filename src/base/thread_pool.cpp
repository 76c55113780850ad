// Persistent workers, each with its own ticket: a call hands a range to exactly the workers it needs. A caller that is
// done with its own range takes over ranges whose worker has not begun, so a worker that waits for a core on a busy
// machine delays nobody. Which thread runs a range changes nothing else: ranges and worker numbers stay.
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
    std::atomic<uint32_t> taken{0};   // number of the latest call whose range somebody took

    bool idle() const { return taken.load() == ticket.load(); }
    /// True for one thread a call: the one that must run the range.
    bool take() {
      uint32_t call = ticket.load();
      uint32_t before = call - 1;
      return taken.compare_exchange_strong(before, call);
    }

    Bed bed;
    std::thread thread;
  };

  int threads;
  bool spin;
  std::vector<Worker> workers;  // threads - 1 of them; worker i of the vector is number i + 1
  std::mutex callers;           // one loop at a time

  // The loop in progress, written before tickets change.
  Function function = nullptr;
  void* context = nullptr;
  int64_t count = 0;
  int64_t grain = 1;
  int parts = 1;
  bool stop = false;
  alignas(64) std::atomic<int> pending{0};
  Bed caller;

  explicit State(int thread_count)
      : threads(thread_count),
        spin(thread_count <= available_cores()),
        workers(static_cast<size_t>(thread_count - 1)) {}

  void run_part(int part) const {
    const int64_t blocks = (count + grain - 1) / grain;
    const int64_t begin = blocks * part / parts * grain;
    const int64_t end = std::min(count, blocks * (part + 1) / parts * grain);
    if (begin < end) function(context, begin, end, part);
  }

  void work(int number) {
    Worker& self = workers[static_cast<size_t>(number - 1)];
    const auto called = [&] { return !self.idle(); };
    for (;;) {
      if (!spin_until(spin, called)) self.bed.sleep_until(called);
      if (!self.take()) continue;  // the caller was faster
      if (stop) return;            // the loop's description may be read only now that the caller waits for this range
      run_part(number);
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
  s.count = count;
  s.grain = grain;
  s.parts = parts;
  s.pending.store(parts - 1);
  for (int part = 1; part < parts; ++part) s.call(s.workers[static_cast<size_t>(part - 1)]);
  s.run_part(0);
  for (int part = parts - 1; part > 0; --part) {
    if (!s.workers[static_cast<size_t>(part - 1)].take()) continue;
    s.run_part(part);
    s.pending.fetch_sub(1);
  }
  const auto done = [&] { return s.pending.load() == 0; };
  if (!spin_until(s.spin, done)) s.caller.sleep_until(done);
}

}  // namespace halftone
