// Sobol' points are nets, scrambled or not; scrambles are uniform; recurrences are what they are named after.
#include "numerics/low_discrepancy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

namespace halftone {
namespace {

constexpr Scramble kScrambles[] = {Scramble::None, Scramble::DigitalShift, Scramble::Owen};

TEST(SobolTest, FirstPointsByHand) {
  const float first[] = {0, 0.5f, 0.25f, 0.75f, 0.125f, 0.625f, 0.375f, 0.875f};   // van der Corput
  const float second[] = {0, 0.5f, 0.75f, 0.25f, 0.625f, 0.125f, 0.375f, 0.875f};  // x + 1: Pascal's triangle modulo 2
  for (uint32_t i = 0; i < 8; ++i) {
    EXPECT_EQ(Sobol(0).unit(i), first[i]);
    EXPECT_EQ(Sobol(1).unit(i), second[i]);
  }
  EXPECT_THROW(Sobol{-1}, InvalidArgument);
  EXPECT_THROW(Sobol{kSobolDimensions}, InvalidArgument);
}

// The generator matrix of every dimension is unit upper triangular, so 2^m points fill 2^m intervals, one each.
TEST(SobolTest, EveryDimensionIsStratified) {
  for (int dimension = 0; dimension < kSobolDimensions; ++dimension)
    for (const Scramble scramble : kScrambles)
      for (const int m : {1, 5, 10}) {
        const Sobol sobol(dimension, scramble, 17);
        std::set<uint32_t> intervals;
        const uint32_t start = 3u << m;  // any aligned run of 2^m points is a net as well
        for (uint32_t i = 0; i < 1u << m; ++i) intervals.insert(sobol.bits(start + i) >> (32 - m));
        ASSERT_EQ(intervals.size(), size_t{1} << m) << "dimension " << dimension;
      }
}

/// Whether each box of volume 2^(t-m), with sides of powers of 1/2, holds exactly 2^t of the first 2^m points.
bool is_net(int t, int m, const std::vector<Sobol>& dimensions) {
  const auto s = static_cast<int>(dimensions.size());
  std::vector<std::vector<uint32_t>> points(dimensions.size(), std::vector<uint32_t>(size_t{1} << m));
  for (int d = 0; d < s; ++d) dimensions[static_cast<size_t>(d)].fill(0, points[static_cast<size_t>(d)]);
  std::vector<int> sides(dimensions.size(), 0);
  bool all = true;
  const auto visit = [&](auto&& self, int d, int left) -> void {
    if (d == s - 1) {
      sides[static_cast<size_t>(d)] = left;
      std::vector<int> counts(size_t{1} << (m - t), 0);
      for (size_t i = 0; i < points[0].size(); ++i) {
        uint32_t box = 0;
        for (size_t j = 0; j < sides.size(); ++j)
          if (sides[j] > 0) box = box << sides[j] | points[j][i] >> (32 - sides[j]);
        ++counts[box];
      }
      for (const int count : counts) all = all && count == 1 << t;
      return;
    }
    for (int side = 0; side <= left; ++side) {
      sides[static_cast<size_t>(d)] = side;
      self(self, d + 1, left - side);
    }
  };
  visit(visit, 0, m - t);
  return all;
}

// The quality t of a Sobol' net is the sum of (degree - 1) of its polynomials: 0, 0, 1 and 3 for 1 to 4 dimensions.
TEST(SobolTest, FirstFourDimensionsAreNetsOfTheirQuality) {
  constexpr int kQuality[] = {0, 0, 1, 3};
  for (const Scramble scramble : kScrambles) {
    std::vector<Sobol> dimensions;
    for (int d = 0; d < 4; ++d) {
      dimensions.emplace_back(d, scramble, 99);
      for (const int m : {6, 9}) ASSERT_TRUE(is_net(kQuality[d], m, dimensions)) << d + 1 << " dimensions";
    }
  }
  std::vector<Sobol> twice(2, Sobol(3));  // the check can fail: a diagonal is no net
  EXPECT_FALSE(is_net(0, 6, twice));
}

TEST(SobolTest, FillIsBitsOfEveryIndex) {
  for (const Scramble scramble : kScrambles)
    for (const int dimension : {0, 6, 15})
      for (const uint32_t first : {0u, 1u, 1023u, 0xFFFFFFF0u}) {
        const Sobol sobol(dimension, scramble, 5);
        std::vector<uint32_t> points(77, 0xDEADBEEF);
        sobol.fill(first, points);
        for (uint32_t i = 0; i < points.size(); ++i) ASSERT_EQ(points[i], sobol.bits(first + i)) << first + i;
      }
}

// Over fresh seeds a single point is uniform: 16 bins of 8000 draws, each within 5 standard deviations of 500.
TEST(SobolTest, ScrambledPointsAreUniformOverSeeds) {
  for (const Scramble scramble : {Scramble::DigitalShift, Scramble::Owen})
    for (const uint32_t index : {0u, 1u, 12345u}) {
      std::vector<int> bins(16, 0), low_bins(16, 0);
      for (uint64_t seed = 0; seed < 8000; ++seed) {
        const uint32_t bits = Sobol(3, scramble, dither_seed(1, seed, 2, 3)).bits(index);
        ++bins[bits >> 28];
        ++low_bins[bits & 15u];
      }
      for (const auto* counts : {&bins, &low_bins})
        for (const int count : *counts) ASSERT_NEAR(count, 500, 5 * std::sqrt(500 * 15.0 / 16)) << index;
    }
}

/// log2 of the root mean square error of the mean of prod_j e^x_j / (e - 1), whose integral is 1, over 2^m points.
double log_error(Scramble scramble, int m, int replications) {
  double squares = 0;
  std::vector<uint32_t> points(size_t{1} << m);
  for (int r = 0; r < replications; ++r) {
    std::vector<double> products(points.size(), 1.0);
    for (int d = 0; d < 4; ++d) {
      Sobol(d, scramble, static_cast<uint64_t>(1000 + r)).fill(0, points);
      for (size_t i = 0; i < points.size(); ++i)
        products[i] *= std::exp((points[i] + 0.5) * 0x1p-32) / (std::exp(1.0) - 1);
    }
    double mean = 0;
    for (const double p : products) mean += p / static_cast<double>(points.size());
    squares += (mean - 1) * (mean - 1);
  }
  return std::log2(std::sqrt(squares / replications));
}

// Plain Monte Carlo falls like n^-0.5; a shifted net like n^-1; an Owen-scrambled one like n^-1.5 (log n)^1.5 in four
// dimensions, which between 2^6 and 2^14 points is a slope of -1.27.
TEST(SobolTest, ErrorsFallAsTheyShould) {
  const double shift = (log_error(Scramble::DigitalShift, 12, 32) - log_error(Scramble::DigitalShift, 6, 32)) / 6;
  const double owen = (log_error(Scramble::Owen, 14, 48) - log_error(Scramble::Owen, 6, 48)) / 8;
  RecordProperty("shift_slope", std::to_string(shift));
  RecordProperty("owen_slope", std::to_string(owen));
  EXPECT_LE(shift, -0.85);
  EXPECT_LE(owen, -1.25);
}

// Rounding up where the point lies below the fraction: 2^m points of a net are right on average to within one of them.
TEST(SobolTest, DitherIsRightOnAverage) {
  for (const Scramble scramble : kScrambles)
    for (const float fraction : {0.0f, 0.3f, 0.5f, 0.999f}) {
      const Sobol sobol(0, scramble, 4);
      int up = 0;
      for (uint32_t i = 0; i < 1024; ++i) up += sobol.unit(i) < fraction ? 1 : 0;
      EXPECT_NEAR(up, 1024 * fraction, 1);
    }
}

// Three distances theorem: the first n points of i * alpha mod 1 leave gaps of at most three lengths.
TEST(AdditiveRecurrenceTest, GapsHaveThreeLengths) {
  for (const uint64_t seed : {uint64_t{0}, uint64_t{77}}) {
    const AdditiveRecurrence points(0, 1, seed);
    for (const int n : {2, 10, 55, 1000}) {
      std::set<uint32_t> sorted;
      for (int i = 0; i < n; ++i) sorted.insert(points.bits(static_cast<uint64_t>(i)));
      ASSERT_EQ(sorted.size(), static_cast<size_t>(n));
      std::vector<double> gaps;
      uint32_t last = *sorted.rbegin();
      for (const uint32_t p : sorted) {
        gaps.push_back(static_cast<uint32_t>(p - last) * 0x1p-32);
        last = p;
      }
      std::sort(gaps.begin(), gaps.end());
      int lengths = 1;
      for (size_t i = 1; i < gaps.size(); ++i) lengths += gaps[i] - gaps[i - 1] > 0x1p-30 ? 1 : 0;
      EXPECT_LE(lengths, 3) << n;
    }
  }
}

TEST(AdditiveRecurrenceTest, StepsAreTheGeneralisedGoldenRatios) {
  EXPECT_NEAR(AdditiveRecurrence(0, 1).bits(1) * 0x1p-32, 0.6180339887498949, 0x1p-32);
  EXPECT_NEAR(AdditiveRecurrence(0, 2).bits(1) * 0x1p-32, 0.7548776662466927, 0x1p-32);  // 1 / plastic number
  EXPECT_NEAR(AdditiveRecurrence(1, 2).bits(1) * 0x1p-32, 0.5698402909980532, 0x1p-32);
  EXPECT_EQ(AdditiveRecurrence(0, 1).bits(0), 0u);
  EXPECT_NE(AdditiveRecurrence(0, 1, 5).bits(0), AdditiveRecurrence(0, 1, 6).bits(0));
  EXPECT_THROW(AdditiveRecurrence(2, 2), InvalidArgument);
  EXPECT_THROW(AdditiveRecurrence(0, 17), InvalidArgument);
}

TEST(AdditiveRecurrenceTest, SeedsDifferInEveryPart) {
  std::set<uint64_t> seeds;
  for (uint64_t part = 0; part < 4; ++part)
    for (uint64_t value = 0; value < 50; ++value) {
      uint64_t key[4] = {9, 9, 9, 9};
      key[part] = 100 + value;
      seeds.insert(dither_seed(key[0], key[1], key[2], key[3]));
    }
  EXPECT_EQ(seeds.size(), 200u);
}

}  // namespace
}  // namespace halftone
