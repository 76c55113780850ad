// Keeps this thread, the threads and the programs that it starts on a few cores, so that programs which are compared
// have the same ones.
#pragma once

#include <sched.h>

#include <vector>

namespace halftone::engine {

class PinnedCores {
 public:
  /// The first `count` of the CPUs that we may use, one of every core as long as there are cores; until destruction.
  /// Throws InvalidArgument when there are fewer CPUs.
  explicit PinnedCores(int count);
  ~PinnedCores();
  PinnedCores(const PinnedCores&) = delete;
  PinnedCores& operator=(const PinnedCores&) = delete;

  const std::vector<int>& cpus() const { return cpus_; }

 private:
  cpu_set_t before_;
  std::vector<int> cpus_;
};

}  // namespace halftone::engine
