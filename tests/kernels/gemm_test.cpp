// Every entry of gemm_table() against dense double arithmetic on values that the test makes itself.
#include "kernels/api/gemm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "numerics/half.h"

namespace halftone::kernels {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr double kUnit = 0x1p-24;  // unit roundoff of f32

/// How a case draws its numbers.
enum class Numbers {
  Real,   ///< arbitrary scales and activations
  Whole,  ///< small integers and power-of-two scales: every order of summation is exact in f32
};

/// Random operands of a problem: in the stored layouts, and dense in double.
struct Case {
  GemmProblem problem;
  std::vector<double> x, w;  // [M, K], [N, K]
  std::vector<uint8_t> codes, zeros, group_scales;
  std::vector<float> scales, mins, values, bias;
  int64_t x_stride = 0, y_stride = 0;
  bool with_bias = true;

  Case(const GemmProblem& p, Numbers numbers, uint32_t seed)
      : problem(p), random(seed), whole(numbers == Numbers::Whole) {
    x_stride = p.k + 5;
    y_stride = p.n + 3;
    with_bias = p.n % 2 == 1;
    x.resize(static_cast<size_t>(p.m * p.k));
    w.resize(static_cast<size_t>(p.n * p.k));
    make_activations();
    make_weights();
    for (int64_t n = 0; n < p.n; ++n) bias.push_back(whole ? static_cast<float>(integer(-9, 9)) : real());
  }

  GemmArgs args(std::vector<float>& y, int64_t first_row = 0) {
    GemmArgs a;
    a.x.values = values.data() + first_row * x_stride;
    a.x.stride = x_stride;
    a.w.codes = codes.data();
    a.w.scales = scales.empty() ? nullptr : scales.data();
    a.w.group_scales = group_scales.empty() ? nullptr : group_scales.data();
    a.w.zeros = zeros.empty() ? nullptr : zeros.data();
    a.w.mins = mins.empty() ? nullptr : mins.data();
    a.bias = with_bias ? bias.data() : nullptr;
    a.y = y.data();
    a.y_stride = y_stride;
    return a;
  }

 private:
  int integer(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); }
  float real() { return std::normal_distribution<float>()(random); }
  float scale() {
    return whole ? static_cast<float>(integer(1, 2)) : std::exp2(std::uniform_real_distribution<float>(-9, -4)(random));
  }

  void make_activations() {
    const GemmProblem& p = problem;
    values.assign(static_cast<size_t>(p.m * x_stride), kNan);
    for (int64_t m = 0; m < p.m; ++m) {
      for (int64_t k = 0; k < p.k; ++k) {
        const float drawn = whole ? static_cast<float>(integer(-8, 8)) : real();
        values[static_cast<size_t>(m * x_stride + k)] = drawn;
        x[static_cast<size_t>(m * p.k + k)] = drawn;
      }
    }
  }

  void make_weights() {
    const GemmProblem& p = problem;
    const int64_t bytes = row_bytes(p.weight, p.k);
    codes.assign(static_cast<size_t>(p.n * bytes), 0);
    const int64_t group = p.group > 0 ? p.group : p.k;
    for (int64_t n = 0; n < p.n; ++n) {
      uint8_t* row = codes.data() + n * bytes;
      if (p.scales == ScaleLayout::Row || p.scales == ScaleLayout::TwoLevel) scales.push_back(scale());
      int zero = 0, factor = 1;
      for (int64_t k = 0; k < p.k; ++k) {
        double& value = w[static_cast<size_t>(n * p.k + k)];
        if (p.scales == ScaleLayout::None) {
          value = store_float(row, k);
          continue;
        }
        if (k % group == 0) start_group(zero, factor);
        const int code = store_code(row, k, zero, factor);
        value = static_cast<double>((code - zero) * factor) * scales.back();
        if (p.minimums) value += mins.back();
      }
    }
  }

  double store_float(uint8_t* row, int64_t k) {
    const float drawn = whole ? static_cast<float>(integer(-8, 8)) : real();
    if (problem.weight == ElementType::Float32) {
      std::memcpy(row + 4 * k, &drawn, 4);
      return drawn;
    }
    const bool half = problem.weight == ElementType::Float16;
    const uint16_t bits = half ? f32_to_f16(drawn) : f32_to_bf16(drawn);
    std::memcpy(row + 2 * k, &bits, 2);
    return half ? f16_to_f32(bits) : bf16_to_f32(bits);
  }

