// sched_setaffinity over the first cores; see affinity.h.
#include "engine/bench/affinity.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <set>
#include <string>

#include "base/error.h"

namespace halftone::engine {
namespace {

/// Names the core that `cpu` belongs to by its hardware threads, "3,19"; by itself where the system does not say.
std::string core_of(int cpu) {
  std::ifstream file(fmt::format("/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list", cpu));
  std::string siblings;
  return std::getline(file, siblings) && !siblings.empty() ? siblings : fmt::format("cpu {}", cpu);
}

/// `cpus` with one of every core first.
std::vector<int> one_a_core_first(const std::vector<int>& cpus) {
  std::set<std::string> seen;
  std::vector<int> first, rest;
  for (const int cpu : cpus) (seen.insert(core_of(cpu)).second ? first : rest).push_back(cpu);
  first.insert(first.end(), rest.begin(), rest.end());
  return first;
}

}  // namespace

PinnedCores::PinnedCores(int count) {
  CPU_ZERO(&before_);
  if (sched_getaffinity(0, sizeof before_, &before_) != 0)
    throw DeviceError("the CPUs that this program may use cannot be read: {}", std::strerror(errno));
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &before_)) cpus_.push_back(cpu);
  if (count < 1 || count > static_cast<int>(cpus_.size()))
    throw InvalidArgument("{} threads cannot be pinned: this program may use {} CPUs; ask for 1 to {}", count,
                          cpus_.size(), cpus_.size());
  cpus_ = one_a_core_first(cpus_);
  cpus_.resize(static_cast<size_t>(count));
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int cpu : cpus_) CPU_SET(cpu, &set);
  if (sched_setaffinity(0, sizeof set, &set) != 0)
    throw DeviceError("this program cannot be pinned to {} CPUs: {}", count, std::strerror(errno));
}

PinnedCores::~PinnedCores() { sched_setaffinity(0, sizeof before_, &before_); }

}  // namespace halftone::engine
