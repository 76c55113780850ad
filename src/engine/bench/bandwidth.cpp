// Sums over memory; see bandwidth.h.
#include "engine/bench/bandwidth.h"

#include <algorithm>
#include <vector>

#include "base/huge_pages.h"
#include "engine/bench/statistics.h"

namespace halftone::engine {
namespace {

constexpr int kPasses = 3;      // of each way
constexpr int64_t kLanes = 8;   // sums side by side: a cache line, and enough of them to hide the additions
constexpr int64_t kNear = 384;  // words ahead, 3 KB: more than a core asks for by itself on some virtual machines
constexpr int64_t kFar = 1024;  // 8 KB: cores ask for nothing beyond the next page

/// Adds the words [begin, end) to `sums`, a cache line.
template <bool kAsk>
void add_words(const uint64_t* words, int64_t begin, int64_t end, uint64_t* sums) {
  uint64_t lanes[kLanes] = {};
  for (int64_t i = begin; i + kLanes <= end; i += kLanes) {
    if constexpr (kAsk) __builtin_prefetch(words + i + kNear, 0, 3), __builtin_prefetch(words + i + kFar, 0, 2);
    for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] += words[i + lane];
  }
  for (int64_t lane = 0; lane < kLanes; ++lane) sums[lane] += lanes[lane];
}

}  // namespace

ReadBandwidth::ReadBandwidth(size_t bytes)
    : words_(std::max(static_cast<int64_t>(bytes / sizeof(uint64_t)), kLanes)),
      memory_(shared_huge_pages(static_cast<size_t>(words_) * sizeof(uint64_t))) {
  std::fill_n(reinterpret_cast<uint64_t*>(memory_.get()), words_, 1);
}

double ReadBandwidth::measure(ExecContext& exec) const {
  std::vector<uint64_t> sums(static_cast<size_t>(exec.pool.threads() * kLanes), 0);
  const auto* words = reinterpret_cast<const uint64_t*>(memory_.get());
  double best = 0;
  for (int pass = 0; pass < 2 * kPasses; ++pass) {
    const Stopwatch watch;
    const auto add = pass % 2 == 0 ? add_words<true> : add_words<false>;
    exec.pool.parallel_for(
        words_, 4096, [&](int64_t begin, int64_t end, int worker) { add(words, begin, end, &sums[worker * kLanes]); });
    best =
        std::max(best, static_cast<double>(words_ * static_cast<int64_t>(sizeof(uint64_t))) / watch.seconds() * 1e-9);
  }
  return sums[0] > 0 ? best : 0;  // the sums are used, or the loop could be dropped
}

}  // namespace halftone::engine