  void start_group(int& zero, int& factor) {
    const int largest = (1 << bits_of(problem.weight)) - 1;
    zero = problem.minimums && problem.weight != ElementType::Int8 ? 0 : (largest + 1) / 2;
    if (problem.minimums) mins.push_back(whole ? static_cast<float>(integer(-9, 9)) : real());
    if (problem.zero_points) {
      zero = integer(0, largest);
      zeros.push_back(static_cast<uint8_t>(zero));
    }
    if (problem.scales == ScaleLayout::Group) scales.push_back(scale());
    if (problem.scales == ScaleLayout::TwoLevel) {
      factor = integer(1, 16);
      group_scales.push_back(static_cast<uint8_t>(factor));
    }
  }

  /// Draws a code, writes it as formats.h lays it out, and returns it (Int8 counted from 0, as zero points are).
  int store_code(uint8_t* row, int64_t k, int zero, int factor) {
    const int largest = (1 << bits_of(problem.weight)) - 1;
    int code = integer(0, largest);
    while ((code - zero) * factor < -128 || (code - zero) * factor > 127) {
      if (problem.weight == ElementType::Int8) break;
      code = integer(0, largest);
    }
    const int64_t j = k % 64;
    switch (problem.weight) {
      case ElementType::Int8:
        row[k] = static_cast<uint8_t>(code - 128);
        break;
      case ElementType::Int4:
        row[k / 64 * 32 + j % 32] |= static_cast<uint8_t>(code << (j < 32 ? 0 : 4));
        break;
      case ElementType::Int3:
        row[k / 64 * 24 + j % 16] |= static_cast<uint8_t>((code & 3) << (j / 16 * 2));
        row[k / 64 * 24 + 16 + j / 8] |= static_cast<uint8_t>(code >> 2 << (j % 8));
        break;
      default:
        row[k / 64 * 16 + j % 16] |= static_cast<uint8_t>(code << (j / 16 * 2));
        break;
    }
    return code;
  }

  std::mt19937 random;
  bool whole;
};

/// The result in double and the sum of magnitudes that rounding errors scale with, bias included.
struct Exact {
  std::vector<double> y, magnitude;

  explicit Exact(const Case& c) {
    const auto [m_end, n_end, k_end] = std::tuple(c.problem.m, c.problem.n, c.problem.k);
    for (int64_t m = 0; m < m_end; ++m) {
      for (int64_t n = 0; n < n_end; ++n) {
        const double* x = c.x.data() + m * k_end;
        const double* w = c.w.data() + n * k_end;
        double sums[4] = {}, sizes[4] = {};
        int64_t k = 0;
        for (; k + 4 <= k_end; k += 4) {
          for (int i = 0; i < 4; ++i) {
            const double product = x[k + i] * w[k + i];
            sums[i] += product;
            sizes[i] += std::abs(product);
          }
        }
        for (; k < k_end; ++k) {
          sums[0] += x[k] * w[k];
          sizes[0] += std::abs(x[k] * w[k]);
        }
        const double b = c.with_bias ? c.bias[static_cast<size_t>(n)] : 0;
        y.push_back(sums[0] + sums[1] + sums[2] + sums[3] + b);
        magnitude.push_back(sizes[0] + sizes[1] + sizes[2] + sizes[3] + std::abs(b));
      }
    }
  }
};

/// Roundings on the longest path from an operand to the result: a lane's chain of multiply-adds over K/8 elements (the
/// fewest lanes that an instruction set has), 3 levels of the tree, 1 for the weight's value, 1 for the bias. By the
/// usual first-order bound the error is at most that many unit roundoffs of the sum of magnitudes.
double roundings(const GemmProblem& p) { return static_cast<double>((p.k + 7) / 8) + 5; }

