// Sums over memory; see bandwidth.h.
#include "engine/bench/bandwidth.h"

#include <algorithm>

#include "engine/bench/statistics.h"

namespace halftone::engine {
namespace {

constexpr int kPasses = 5;
constexpr int kLanes = 8;  // sums side by side: a cache line, and enough of them to hide the additions

}  // namespace

ReadBandwidth::ReadBandwidth(size_t bytes) : memory_(std::max<size_t>(bytes / sizeof(uint64_t), kLanes), 1) {}

double ReadBandwidth::measure(ExecContext& exec) const {
  std::vector<uint64_t> sums(exec.pool.threads() * kLanes, 0);  // a cache line each
  double best = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const Stopwatch watch;
    exec.pool.parallel_for(static_cast<int64_t>(memory_.size()), 4096, [&](int64_t begin, int64_t end, int worker) {
      uint64_t lanes[kLanes] = {};
      for (int64_t i = begin; i + kLanes <= end; i += kLanes)
        for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += memory_[i + lane];
      for (const uint64_t lane : lanes) sums[worker * kLanes] += lane;
    });
    best = std::max(best, static_cast<double>(memory_.size() * sizeof(uint64_t)) / watch.seconds() * 1e-9);
  }
  return sums[0] > 0 ? best : 0;  // the sums are used, or the loop could be dropped
}

}  // namespace halftone::engine
