// Ternary weights in every entry of packed_gemm_table(): against dense double arithmetic on values that the test makes
// itself, and the entries against each other, bit for bit.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "kernel_test.h"
#include "kernels/api/packed_gemm.h"
#include "numerics/half.h"
#include "numerics/packing.h"

namespace halftone::kernels {
namespace {

/// Bytes aligned as the kernels want them.
class CodeBytes {
 public:
  explicit CodeBytes(int64_t bytes = 0, uint8_t fill = 0) : lines_(static_cast<size_t>((bytes + 63) / 64)) {
    for (Line& line : lines_) std::fill_n(line.bytes, sizeof line.bytes, fill);
  }
  uint8_t* data() { return lines_.empty() ? nullptr : lines_.front().bytes; }
  const uint8_t* data() const { return lines_.empty() ? nullptr : lines_.front().bytes; }

 private:
  struct alignas(64) Line {
    uint8_t bytes[64];
  };
  std::vector<Line> lines_;
};

/// Random operands of a problem, as the kernels take them and as integers.
struct TernaryCase {
  PackedGemmProblem problem;
  int64_t units, groups, code_stride, y_stride;
  std::vector<int> w;                     // [N, K] in -1 .. 1
  std::vector<float> w_scales, x_scales;  // [N, groups]; [M] or [M, units]
  std::vector<int8_t> x;                  // [M, code_stride]
  std::vector<int32_t> sums;
  CodeBytes codes;
  std::vector<uint16_t> scales;
  std::vector<float> row_scales, bias;

  TernaryCase(const PackedGemmProblem& p, uint32_t seed) : problem(p), random_(seed) {
    units = units_of(p.k);
    groups = p.group > 0 ? (p.k + p.group - 1) / p.group : 1;
    code_stride = (p.k + 63) / 64 * 64 + 64 * (p.k % 2);
    y_stride = p.n + 3;
    make_weights();
    x.assign(static_cast<size_t>(p.m * code_stride), 0);
    sums.assign(static_cast<size_t>(p.m * units), 0);
    for (int64_t m = 0; m < p.m; ++m)
      for (int64_t k = 0; k < p.k; ++k) {
        if (k == 0 || (by_unit() && k % kUnitLength == 0)) x_scales.push_back(scale());
        const int code = k == m % p.k ? -127 : integer(-127, 127);
        x[at(m * code_stride + k)] = static_cast<int8_t>(code);
        sums[at(m * units + k / kUnitLength)] += code;
      }
    for (int64_t n = 0; n < p.n; ++n) bias.push_back(std::normal_distribution<float>()(random_));
  }

  bool by_unit() const { return problem.activations == ActivationScales::Unit; }
  const float* with_bias() const { return problem.n % 2 == 1 ? bias.data() : nullptr; }

  PackedGemmArgs args(std::vector<float>& y) const {
    return {.x = {.codes = x.data(), .code_stride = code_stride, .scales = x_scales.data(), .sums = sums.data()},
            .w = {.codes = codes.data(),
                  .scales = problem.group > 0 ? scales.data() : nullptr,
                  .row_scales = problem.group > 0 ? nullptr : row_scales.data()},
            .bias = with_bias(),
            .y = y.data(),
            .y_stride = y_stride};
  }

  /// Every fold rounds the product of scales and its sum (its integers are below 2^24), the end multiplies twice and
  /// adds.
  void check(const std::vector<float>& y) const {
    const PackedGemmProblem& p = problem;
    for (int64_t m = 0; m < p.m; ++m)
      for (int64_t n = 0; n < p.n; ++n) {
        double sum = 0, magnitude = 0;
        for (int64_t k = 0; k < p.k; ++k) {
          const double input = x_scales[at(by_unit() ? m * units + k / kUnitLength : m)];
          const double weight = w_scales[at(n * groups + (p.group > 0 ? k / p.group : 0))];
          const double product = input * x[at(m * code_stride + k)] * weight * w[at(n * p.k + k)];
          sum += product, magnitude += std::fabs(product);
        }
        if (with_bias() != nullptr) sum += bias[at(n)], magnitude += std::fabs(bias[at(n)]);
        const double bound = (static_cast<double>(units) + 8) * 1.01 * kUnit * magnitude + kTiny;
        ASSERT_NEAR(y[at(m * y_stride + n)], sum, bound) << "token " << m << " row " << n;
      }
  }

 private:
  static size_t at(int64_t index) { return static_cast<size_t>(index); }
  int integer(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }
  float scale() { return f16_to_f32(f32_to_f16(std::exp2(std::uniform_real_distribution<float>(-9, -4)(random_)))); }

  void make_weights() {
    const PackedGemmProblem& p = problem;
    std::vector<uint8_t> row(at(p.k)), rows(at(p.n * row_bytes(p.weight, p.k)));
    for (int64_t n = 0; n < p.n; ++n) {
      for (int64_t k = 0; k < p.k; ++k) {
        w.push_back(integer(-1, 1));
        row[at(k)] = static_cast<uint8_t>(w.back() + 1);
      }
      pack_codes(p.weight, row, rows.data() + n * row_bytes(p.weight, p.k));
      for (int64_t g = 0; g < groups; ++g) w_scales.push_back(scale());
    }
    codes = CodeBytes(interleaved_bytes(p.weight, p.n, p.k), 0xff);
    interleave(p.weight, p.n, p.k, rows.data(), codes.data());
    std::vector<uint16_t> halves;
    for (const float s : w_scales) halves.push_back(f32_to_f16(s));
    scales.resize(at(tiles_of(p.n) * groups * kTileRows));
    interleave_groups(p.n, groups, halves.data(), scales.data());
    row_scales.resize(at(tiles_of(p.n) * kTileRows));
    if (p.group == 0) interleave_groups(p.n, 1, w_scales.data(), row_scales.data());
  }

