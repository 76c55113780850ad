// Hadamard transforms: the matrices are what they claim to be, and the fast transform applies exactly them.
#include "numerics/hadamard.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/philox.h"

namespace halftone {
namespace {

const std::vector<int64_t> kSizes = {1, 2, 12, 16, 20, 28, 36, 40, 64, 80, 96, 256, 576, 640, 1536, 2048};

std::vector<double> random_row(int64_t k, uint64_t seed) {
  PhiloxStream random(seed);
  std::vector<double> row(k);
  for (auto& value : row) value = 2.0 * random.uniform() - 1.0;
  return row;
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

/// Entry (r, c) of base (x) Sylvester, written from the definition.
int entry(const std::vector<int8_t>& base, int64_t order, int64_t k, int64_t r, int64_t c) {
  const int64_t segment = k / order;
  const int parity = __builtin_popcountll(static_cast<uint64_t>((r % segment) & (c % segment))) & 1;
  return base[(r / segment) * order + c / segment] * (parity != 0 ? -1 : 1);
}

TEST(HadamardTest, BasesAreOrthogonalSignMatrices) {
  for (const int64_t order : {1, 12, 20, 28, 36, 40}) {
    const auto h = hadamard_base(order);
    ASSERT_EQ(static_cast<int64_t>(h.size()), order * order);
    for (int64_t i = 0; i < order; ++i)
      for (int64_t j = 0; j < order; ++j) {
        ASSERT_EQ(std::abs(h[i * order + j]), 1) << order;
        int64_t product = 0;
        for (int64_t k = 0; k < order; ++k) product += h[i * order + k] * h[j * order + k];
        ASSERT_EQ(product, i == j ? order : 0) << "rows " << i << " and " << j << " of order " << order;
      }
  }
}

TEST(HadamardTest, BaseOrderOfTheSizesThatModelsHave) {
  EXPECT_EQ(hadamard_base_order(576), 36);
  EXPECT_EQ(hadamard_base_order(640), 20);  // 40 would do as well; the smallest base costs least
  EXPECT_EQ(hadamard_base_order(1536), 12);
  EXPECT_EQ(hadamard_base_order(2048), 1);
  for (const int64_t none : {0, -4, 3, 44, 100, 577}) EXPECT_EQ(hadamard_base_order(none), 0) << none;
}

TEST(HadamardTest, FastTransformEqualsTheMatrix) {
  for (const int64_t k : kSizes) {
    if (k > 640) continue;  // the naive product is quadratic
    const int64_t order = hadamard_base_order(k);
    const auto base = hadamard_base(order);
    const RandomHadamard plain(k, 0);
    const auto x = random_row(k, 7);
    auto y = x;
    plain.apply(std::span(y));
    for (int64_t r = 0; r < k; ++r) {
      double sum = 0;
      for (int64_t c = 0; c < k; ++c) sum += entry(base, order, k, r, c) * x[c];
      // k additions of values up to 1, each rounded to within half an ulp of a partial sum of at most k.
      ASSERT_NEAR(y[r], sum / std::sqrt(static_cast<double>(k)),
                  k * std::numeric_limits<double>::epsilon() * std::sqrt(k))
          << "row " << r << " of length " << k;
    }
  }
}

TEST(HadamardTest, IsOrthogonalAndInverted) {
  for (const int64_t k : kSizes) {
    const RandomHadamard rotation(k, 42);
    const auto a = random_row(k, 1), b = random_row(k, 2);
    auto ra = a, rb = b;
    rotation.apply(std::span(ra));
    rotation.apply(std::span(rb));
    const double tolerance = 64 * static_cast<double>(k) * std::numeric_limits<double>::epsilon();
    EXPECT_NEAR(dot(ra, rb), dot(a, b), tolerance) << k;
    EXPECT_NEAR(dot(ra, ra), dot(a, a), tolerance) << k;
    rotation.apply_inverse(std::span(ra));
    for (int64_t i = 0; i < k; ++i) ASSERT_NEAR(ra[i], a[i], tolerance) << "element " << i << " of " << k;
  }
}

TEST(HadamardTest, UnitVectorsSpreadEvenly) {
  for (const int64_t k : kSizes) {
    const RandomHadamard rotation(k, 5);
    std::vector<double> unit(k, 0.0);
    unit[k / 3] = 1;
    rotation.apply(std::span(unit));
    for (const double value : unit) ASSERT_NEAR(std::abs(value) * std::sqrt(static_cast<double>(k)), 1, 1e-12) << k;
  }
}

TEST(HadamardTest, FloatFollowsDouble) {
  for (const int64_t k : kSizes) {
    const RandomHadamard rotation(k, 9);
    auto exact = random_row(k, 3);
    std::vector<float> single(exact.begin(), exact.end());
    exact.assign(single.begin(), single.end());
    rotation.apply(std::span(exact));
    rotation.apply(std::span(single));
    // log2(k) butterflies and at most 40 additions, each within eps/2 of values whose norm the map preserves.
    const double norm = std::sqrt(dot(exact, exact));
    const double steps = std::log2(static_cast<double>(k)) + 41;
    for (int64_t i = 0; i < k; ++i)
      ASSERT_NEAR(single[i], exact[i], steps * norm * std::numeric_limits<float>::epsilon()) << k;
  }
}

TEST(HadamardTest, SeedDecidesTheSigns) {
  const auto rotated = [](uint64_t seed) {
    std::vector<double> ones(64, 1.0);
    RandomHadamard(64, seed).apply(std::span(ones));
    return ones;
  };
  EXPECT_EQ(rotated(3), rotated(3));
  EXPECT_NE(rotated(3), rotated(4));
  std::vector<double> first(64, 0.0);
  first[0] = 8;  // sqrt(64) * e_0: without signs all ones meet in channel 0
  EXPECT_EQ(rotated(0), first);
}

TEST(HadamardTest, RefusesImpossibleSizes) {
  for (const int64_t k : {44, 0, -1, 100}) EXPECT_THROW(RandomHadamard(k, 1), Unsupported) << k;
  EXPECT_THROW(hadamard_base(24), InvalidArgument);
  std::vector<float> row(63);
  EXPECT_THROW(RandomHadamard(64, 1).apply(std::span(row)), InvalidArgument);
}

}  // namespace
}  // namespace halftone