void check_real(const Case& c, const Exact& exact, const std::vector<float>& y, const char* entry) {
  const GemmProblem& p = c.problem;
  for (int64_t m = 0; m < p.m; ++m) {
    for (int64_t n = 0; n < p.n; ++n) {
      const size_t i = static_cast<size_t>(m * p.n + n);
      const double bound = 1.01 * kUnit * roundings(p) * exact.magnitude[i] + 1e-30;
      const float got = y[static_cast<size_t>(m * c.y_stride + n)];
      ASSERT_LE(std::abs(got - exact.y[i]), bound)
          << entry << ' ' << to_string(p) << " at " << m << ',' << n << ": " << got << " for " << exact.y[i];
    }
    for (int64_t n = p.n; n < c.y_stride; ++n) {
      ASSERT_TRUE(std::isnan(y[static_cast<size_t>(m * c.y_stride + n)])) << entry << " wrote past its row";
    }
  }
}

void check_whole(const Case& c, const Exact& exact, const std::vector<float>& y, const char* entry) {
  const GemmProblem& p = c.problem;
  for (int64_t m = 0; m < p.m; ++m) {
    for (int64_t n = 0; n < p.n; ++n) {
      const size_t i = static_cast<size_t>(m * p.n + n);
      if (exact.magnitude[i] >= 0x1p24) continue;  // a partial sum might not fit f32
      ASSERT_EQ(y[static_cast<size_t>(m * c.y_stride + n)], exact.y[i])
          << entry << ' ' << to_string(p) << " at " << m << ',' << n;
    }
  }
}

/// Every storage of a K, with all scale layouts, groups and zero points.
std::vector<GemmProblem> storages(int64_t m, int64_t n, int64_t k) {
  std::vector<GemmProblem> all;
  const GemmProblem base{.m = m, .n = n, .k = k};
  for (ElementType type : {ElementType::Float32, ElementType::Float16, ElementType::BFloat16}) {
    all.push_back(base);
    all.back().weight = type;
  }
  for (ElementType type : {ElementType::Int8, ElementType::Int4, ElementType::Int3, ElementType::Int2}) {
    for (bool zeros : {false, true}) {
      for (ScaleLayout layout : {ScaleLayout::Row, ScaleLayout::Group, ScaleLayout::TwoLevel}) {
        if (layout == ScaleLayout::TwoLevel && type == ElementType::Int8) continue;
        for (int64_t group : {16, 32, 64, 96, 128}) {
          GemmProblem p = base;
          p.weight = type;
          p.scales = layout;
          p.zero_points = zeros;
          p.group = layout == ScaleLayout::Row ? 0 : group;
          all.push_back(p);
          if (layout == ScaleLayout::Row) break;
          p.minimums = layout == ScaleLayout::Group && !zeros;
          if (p.minimums) all.push_back(p);
        }
      }
    }
  }
  return all;
}

std::vector<float> run(const KernelEntry<GemmProblem, GemmArgs>& entry, ExecContext& context, Case& c) {
  std::vector<float> y(static_cast<size_t>(c.problem.m * c.y_stride), kNan);
  entry.run(context, c.problem, c.args(y));
  return y;
}

class Gemm : public testing::Test {
 protected:
  OwnedExecContext owned{2};
  ExecContext& context = owned.get();

  void check_all(int64_t m, int64_t n, int64_t k, Numbers numbers) {
    for (const GemmProblem& problem : storages(m, n, k)) {
      Case c(problem, numbers, seed++);
      const Exact exact(c);
      for (const auto& entry : gemm_table()) {
        if (!rejection(entry, problem, detected_isa()).empty()) continue;
        const auto y = run(entry, context, c);
        numbers == Numbers::Real ? check_real(c, exact, y, entry.name) : check_whole(c, exact, y, entry.name);
        if (HasFatalFailure()) return;
      }
    }
  }
  uint32_t seed = 1;
};

TEST_F(Gemm, MatchesDoubleWithinTheRoundingBound) {
  for (int64_t m : {1, 2, 7, 17}) {
    for (int64_t n : {1, 3, 17, 65}) {
      for (int64_t k : {1, 31, 64, 65, 576}) {
        check_all(m, n, k, Numbers::Real);
        if (HasFatalFailure()) return;
      }
    }
  }
  for (auto [m, n, k] :
       {std::tuple(1, 33, 1536), {129, 3, 65}, {7, 37, 1536}, {129, 17, 576}, {2, 9, 1000}, {1, 5, 4100}}) {
    check_all(m, n, k, Numbers::Real);
    if (HasFatalFailure()) return;
  }
}

