// Rotations: every entry against matrices written from their definitions, exact inverses, equal bits.
#include "kernels/api/hadamard.h"

#include <cmath>
#include <cstring>

#include "kernel_test.h"
#include "numerics/hadamard.h"
#include "numerics/kronecker.h"

namespace halftone::kernels {
namespace {

struct Shape {
  int64_t n, block;
};
constexpr Shape kShapes[] = {
    {1, 1},     {2, 2},       {7, 1},       {6, 2},       {20, 4},      {12, 12},    {60, 20},    {28, 28},
    {56, 56},   {36, 36},     {40, 40},     {80, 80},     {72, 8},      {48, 16},    {96, 96},    {160, 32},
    {112, 112}, {224, 224},   {128, 128},   {256, 256},   {576, 576},   {576, 64},   {512, 512},  {640, 640},
    {896, 896}, {1024, 1024}, {1536, 1536}, {1152, 1152}, {2048, 2048}, {2048, 128}, {8192, 4096}};

/// Entry (r, c) of base (x) Sylvester, from the definition.
int entry(const std::vector<int8_t>& base, int64_t order, int64_t block, int64_t r, int64_t c) {
  const int64_t segment = block / order;
  const bool odd = __builtin_parityll(static_cast<uint64_t>((r % segment) & (c % segment))) != 0;
  return base[static_cast<size_t>(r / segment * order + c / segment)] * (odd ? -1 : 1);
}

/// H x (or H^T x) block by block in double, straight from the definition.
std::vector<double> by_definition(const Shape& s, bool transposed, const std::vector<double>& x) {
  const int64_t order = hadamard_base_order(s.block);
  const auto base = hadamard_base(order);
  std::vector<double> y(x.size(), 0.0);
  for (int64_t b = 0; b < s.n; b += s.block)
    for (int64_t r = 0; r < s.block; ++r)
      for (int64_t c = 0; c < s.block; ++c)
        y[static_cast<size_t>(b + r)] +=
            (transposed ? entry(base, order, s.block, c, r) : entry(base, order, s.block, r, c)) *
            x[static_cast<size_t>(b + c)];
  return y;
}

/// Roundings along a transform, as numerics/hadamard.h counts them, and one for the scale, before and after each.
double roundings(int64_t block) {
  const auto order = static_cast<double>(hadamard_base_order(block));
  return std::log2(static_cast<double>(block) / order) + (order > 1 ? std::pow(order, 1.5) : 0) + 3;
}

double norm(const double* x, int64_t n) {
  double squares = 0;
  for (int64_t i = 0; i < n; ++i) squares += x[i] * x[i];
  return std::sqrt(squares);
}

std::vector<float> random_signs(int64_t n, uint64_t seed) {
  PhiloxStream stream(seed);
  std::vector<float> signs(static_cast<size_t>(n));
  for (float& s : signs) s = (stream() & 1u) != 0 ? 1.0f : -1.0f;
  return signs;
}

// |error| <= (t + 3) u |y| in the norm of a block, for general diagonals too. H and H^T by definition cost n * block.
TEST(Hadamard, EveryEntryIsTheMatrix) {
  uint64_t seed = 10;
  for (const Shape& s : kShapes)
    for (const bool transposed : {false, true})
      for (const int64_t rows : {1, 3}) {
        if (s.block > 2048 && rows > 1) continue;
        const HadamardProblem p{rows, s.n, s.block, transposed};
        const int64_t stride = s.n + 5;
        const auto x = random_normal(rows * stride, ++seed), before = random_normal(s.n, ++seed),
                   after = random_normal(s.n, ++seed);
        for (const bool diagonals : {false, true}) {
          const float scale = 1 / std::sqrt(static_cast<float>(s.block));
          std::vector<std::vector<double>> wants;
          for (int64_t r = 0; r < rows; ++r) {
            std::vector<double> row(x.begin() + r * stride, x.begin() + r * stride + s.n);
            for (int64_t i = 0; i < s.n && diagonals; ++i)
              row[static_cast<size_t>(i)] *= before[static_cast<size_t>(i)];
            wants.push_back(by_definition(s, transposed, row));
          }
          const int ran = for_each_entry(hadamard_table(), p, [&](ExecContext& context, const auto& kernel) {
            for (const bool in_place : {false, true}) {
              std::vector<float> y(x.size(), kPoison);
              if (in_place) y = x;
              kernel.run(context, p,
                         {in_place ? y.data() : x.data(), stride, diagonals ? before.data() : nullptr,
                          diagonals ? after.data() : nullptr, scale, y.data(), stride});
              for (int64_t r = 0; r < rows; ++r)
                for (int64_t b = 0; b < s.n; b += s.block) {
                  const double size = norm(wants[static_cast<size_t>(r)].data() + b, s.block) * scale;
                  std::vector<double> errors;
                  for (int64_t i = b; i < b + s.block; ++i) {
                    const double d = diagonals ? after[static_cast<size_t>(i)] : 1;
                    const double found = y[static_cast<size_t>(r * stride + i)];
                    const double want = wants[static_cast<size_t>(r)][static_cast<size_t>(i)] * scale * d;
                    errors.push_back((found - want) / d);  // the diagonal after weighs errors as it weighs values
                  }
                  ASSERT_LE(norm(errors.data(), s.block), roundings(s.block) * kUnit * size) << r << "," << b;
                }
              for (int64_t r = 0; r < rows; ++r)
                for (int64_t i = s.n; i < stride; ++i) {
                  const float pad = y[static_cast<size_t>(r * stride + i)];
                  ASSERT_TRUE(in_place ? pad == x[static_cast<size_t>(r * stride + i)] : std::isnan(pad)) << "padding";
                }
            }
          });
          ASSERT_GE(ran, 1);
        }
      }
}

// Integers small enough that no sum rounds: the transform and its inverse are exact, bit for bit, where the scale is a
// power of two (orders 4^k); the round trip of others is within 2 (t + 2) u.
TEST(Hadamard, InverseIsExactToRounding) {
  uint64_t seed = 500;
  for (const Shape& s : kShapes) {
    const auto signs = random_signs(s.n, ++seed);
    const float scale = 1 / std::sqrt(static_cast<float>(s.block));
    const bool power = std::log2(scale) == std::floor(std::log2(scale));
    const HadamardProblem forward{2, s.n, s.block, false}, back{2, s.n, s.block, true};
    PhiloxStream stream(++seed);
    std::vector<float> integers(static_cast<size_t>(2 * s.n));
    for (float& v : integers) v = static_cast<float>(static_cast<int>(stream() % 255) - 127);
    const auto normal = random_normal(2 * s.n, ++seed);
    for_each_entry(hadamard_table(), forward, [&](ExecContext& context, const auto& kernel) {
      for (const auto& x : {integers, normal}) {
        std::vector<float> y(x.size(), kPoison);
        kernel.run(context, forward, {x.data(), s.n, signs.data(), nullptr, scale, y.data(), s.n});
        kernel.run(context, back, {y.data(), s.n, nullptr, signs.data(), scale, y.data(), s.n});
        if (power && x == integers) {
          ASSERT_EQ(y, x);
        }
        for (int64_t b = 0; b < 2 * s.n; b += s.block) {
          std::vector<double> values(x.begin() + b, x.begin() + b + s.block), errors;
          for (int64_t i = b; i < b + s.block; ++i)
            errors.push_back(double{y[static_cast<size_t>(i)]} - x[static_cast<size_t>(i)]);
          ASSERT_LE(norm(errors.data(), s.block), 2 * roundings(s.block) * kUnit * norm(values.data(), s.block));
        }
      }
    });
  }
}

TEST(Hadamard, FollowsRandomHadamard) {
  for (const auto& [k, block] : {std::pair<int64_t, int64_t>{576, 576}, {640, 128}, {1536, 1536}}) {
    const RandomHadamard rotation(k, 42, block);
    const std::vector<float> signs(rotation.signs().begin(), rotation.signs().end());
    const auto x = random_normal(k, 3);
    std::vector<double> want(x.begin(), x.end());
    rotation.apply(std::span(want));
    OwnedExecContext context(1);
    std::vector<float> y(x.size(), kPoison);
    const float scale = 1 / std::sqrt(static_cast<float>(block));
    hadamard(context.get(), {1, k, block, false}, {x.data(), k, signs.data(), nullptr, scale, y.data(), k});
    std::vector<double> errors(want.size());
    for (size_t i = 0; i < want.size(); ++i) errors[i] = y[i] - want[i];
    EXPECT_LE(norm(errors.data(), k), roundings(block) * kUnit * norm(want.data(), k));
  }
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST(Hadamard, BitsDoNotDependOnRowsThreadsOrVectors) {
  OwnedExecContext one(1), three(3);
  for (const Shape& s : kShapes) {
    const int64_t rows = 37;
    const auto x = random_normal(rows * s.n, static_cast<uint64_t>(s.n + s.block));
    std::vector<float> first;
    for (const Isa isa : attainable_isas()) {
      if (isa < Isa::Avx2) continue;  // the reference sums in double
      one.get().isa = three.get().isa = isa;
      std::vector<float> whole(x.size(), kPoison), alone(x.size(), kPoison);
      hadamard(three.get(), {rows, s.n, s.block, true}, {x.data(), s.n, nullptr, nullptr, 0.3f, whole.data(), s.n});
      for (int64_t r = 0; r < rows; ++r)
        hadamard(one.get(), {1, s.n, s.block, true},
                 {x.data() + r * s.n, s.n, nullptr, nullptr, 0.3f, alone.data() + r * s.n, s.n});
      EXPECT_TRUE(same_bits(whole, alone)) << s.n << " " << s.block;
      if (first.empty()) first = whole;
      EXPECT_TRUE(same_bits(whole, first)) << "vectors of " << to_string(isa) << " " << s.n << " " << s.block;
    }
  }
}

TEST(Hadamard, NotFiniteSpreadsOverItsBlockOnly) {
  for (const Shape& s : kShapes) {
    const HadamardProblem p{1, s.n, s.block, false};
    for_each_entry(hadamard_table(), p, [&](ExecContext& context, const auto& kernel) {
      for (const float bad : {INFINITY, -INFINITY, std::nanf("")}) {
        auto x = random_normal(s.n, 8);
        const int64_t at = s.n / 3;
        x[static_cast<size_t>(at)] = bad;
        kernel.run(context, p, {x.data(), s.n, nullptr, nullptr, 0.5f, x.data(), s.n});
        for (int64_t i = 0; i < s.n; ++i)
          ASSERT_EQ(!std::isfinite(x[static_cast<size_t>(i)]), i / s.block == at / s.block) << i;
      }
    });
  }
}

// a + b roundings of sums of products, each below the sum of magnitudes.
TEST(Kronecker, EveryEntryIsTheProductWithTheWholeMatrix) {
  uint64_t seed = 900;
  for (const auto& [a, b] : {std::pair<int64_t, int64_t>{1, 1},
                             {1, 17},
                             {17, 1},
                             {3, 5},
                             {4, 16},
                             {5, 33},
                             {24, 24},
                             {20, 32},
                             {32, 48},
                             {7, 100}})
    for (const int64_t rows : {1, 3}) {
      const KroneckerProblem p{rows, a, b};
      const int64_t n = a * b, stride = n + 3;
      const auto x = random_normal(rows * stride, ++seed), left = random_normal(a * a, ++seed),
                 right = random_normal(b * b, ++seed);
      const auto dense = KroneckerPair({left.begin(), left.end()}, a, {right.begin(), right.end()}, b).to_dense();
      std::vector<double> want(static_cast<size_t>(rows * n), 0.0), size(want);
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t i = 0; i < n; ++i)
          for (int64_t j = 0; j < n; ++j) {
            const double term = x[static_cast<size_t>(r * stride + i)] * dense[static_cast<size_t>(i * n + j)];
            want[static_cast<size_t>(r * n + j)] += term;
            size[static_cast<size_t>(r * n + j)] += std::fabs(term);
          }
      for_each_entry(kronecker_table(), p, [&](ExecContext& context, const auto& kernel) {
        for (const bool in_place : {false, true}) {
          std::vector<float> y(x.size(), kPoison);
          if (in_place) y = x;
          kernel.run(context, p, {in_place ? y.data() : x.data(), stride, left.data(), right.data(), y.data(), stride});
          for (int64_t r = 0; r < rows; ++r) {
            for (int64_t i = 0; i < n; ++i)
              ASSERT_LE(std::fabs(y[static_cast<size_t>(r * stride + i)] - want[static_cast<size_t>(r * n + i)]),
                        static_cast<double>(a + b) * kUnit * size[static_cast<size_t>(r * n + i)])
                  << r << "," << i;
            if (!in_place) {
              ASSERT_TRUE(std::isnan(y[static_cast<size_t>(r * stride + n)])) << "padding";
            }
          }
        }
      });
    }
}

TEST(Kronecker, BitsDoNotDependOnRowsThreadsOrVectors) {
  OwnedExecContext one(1), three(3);
  const int64_t rows = 19, a = 24, b = 27, n = a * b;
  const auto x = random_normal(rows * n, 77), left = random_normal(a * a, 78), right = random_normal(b * b, 79);
  std::vector<float> first;
  for (const Isa isa : attainable_isas()) {
    if (isa < Isa::Avx2) continue;
    one.get().isa = three.get().isa = isa;
    std::vector<float> whole(x.size(), kPoison), alone(x.size(), kPoison);
    kronecker(three.get(), {rows, a, b}, {x.data(), n, left.data(), right.data(), whole.data(), n});
    for (int64_t r = 0; r < rows; ++r)
      kronecker(one.get(), {1, a, b}, {x.data() + r * n, n, left.data(), right.data(), alone.data() + r * n, n});
    EXPECT_TRUE(same_bits(whole, alone));
    if (first.empty()) first = whole;
    EXPECT_TRUE(same_bits(whole, first)) << to_string(isa);
  }
}

TEST(Hadamard, RefusesMalformedProblems) {
  OwnedExecContext context(1);
  float x[64] = {};
  EXPECT_THROW(hadamard(context.get(), {1, 44, 44, false}, {x, 44, nullptr, nullptr, 1, x, 44}), InvalidArgument);
  EXPECT_THROW(hadamard(context.get(), {1, 48, 32, false}, {x, 48, nullptr, nullptr, 1, x, 48}), InvalidArgument);
  EXPECT_THROW(hadamard(context.get(), {2, 32, 32, false}, {x, 16, nullptr, nullptr, 1, x, 32}), InvalidArgument);
  EXPECT_THROW(hadamard(context.get(), {1, 32, 32, false}, {x, 32, nullptr, nullptr, 1, nullptr, 32}), InvalidArgument);
  EXPECT_THROW(kronecker(context.get(), {1, 4, 0}, {x, 4, x, x, x, 4}), InvalidArgument);
  EXPECT_THROW(kronecker(context.get(), {1, 4, 4}, {x, 16, nullptr, x, x, 16}), InvalidArgument);
}

}  // namespace
}  // namespace halftone::kernels
