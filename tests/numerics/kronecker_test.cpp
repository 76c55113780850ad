// Kronecker pairs against the whole matrix, inverses, and block-diagonal Hadamard transforms.
#include "numerics/kronecker.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/philox.h"
#include "numerics/hadamard.h"

namespace halftone {
namespace {

constexpr double kUnit = std::numeric_limits<double>::epsilon() / 2;

std::vector<double> random_values(int64_t n, uint64_t seed) {
  PhiloxStream random(seed);
  std::vector<double> values(static_cast<size_t>(n));
  for (auto& value : values) value = 2.0 * random.uniform() - 1.0;
  return values;
}

/// Well conditioned by construction: diagonally dominant with rows of sum below 3.
std::vector<double> dominant(int64_t n, uint64_t seed) {
  auto m = random_values(n * n, seed);
  for (auto& value : m) value /= static_cast<double>(n);
  for (int64_t i = 0; i < n; ++i) m[static_cast<size_t>(i * n + i)] += 2;
  return m;
}

TEST(KroneckerTest, SplitsAsFlatQuantDoes) {
  const auto check = [](int64_t k, int64_t left, int64_t right) {
    const KroneckerSplit split = kronecker_split(k);
    EXPECT_EQ(split.left, left) << k;
    EXPECT_EQ(split.right, right) << k;
  };
  check(576, 24, 24);
  check(1536, 32, 48);
  check(640, 20, 32);
  check(2048, 32, 64);
  check(1024, 32, 32);
  check(4096, 64, 64);
  check(14336, 112, 128);
  check(12, 2, 6);  // 16 - 12 = 2^2; 3 x 4 is no difference of squares
  check(10, 2, 5);  // 2 modulo 4: no difference of squares at all
  check(13, 1, 13);
  check(1, 1, 1);
  EXPECT_THROW(kronecker_split(0), InvalidArgument);
}

TEST(KroneckerTest, SplitIsTheSmallestSquareAboveK) {
  for (int64_t k = 1; k <= 600; ++k) {
    const KroneckerSplit split = kronecker_split(k);
    ASSERT_EQ(split.left * split.right, k);
    ASSERT_LE(split.left, split.right);
    if (k % 4 == 2) continue;
    int64_t s = 1;
    const auto is_square = [](int64_t v) {
      const auto root = static_cast<int64_t>(std::lround(std::sqrt(static_cast<double>(v))));
      return root * root == v;
    };
    while (s * s < k || !is_square(s * s - k)) ++s;
    ASSERT_EQ(split.left + split.right, 2 * s) << k;
  }
}

TEST(KroneckerTest, IsTheWholeMatrixAndItsInverse) {
  for (const auto& [a, b] : {std::pair<int64_t, int64_t>{1, 1}, {1, 7}, {5, 1}, {3, 4}, {13, 9}, {24, 24}}) {
    const KroneckerPair pair(dominant(a, 1), a, dominant(b, 2), b);
    const int64_t n = a * b;
    const auto dense = pair.to_dense();
    const auto x = random_values(n, 3);
    auto y = x;
    pair.apply(std::span(y));
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (int64_t i = 0; i < n; ++i) sum += x[static_cast<size_t>(i)] * dense[static_cast<size_t>(i * n + j)];
      // |x| <= 1 and columns of each factor sum to at most 3: 9 bounds the sum of magnitudes, n + a + b roundings it.
      ASSERT_NEAR(y[static_cast<size_t>(j)], sum, 9.0 * static_cast<double>(n + a + b + 2) * kUnit);
    }
    std::vector<float> narrow(x.begin(), x.end());
    pair.apply(std::span(narrow));
    for (int64_t j = 0; j < n; ++j) {
      const double want = y[static_cast<size_t>(j)];
      ASSERT_NEAR(narrow[static_cast<size_t>(j)], want, 9 * 0x1p-24 + 0x1p-24 * std::fabs(want));  // x and y rounded
    }
    pair.inverse().apply(std::span(y));
    // Each factor has condition at most 3 / 1 in the maximum norm, so the pair 9; elimination loses about n units.
    for (int64_t i = 0; i < n; ++i)
      ASSERT_NEAR(y[static_cast<size_t>(i)], x[static_cast<size_t>(i)],
                  81.0 * static_cast<double>(8 * (a + b)) * kUnit);
  }
}

// (x P) (W P^-T)^T = x W^T: what a linear layer computes does not change.
TEST(KroneckerTest, TransposedInverseKeepsProducts) {
  const int64_t a = 4, b = 6;
  const KroneckerPair pair(dominant(a, 5), a, dominant(b, 6), b);
  auto x = random_values(a * b, 7), w = random_values(a * b, 8);
  double want = 0, size = 0;
  for (size_t i = 0; i < x.size(); ++i) want += x[i] * w[i], size += std::fabs(x[i] * w[i]);
  pair.apply(std::span(x));
  pair.inverse().transposed().apply(std::span(w));
  double found = 0;
  for (size_t i = 0; i < x.size(); ++i) found += x[i] * w[i];
  EXPECT_NEAR(found, want, 81 * size * 100 * kUnit);
}

TEST(KroneckerTest, RefusesWhatItCannotDo) {
  EXPECT_THROW(KroneckerPair({1, 2, 3}, 2, {1}, 1), InvalidArgument);
  const KroneckerPair singular({1, 2, 2, 4}, 2, {1}, 1);
  EXPECT_THROW(singular.inverse(), NumericError);
  EXPECT_THROW(inverse_matrix(std::vector<double>{0.0}, 1), NumericError);
  std::vector<double> row(3);
  EXPECT_THROW(singular.apply(std::span(row)), InvalidArgument);
  const auto swap = inverse_matrix(std::vector<double>{0, 1, 1, 0}, 2);  // needs a pivot from below
  EXPECT_EQ(swap, (std::vector<double>{0, 1, 1, 0}));
}

TEST(BlockHadamardTest, BlocksAreTransformedAlone) {
  for (const auto& [k, block] : {std::pair<int64_t, int64_t>{640, 128}, {72, 36}, {60, 12}, {576, 64}, {9, 1}}) {
    const RandomHadamard whole(k, 11, block), one(block, 0);
    const auto x = random_values(k, 4);
    auto y = x;
    whole.apply(std::span(y));
    for (int64_t b = 0; b < k; b += block) {
      std::vector<double> part(x.begin() + b, x.begin() + b + block);
      for (int64_t i = 0; i < block; ++i)
        part[static_cast<size_t>(i)] *= static_cast<double>(whole.signs()[static_cast<size_t>(b + i)]);
      one.apply(std::span(part));
      for (int64_t i = 0; i < block; ++i) ASSERT_EQ(y[static_cast<size_t>(b + i)], part[static_cast<size_t>(i)]);
    }
    whole.apply_inverse(std::span(y));
    double error = 0, size = 0;
    for (size_t i = 0; i < x.size(); ++i) error += std::pow(y[i] - x[i], 2), size += x[i] * x[i];
    const auto order = static_cast<double>(hadamard_base_order(block));
    const double t = std::log2(static_cast<double>(block) / order) + (order > 1 ? std::pow(order, 1.5) : 0);
    EXPECT_LE(std::sqrt(error), 2 * (t + 2) * kUnit * std::sqrt(size));  // the promise of hadamard.h
  }
  EXPECT_THROW(RandomHadamard(48, 1, 32), InvalidArgument);
  EXPECT_THROW(RandomHadamard(88, 1, 44), Unsupported);
  std::vector<double> row(48);
  EXPECT_THROW(hadamard_in_place(std::span(row), 32), InvalidArgument);
  EXPECT_THROW(hadamard_in_place(std::span(row), 24 * 3), InvalidArgument);
}

TEST(BlockHadamardTest, TransposeUndoesTheTransform) {
  for (const int64_t block : {1, 2, 12, 20, 28, 36, 40, 48, 56, 64, 72, 80}) {
    std::vector<double> row(static_cast<size_t>(3 * block));
    for (size_t i = 0; i < row.size(); ++i) row[i] = static_cast<double>(i * i % 31) - 15;
    const auto original = row;
    hadamard_in_place(std::span(row), block);
    hadamard_in_place(std::span(row), block, true);
    for (size_t i = 0; i < row.size(); ++i)  // integers: exact
      ASSERT_EQ(row[i], original[i] * static_cast<double>(block)) << block;
  }
}

}  // namespace
}  // namespace halftone