// Integers small enough that f32 sums them exactly in any order: the results must be equal, so one lost, doubled or
// misplaced product shows.
TEST_F(Gemm, IsExactOnWholeNumbers) {
  for (int64_t m : {1, 3, 6, 13}) {
    for (int64_t k : {1, 7, 15, 16, 17, 33, 63, 100, 129, 240, 576}) {
      check_all(m, 11, k, Numbers::Whole);
      if (HasFatalFailure()) return;
    }
  }
}

// Prefill equals decode: each row of a batch has the bits that it has alone, for any number of threads.
TEST_F(Gemm, BitsDoNotDependOnBatchOrThreads) {
  OwnedExecContext one(1), three(3);
  for (auto [m, n, k] : {std::tuple(17, 70, 200), {40, 5, 576}, {6, 65, 65}, {2, 66, 1536}}) {
    for (const GemmProblem& problem : storages(m, n, k)) {
      Case c(problem, Numbers::Real, seed++);
      for (const auto& entry : gemm_table()) {
        if (!rejection(entry, problem, detected_isa()).empty()) continue;
        const auto y = run(entry, context, c);
        for (ExecContext* other : {&one.get(), &three.get()}) {
          const auto again = run(entry, *other, c);
          ASSERT_EQ(std::memcmp(y.data(), again.data(), y.size() * 4), 0)
              << entry.name << ' ' << to_string(problem) << " with " << other->pool.threads() << " threads";
        }
        GemmProblem single = problem;
        single.m = 1;
        std::vector<float> row(static_cast<size_t>(c.y_stride), kNan);
        for (int64_t i = 0; i < m; ++i) {
          entry.run(context, single, c.args(row, i));
          ASSERT_EQ(std::memcmp(row.data(), y.data() + i * c.y_stride, static_cast<size_t>(n) * 4), 0)
              << entry.name << ' ' << to_string(problem) << " row " << i;
        }
      }
    }
  }
}

// QoQ's progressive dequantisation: (q - z) * s1 is exact for all codes, zeros and group scales that stay in int8. Row
// n holds the code q at one place and its zero code elsewhere.
TEST(GemmTwoLevel, EveryTripleInRangeIsExact) {
  constexpr int64_t kK = 64;
  std::vector<uint8_t> codes, zeros, factors;
  std::vector<int> wanted, place;
  for (int z = 0; z < 16; ++z) {
    for (int s1 = 1; s1 <= 16; ++s1) {
      for (int q = 0; q < 16; ++q) {
        if ((q - z) * s1 < -128 || (q - z) * s1 > 127) continue;
        const int at = static_cast<int>(wanted.size() * 7 % kK);
        std::vector<uint8_t> row(32, static_cast<uint8_t>(z * 17));
        uint8_t& byte = row[static_cast<size_t>(at % 32)];
        byte = static_cast<uint8_t>(at < 32 ? (byte & 0xf0) | q : (byte & 0x0f) | q << 4);
        codes.insert(codes.end(), row.begin(), row.end());
        zeros.push_back(static_cast<uint8_t>(z));
        factors.push_back(static_cast<uint8_t>(s1));
        wanted.push_back((q - z) * s1);
        place.push_back(at);
      }
    }
  }
  const auto n = static_cast<int64_t>(wanted.size());
  ASSERT_GT(n, 3000);
  constexpr int64_t kMostTokens = 19;  // more than are multiplied without a panel
  const std::vector<float> scales(wanted.size(), 1.0f);
  std::vector<float> values;
  for (int64_t i = 0; i < kMostTokens * kK; ++i) values.push_back(static_cast<float>(i % 127 - 127));
  OwnedExecContext owned(2);
  for (int64_t m : {int64_t{1}, int64_t{3}, kMostTokens}) {
    const GemmProblem problem{m, n, kK, ElementType::Int4, ScaleLayout::TwoLevel, 64, true};
    for (const auto& entry : gemm_table()) {
      if (!rejection(entry, problem, detected_isa()).empty()) continue;
      std::vector<float> y(static_cast<size_t>(m * n), kNan);
      GemmArgs args;
      args.x = {values.data(), kK};
      args.w = {codes.data(), scales.data(), factors.data(), zeros.data()};
      args.y = y.data();
      args.y_stride = n;
      entry.run(owned.get(), problem, args);
      for (int64_t i = 0; i < m * n; ++i) {
        const auto row = static_cast<size_t>(i % n);
        const float x = values[static_cast<size_t>(i / n * kK + place[row])];
        ASSERT_EQ(y[static_cast<size_t>(i)], x * static_cast<float>(wanted[row]))
            << entry.name << " zero " << int{zeros[row]} << " factor " << int{factors[row]};
      }
    }
  }
}

