// One pool of worker threads for all kernels: no thread is created, and nothing allocated, per call.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <type_traits>

namespace halftone {

/// Runs loops over its workers and the calling thread. Idle workers spin briefly, then sleep.
/// Kernels partition outputs, never a reduction, so results do not depend on the number of threads.
class ThreadPool {
 public:
  /// `threads` counts the caller; 0 takes the number of cores. Throws InvalidArgument below 0 or above 1024.
  explicit ThreadPool(int threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const;
  /// A grain that gives every thread one range of `count` items, itself a multiple of `grain`.
  int64_t whole_share(int64_t count, int64_t grain = 1) const {
    const int64_t blocks = (count + grain - 1) / grain;
    return std::max<int64_t>(1, (blocks + threads() - 1) / threads()) * grain;
  }

  /// Calls body(begin, end, worker) on disjoint ranges that cover [0, count); 0 <= worker < threads(), and no worker
  /// runs two at a time. Inner boundaries are multiples of `grain`; a thread has several ranges unless the
  /// grain is whole_share(count). Returns when all are done. A body must not throw and must not call
  /// parallel_for of the same pool.
  template <class Body>
  void parallel_for(int64_t count, int64_t grain, Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    run(
        count, grain,
        [](void* context, int64_t begin, int64_t end, int worker) {
          (*static_cast<Plain*>(context))(begin, end, worker);
        },
        const_cast<void*>(static_cast<const void*>(std::addressof(body))));
  }

 private:
  using Function = void (*)(void* context, int64_t begin, int64_t end, int worker);
  void run(int64_t count, int64_t grain, Function function, void* context);
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace halftone