  std::mt19937 random_;
};

std::vector<PackedGemmProblem> problems() {
  std::vector<PackedGemmProblem> all;
  constexpr int64_t kSizes[][2] = {{1, 1}, {16, 96}, {17, 31}, {33, 32}, {48, 64}, {5, 97}, {31, 200}, {20, 576}};
  for (const int64_t m : {1, 2, 3, 8, 129})
    for (const auto& [n, k] : kSizes)
      for (const int64_t group : {0, 32, 64, 96, 128})
        for (const auto activations : {ActivationScales::Row, ActivationScales::Unit})
          all.push_back({.m = m,
                         .n = n,
                         .k = k,
                         .weight = ElementType::Ternary,
                         .scales = group > 0 ? ScaleLayout::Group : ScaleLayout::Row,
                         .group = group,
                         .activations = activations});
  return all;
}

TEST(PackedTernaryTest, EveryEntryAgreesWithDoubleAndInEveryBit) {
  uint32_t seed = 1;
  for (const PackedGemmProblem& p : problems()) {
    const TernaryCase c(p, seed++);
    std::vector<float> first;
    const int ran = for_each_entry(packed_gemm_table(), p, [&](ExecContext& context, const auto& entry) {
      std::vector<float> y(static_cast<size_t>(p.m * c.y_stride), kPoison);
      entry.run(context, p, c.args(y));
      c.check(y);
      for (int64_t m = 0; m < p.m; ++m)  // nothing past a row's end
        for (int64_t n = p.n; n < c.y_stride; ++n) ASSERT_TRUE(std::isnan(y[static_cast<size_t>(m * c.y_stride + n)]));
      if (entry.needs == Isa::Scalar) return;
      if (first.empty()) first = y;
      ASSERT_EQ(std::memcmp(first.data(), y.data(), y.size() * sizeof(float)), 0) << "bits differ between entries";
    });
    ASSERT_GE(ran, 1);
    if (testing::Test::HasFatalFailure()) return;
  }
}

// The same weights as two-bit codes around 2 give the same bits: the sums are the same integers.
TEST(PackedTernaryTest, EqualsTwoBitCodesInEveryBit) {
  for (const auto activations : {ActivationScales::Row, ActivationScales::Unit}) {
    const PackedGemmProblem p = {.m = 9,
                                 .n = 40,
                                 .k = 300,
                                 .weight = ElementType::Ternary,
                                 .scales = ScaleLayout::Group,
                                 .group = 64,
                                 .activations = activations};
    const TernaryCase c(p, 77);
    PackedGemmProblem two = p;
    two.weight = ElementType::Int2;
    std::vector<uint8_t> row(static_cast<size_t>(p.k)), rows(static_cast<size_t>(p.n * row_bytes(two.weight, p.k)));
    for (int64_t n = 0; n < p.n; ++n) {
      for (int64_t k = 0; k < p.k; ++k)
        row[static_cast<size_t>(k)] = static_cast<uint8_t>(c.w[static_cast<size_t>(n * p.k + k)] + 2);
      pack_codes(two.weight, row, rows.data() + n * row_bytes(two.weight, p.k));
    }
    CodeBytes codes(interleaved_bytes(two.weight, p.n, p.k));
    interleave(two.weight, p.n, p.k, rows.data(), codes.data());
    OwnedExecContext exec(2);
    std::vector<float> y(static_cast<size_t>(p.m * c.y_stride), kPoison), of_two = y;
    packed_gemm(exec.get(), p, c.args(y));
    PackedGemmArgs args = c.args(of_two);
    args.w.codes = codes.data();
    packed_gemm(exec.get(), two, args);
    EXPECT_EQ(std::memcmp(y.data(), of_two.data(), y.size() * sizeof(float)), 0);
  }
}

TEST(PackedTernaryTest, HasNoZeroPointsMinimumsOrSecondLevels) {
  OwnedExecContext exec(1);
  const PackedGemmProblem good = {.n = 16, .k = 64, .weight = ElementType::Ternary};
  const TernaryCase c(good, 1);
  std::vector<float> y(static_cast<size_t>(c.y_stride));
  EXPECT_NO_THROW(packed_gemm(exec.get(), good, c.args(y)));
  for (const auto& change : std::vector<void (*)(PackedGemmProblem&)>{
           [](PackedGemmProblem& p) { p.zero_points = true; }, [](PackedGemmProblem& p) { p.minimums = true; },
           [](PackedGemmProblem& p) { p.scales = ScaleLayout::TwoLevel; },
           [](PackedGemmProblem& p) { p.scales = ScaleLayout::SuperGroup; }}) {
    PackedGemmProblem p = good;
    change(p);
    EXPECT_THROW(packed_gemm(exec.get(), p, c.args(y)), InvalidArgument) << to_string(p);
  }
}

}  // namespace
}  // namespace halftone::kernels