TEST(GemmApi, PicksTheFirstSupportingEntryAtEveryIsa) {
  const GemmProblem problem{
      .m = 3, .n = 5, .k = 96, .weight = ElementType::Int4, .scales = ScaleLayout::Group, .group = 32};
  Case c(problem, Numbers::Whole, 5);
  const Exact exact(c);
  OwnedExecContext owned(2);
  for (Isa isa : attainable_isas()) {
    owned.get().isa = isa;
    std::vector<float> y(static_cast<size_t>(problem.m * c.y_stride), kNan);
    gemm(owned.get(), problem, c.args(y));
    check_whole(c, exact, y, "gemm");
  }
  EXPECT_STREQ(select(gemm_table(), problem, Isa::Scalar).name, "reference");
  EXPECT_STREQ(select(gemm_table(), problem, Isa::Avx2).name, "avx2");
  EXPECT_STREQ(select(gemm_table(), problem, Isa::Amx).name, "avx512");
  GemmProblem odd = problem;
  odd.group = 7;
  EXPECT_STREQ(select(gemm_table(), odd, Isa::Amx).name, "reference");
}

TEST(GemmApi, OddGroupsRunOnTheReference) {
  const GemmProblem problem{2, 3, 50, ElementType::Int4, ScaleLayout::TwoLevel, 7, true};
  Case c(problem, Numbers::Whole, 6);
  OwnedExecContext owned(1);
  std::vector<float> y(static_cast<size_t>(problem.m * c.y_stride), kNan);
  gemm(owned.get(), problem, c.args(y));
  check_whole(c, Exact(c), y, "gemm");
}

TEST(GemmApi, RejectsMalformedProblemsAndMissingPointers) {
  const GemmProblem good{.m = 2,
                         .n = 3,
                         .k = 64,
                         .weight = ElementType::Int4,
                         .scales = ScaleLayout::TwoLevel,
                         .group = 32,
                         .zero_points = true};
  Case c(good, Numbers::Whole, 1);
  OwnedExecContext owned(1);
  std::vector<float> y(static_cast<size_t>(good.m * c.y_stride));
  const auto expect_error = [&](auto change) {
    GemmProblem p = good;
    GemmArgs a = c.args(y);
    change(p, a);
    EXPECT_THROW(gemm(owned.get(), p, a), InvalidArgument) << to_string(p);
  };
  EXPECT_NO_THROW(gemm(owned.get(), good, c.args(y)));
  expect_error([](auto& p, auto&) { p.m = 0; });
  expect_error([](auto& p, auto&) { p.n = 0; });
  expect_error([](auto& p, auto&) { p.k = -1; });
  expect_error([](auto& p, auto&) { p.group = 0; });
  expect_error([](auto& p, auto&) { p.scales = ScaleLayout::None; });
  expect_error([](auto& p, auto&) { p.scales = ScaleLayout::Row; });
  expect_error([](auto& p, auto&) { p.weight = ElementType::Float16; });
  expect_error([](auto& p, auto&) { p.weight = ElementType::Int8; });
  expect_error([](auto&, auto& a) { a.x.values = nullptr; });
  expect_error([](auto&, auto& a) { a.x.stride = 63; });
  expect_error([](auto&, auto& a) { a.w.codes = nullptr; });
  expect_error([](auto&, auto& a) { a.w.scales = nullptr; });
  expect_error([](auto&, auto& a) { a.w.group_scales = nullptr; });
  expect_error([](auto&, auto& a) { a.w.zeros = nullptr; });
  expect_error([](auto&, auto& a) { a.y = nullptr; });
  expect_error([](auto&, auto& a) { a.y_stride = 2; });
}

}  // namespace
}  // namespace halftone::kernels
