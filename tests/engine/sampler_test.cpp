// Sampling: filters worked out by hand, draws against the exact distribution, greedy ties, numbers that are not.
#include "engine/generate/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"

namespace halftone::engine {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

constexpr SamplingOptions kAll = {.temperature = 1, .top_k = 0, .top_p = 1, .min_p = 0, .seed = 0};

std::vector<float> logs(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p) + 3));  // a constant is nothing
  return logits;
}

std::vector<std::pair<int32_t, double>> kept(SamplingOptions options, const std::vector<float>& logits) {
  Sampler sampler(options);
  std::vector<std::pair<int32_t, double>> result;
  for (const auto& candidate : sampler.distribution(logits))
    result.emplace_back(candidate.token, candidate.probability);
  return result;
}

void expect_kept(const std::vector<std::pair<int32_t, double>>& found,
                 const std::vector<std::pair<int32_t, double>>& wanted) {
  ASSERT_EQ(found.size(), wanted.size());
  for (size_t i = 0; i < wanted.size(); ++i) {
    EXPECT_EQ(found[i].first, wanted[i].first);
    EXPECT_NEAR(found[i].second, wanted[i].second, 1e-6);  // the logits are f32
  }
}

TEST(Sampler, FiltersActInTheirOrder) {
  const auto logits = logs({0.05, 0.5, 0.1, 0.2, 0.15});
  expect_kept(kept(kAll, logits), {{1, 0.5}, {3, 0.2}, {4, 0.15}, {2, 0.1}, {0, 0.05}});
  SamplingOptions options = kAll;
  options.top_k = 4;  // leaves 0.5, 0.2, 0.15, 0.1 of 0.95
  expect_kept(kept(options, logits), {{1, 50 / 95.0}, {3, 20 / 95.0}, {4, 15 / 95.0}, {2, 10 / 95.0}});
  options.top_p = 0.8;  // 0.5 + 0.2 are 0.737 of these, with 0.15 they are 0.895
  expect_kept(kept(options, logits), {{1, 50 / 85.0}, {3, 20 / 85.0}, {4, 15 / 85.0}});
  options.min_p = 0.35;  // 0.15 is less than 0.35 * 0.5
  expect_kept(kept(options, logits), {{1, 5 / 7.0}, {3, 2 / 7.0}});
  options.temperature = 0.5;  // squares: after the filters
  expect_kept(kept(options, logits), {{1, 25 / 29.0}, {3, 4 / 29.0}});
  options.temperature = 0;
  expect_kept(kept(options, logits), {{1, 1.0}});
}

TEST(Sampler, TheMostLikelyTokenAlwaysStays) {
  const auto logits = logs({0.2, 0.5, 0.3});
  SamplingOptions options = kAll;
  options.top_p = 0;
  expect_kept(kept(options, logits), {{1, 1.0}});
  options = kAll;
  options.min_p = 1;
  expect_kept(kept(options, logits), {{1, 1.0}});
  options = kAll;
  options.top_k = 1;
  expect_kept(kept(options, logits), {{1, 1.0}});
}

TEST(Sampler, EqualLogitsAreTakenInOrderOfTheirIds) {
  const std::vector<float> logits = {0, 2, 1, 2, 1, 1, 2};
  SamplingOptions options = kAll;
  options.top_k = 4;
  const auto found = kept(options, logits);
  ASSERT_EQ(found.size(), 4u);
  EXPECT_EQ(found[0].first, 1);
  EXPECT_EQ(found[1].first, 3);
  EXPECT_EQ(found[2].first, 6);
  EXPECT_EQ(found[3].first, 2);
  EXPECT_EQ(first_maximum(logits), 1);
}

TEST(Sampler, WhatIsNoNumberIsNeverDrawn) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInfinity = std::numeric_limits<float>::infinity();
  const std::vector<float> logits = {kNan, -kInfinity, 1, kNan, 1};
  expect_kept(kept(kAll, logits), {{2, 0.5}, {4, 0.5}});
  EXPECT_EQ(first_maximum(logits), 2);
  const std::vector<float> none = {kNan, -kInfinity};
  EXPECT_THROW(Sampler(kAll).sample(none), NumericError);
  SamplingOptions greedy = kAll;
  greedy.temperature = 0;
  EXPECT_THROW(Sampler(greedy).sample(none), NumericError);
}

/// Pearson's statistic of `draws` samples against `probabilities`.
double chi_square(SamplingOptions options, const std::vector<float>& logits, const std::vector<double>& probabilities,
                  int draws) {
  Sampler sampler(options);
  std::vector<int> counts(logits.size());
  for (int i = 0; i < draws; ++i) ++counts[sampler.sample(logits)];
  double sum = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    const double expected = probabilities[i] * draws;
    sum += (counts[i] - expected) * (counts[i] - expected) / expected;
  }
  return sum;
}

TEST(Sampler, DrawsFollowTheExactDistribution) {
  const std::vector<double> weights = {1, 2, 3, 4, 5, 6, 7, 8};
  const double kBound = 42.7;  // chi-square with 7 degrees of freedom exceeds it with probability below 1e-6
  for (const double temperature : {0.7, 1.0, 2.0}) {
    double sum = 0;
    std::vector<double> probabilities, logit_weights;
    for (const double w : weights) sum += std::pow(w, 1 / temperature), logit_weights.push_back(w);
    for (const double w : weights) probabilities.push_back(std::pow(w, 1 / temperature) / sum);
    SamplingOptions options = kAll;
    options.temperature = temperature;
    options.seed = 20260101;
    EXPECT_LT(chi_square(options, logs(logit_weights), probabilities, 40000), kBound) << temperature;
    options.temperature = temperature * 1.25;  // the test can fail: a slightly wrong temperature shows
    EXPECT_GT(chi_square(options, logs(logit_weights), probabilities, 40000), kBound) << temperature;
  }
}

TEST(Sampler, SeedsDecide) {
  const auto logits = logs({0.1, 0.2, 0.3, 0.4});
  const auto draw = [&](uint64_t seed) {
    SamplingOptions options = kAll;
    options.seed = seed;
    Sampler sampler(options);
    std::vector<int32_t> tokens;
    for (int i = 0; i < 50; ++i) tokens.push_back(sampler.sample(logits));
    return tokens;
  };
  EXPECT_EQ(draw(1), draw(1));
  EXPECT_NE(draw(1), draw(2));
}

TEST(Sampler, OptionsOutOfRangeAreRefused) {
  const auto refuses = [](const char* name, auto change) {
    SamplingOptions options = kAll;
    change(options);
    EXPECT_THAT([&] { Sampler sampler(options); }, ThrowsMessage<InvalidArgument>(HasSubstr(name)));
  };
  refuses("temperature", [](auto& o) { o.temperature = -0.1; });
  refuses("temperature", [](auto& o) { o.temperature = std::numeric_limits<double>::quiet_NaN(); });
  refuses("top_p", [](auto& o) { o.top_p = 1.5; });
  refuses("min_p", [](auto& o) { o.min_p = -1; });
  refuses("top_k", [](auto& o) { o.top_k = -1; });
}

}  // namespace
}  // namespace halftone::engine
