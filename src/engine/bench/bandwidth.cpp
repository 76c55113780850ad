// Sums over memory; see bandwidth.h.
#include "engine/bench/bandwidth.h"

#include <algorithm>

#include "engine/bench/statistics.h"

namespace halftone::engine {
namespace {

constexpr int kPasses = 3;           // of each way
constexpr int kLanes = 8;            // sums side by side: a cache line, and enough of them to hide the additions
constexpr int64_t kAskedLines = 48;  // ahead: more than a core asks for by itself on some virtual machines

/// Adds the words [begin, end) to `sums`, a cache line.
template <bool kAsk>
void add_words(const uint64_t* words, int64_t begin, int64_t end, uint64_t* sums) {
  uint64_t lanes[kLanes] = {};
  for (int64_t i = begin; i + kLanes <= end; i += kLanes) {
    if constexpr (kAsk) __builtin_prefetch(words + i + kAskedLines * kLanes);
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += words[i + lane];
  }
  for (int lane = 0; lane < kLanes; ++lane) sums[lane] += lanes[lane];
}

}  // namespace

ReadBandwidth::ReadBandwidth(size_t bytes) : memory_(std::max<size_t>(bytes / sizeof(uint64_t), kLanes), 1) {}

double ReadBandwidth::measure(ExecContext& exec) const {
  std::vector<uint64_t> sums(exec.pool.threads() * kLanes, 0);
  double best = 0;
  for (int pass = 0; pass < 2 * kPasses; ++pass) {
    const Stopwatch watch;
    const auto add = pass % 2 == 0 ? add_words<true> : add_words<false>;
    exec.pool.parallel_for(static_cast<int64_t>(memory_.size()), 4096, [&](int64_t begin, int64_t end, int worker) {
      add(memory_.data(), begin, end, &sums[worker * kLanes]);
    });
    best = std::max(best, static_cast<double>(memory_.size() * sizeof(uint64_t)) / watch.seconds() * 1e-9);
  }
  return sums[0] > 0 ? best : 0;  // the sums are used, or the loop could be dropped
}

}  // namespace halftone::engine
