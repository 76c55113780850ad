// Where a computation's time goes, operation by operation; off unless an ExecContext names a Trace.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace halftone {

/// Wall time on the calling thread, which waits there for the others that help: what an operation costs a step. Not
/// thread-safe: one caller at a time.
class Trace {
 public:
  struct Entry {
    std::string operation, kernel;
    int64_t calls = 0;
    double seconds = 0;
  };

  /// `operation` and `kernel` must be literals: they are told apart by address.
  void add(const char* operation, const char* kernel, double seconds);
  void clear() { sums_.clear(); }
  /// What was added, most time first; the same names in one entry.
  std::vector<Entry> entries() const;

 private:
  struct Sum {
    const char *operation, *kernel;
    int64_t calls;
    double seconds;
  };
  std::vector<Sum> sums_;
};

/// Adds its life's time to `trace`; nothing where that is null.
class Traced {
 public:
  Traced(Trace* trace, const char* operation, const char* kernel)
      : trace_(trace), operation_(operation), kernel_(kernel) {
    if (trace_ != nullptr) begin_ = Clock::now();
  }
  ~Traced() {
    if (trace_ != nullptr)
      trace_->add(operation_, kernel_, std::chrono::duration<double>(Clock::now() - begin_).count());
  }
  Traced(const Traced&) = delete;
  Traced& operator=(const Traced&) = delete;

 private:
  using Clock = std::chrono::steady_clock;
  Trace* trace_;
  const char *operation_, *kernel_;
  Clock::time_point begin_;
};

}  // namespace halftone
