// Filters by a heap that gives up candidates from the top only as far as they are needed; see sampler.h.
#include "engine/generate/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace halftone::engine {
namespace {

void expect_between(const char* name, double value, double low, double high) {
  if (!(value >= low && value <= high))
    throw InvalidArgument("{} is {}; accepted are {} .. {}", name, value, low, high);
}

}  // namespace

void SamplingOptions::validate() const {
  expect_between("temperature", temperature, 0, 100);
  expect_between("top_p", top_p, 0, 1);
  expect_between("min_p", min_p, 0, 1);
  if (top_k < 0) throw InvalidArgument("top_k is {}; accepted are 0 (all) and more", top_k);
}

int32_t first_maximum(std::span<const float> logits) {
  // Lanes that compilers make vectors of; only the chunk with the maximum is searched for its place.
  constexpr size_t kLanes = 16, kChunk = 2048;
  constexpr float kLowest = -std::numeric_limits<float>::infinity();
  const size_t count = logits.size();
  size_t best = 0;
  float top = kLowest;
  for (size_t begin = 0; begin < count; begin += kChunk) {
    const size_t end = std::min(count, begin + kChunk);
    float lanes[kLanes];
    std::fill(lanes, lanes + kLanes, kLowest);
    size_t i = begin;
    for (; i + kLanes <= end; i += kLanes)
      for (size_t j = 0; j < kLanes; ++j) lanes[j] = logits[i + j] > lanes[j] ? logits[i + j] : lanes[j];
    for (; i < end; ++i) lanes[0] = logits[i] > lanes[0] ? logits[i] : lanes[0];
    const float most = *std::max_element(lanes, lanes + kLanes);
    if (most > top) top = most, best = begin;
  }
  while (best + 1 < count && logits[best] != top) ++best;  // a NaN equals nothing
  return static_cast<int32_t>(best);
}

Sampler::Sampler(const SamplingOptions& options) : options_(options), random_(options.seed) { options_.validate(); }

void Sampler::collect(std::span<const float> logits) {
  scored_.clear();
  for (size_t i = 0; i < logits.size(); ++i)
    if (std::isfinite(logits[i])) scored_.push_back({logits[i], static_cast<int32_t>(i)});
  if (scored_.empty())
    throw NumericError(
        "none of the {} logits is a finite number: the model's weights or activations left the range of "
        "their formats",
        logits.size());
}

void Sampler::filter() {
  const auto better = [](const Scored& a, const Scored& b) {
    return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
  };
  if (options_.top_k > 0 && static_cast<size_t>(options_.top_k) < scored_.size()) {
    std::nth_element(scored_.begin(), scored_.begin() + options_.top_k, scored_.end(), better);
    scored_.resize(static_cast<size_t>(options_.top_k));
  }
  const auto worse = [&](const Scored& a, const Scored& b) { return better(b, a); };
  std::make_heap(scored_.begin(), scored_.end(), worse);
  const double top = scored_.front().logit;
  double total = 0;
  if (options_.top_p < 1) {  // summed over ascending token ids would need a sort; the heap's order is as fixed as that
    for (const auto& s : scored_) total += std::exp(s.logit - top);
  }
  kept_.clear();
  double covered = 0;
  for (auto end = scored_.end(); end != scored_.begin(); --end) {
    const Scored next = scored_.front();
    const double relative = std::exp(next.logit - top);  // p / p_max, temperature aside
    if (!kept_.empty() && relative < options_.min_p) break;
    kept_.push_back({next.token, relative});
    covered += relative;
    if (options_.top_p < 1 && covered >= options_.top_p * total) break;
    std::pop_heap(scored_.begin(), end, worse);
  }
}

const std::vector<Sampler::Candidate>& Sampler::distribution(std::span<const float> logits) {
  collect(logits);
  if (options_.temperature == 0) {
    kept_.assign(1, {first_maximum(logits), 1.0});
    return kept_;
  }
  filter();
  double sum = 0;
  for (auto& candidate : kept_)
    sum += candidate.probability = std::pow(candidate.probability, 1 / options_.temperature);
  for (auto& candidate : kept_) candidate.probability /= sum;
  return kept_;
}

int32_t Sampler::sample(std::span<const float> logits) {
  const auto& candidates = distribution(logits);
  if (options_.temperature == 0) return candidates.front().token;
  const uint64_t high = random_(), low = random_();
  const double draw = static_cast<double>((high << 32 | low) >> 11) * 0x1p-53;
  double below = 0;
  for (const auto& candidate : candidates) {
    below += candidate.probability;
    if (draw < below) return candidate.token;
  }
  return candidates.back().token;  // the probabilities sum to 1 only up to rounding
}

}  // namespace halftone::engine
