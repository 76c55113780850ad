// Every entry of packed_gemm_table() against dense double arithmetic on values that the test makes itself, and against
// each other, bit for bit; quantize_activations_table() against its oracle.
#include "kernels/api/packed_gemm.h"

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "kernel_test.h"
#include "numerics/formats/element_codec.h"
#include "numerics/half.h"
#include "numerics/packing.h"

namespace halftone::kernels {
namespace {

template <class T>
struct AlignedAllocator {
  using value_type = T;
  AlignedAllocator() = default;
  template <class U>
  AlignedAllocator(const AlignedAllocator<U>&) {}
  T* allocate(size_t n) { return static_cast<T*>(::operator new (n * sizeof(T), std::align_val_t{64})); }
  void deallocate(T* p, size_t) { ::operator delete (p, std::align_val_t{64}); }
  bool operator==(const AlignedAllocator&) const { return true; }
};
using AlignedBytes = std::vector<uint8_t, AlignedAllocator<uint8_t>>;

/// Random operands of a problem, as the kernels take them and dense in double.
struct Case {
  PackedGemmProblem problem;
  std::vector<double> x, w;        // [M, K], [N, K]
  std::vector<double> magnitudes;  // [N, K]: of a weight's product and minimum, which may cancel
  AlignedBytes codes;
  std::vector<uint16_t> scales, mins;
  std::vector<float> row_scales, x_scales, bias;
  std::vector<uint8_t> group_scales, zeros, group_mins;
  std::vector<int8_t> x_codes, values;
  std::vector<int32_t> x_sums;
  int64_t code_stride, y_stride, units;

  Case(const PackedGemmProblem& p, uint32_t seed) : problem(p), random(seed) {
    units = units_of(p.k);
    code_stride = (p.k + 63) / 64 * 64 + 64 * (p.k % 2);
    y_stride = p.n + 3;
    make_activations();
    make_weights();
    for (int64_t n = 0; n < p.n; ++n) bias.push_back(real());
  }

  PackedGemmArgs args(std::vector<float>& y, int64_t first_row = 0) {
    const bool by_unit = problem.activations == ActivationScales::Unit;
    return {.x = {.codes = x_codes.data() + first_row * code_stride,
                  .code_stride = code_stride,
                  .scales = x_scales.data() + first_row * (by_unit ? units : 1),
                  .sums = x_sums.data() + first_row * units},
            .w = {.codes = codes.data(),
                  .scales = scales.empty() ? nullptr : scales.data(),
                  .row_scales = row_scales.empty() ? nullptr : row_scales.data(),
                  .group_scales = group_scales.empty() ? nullptr : group_scales.data(),
                  .zeros = zeros.empty() ? nullptr : zeros.data(),
                  .mins = mins.empty() ? nullptr : mins.data(),
                  .group_mins = group_mins.empty() ? nullptr : group_mins.data(),
                  .values = values.empty() ? nullptr : values.data()},
            .bias = problem.n % 2 == 1 ? bias.data() : nullptr,
            .y = y.data(),
            .y_stride = y_stride};
  }

 private:
  int integer(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); }
  float real() { return std::normal_distribution<float>()(random); }
  float scale() { return f16_to_f32(f32_to_f16(std::exp2(std::uniform_real_distribution<float>(-9, -4)(random)))); }

  void make_activations() {
    const PackedGemmProblem& p = problem;
    x_codes.assign(static_cast<size_t>(p.m * code_stride), 0);
    x_sums.assign(static_cast<size_t>(p.m * units), 0);
    for (int64_t m = 0; m < p.m; ++m)
      for (int64_t k = 0; k < p.k; ++k) {
        if (k == 0 || (k % kUnitLength == 0 && p.activations == ActivationScales::Unit)) x_scales.push_back(scale());
        const int code = k == m % p.k ? -127 : integer(-127, 127);
        x_codes[static_cast<size_t>(m * code_stride + k)] = static_cast<int8_t>(code);
        x_sums[static_cast<size_t>(m * units + k / kUnitLength)] += code;
        x.push_back(static_cast<double>(code) * x_scales.back());
      }
  }

  /// The group's parameters as a row gives them, in the order of the arrays.
  struct Group {
    int zero = 0, factor = 1;
    double scale = 0, minimum = 0;
  };

  Group make_group(int64_t k, int top) {
    const PackedGemmProblem& p = problem;
    const bool super = p.scales == ScaleLayout::SuperGroup;
    const auto half = [&](std::vector<uint16_t>& to) {
      to.push_back(f32_to_f16(integer(0, 3) == 0 ? -scale() : scale()));  // ggml's may be negative
    };
    const auto factor = [&](std::vector<uint8_t>& to) {
      to.push_back(static_cast<uint8_t>(integer(-128, 127)));
      return static_cast<double>(static_cast<int8_t>(to.back()));
    };
    if (!super || k % kSuperGroup == 0) {
      half(row_.scales);
      half(row_.mins);
    }
    Group g;
    g.zero = p.zero_points                   ? integer(0, top)
             : p.weight == ElementType::Int8 ? 128
             : p.minimums                    ? 0
                                             : symmetric_zero(p.weight);
    if (p.scales == ScaleLayout::TwoLevel)
      g.factor = std::min(integer(1, 255 / top), 127 / std::max(g.zero, top - g.zero));
    row_.zeros.push_back(static_cast<uint8_t>(g.zero));
    row_.factors.push_back(static_cast<uint8_t>(g.factor));
    if (p.scale_format != nullptr) {
      const bool powers = p.scale_format->kind == ElementKind::PowerOfTwo;
      row_.byte_scales.push_back(static_cast<uint8_t>(powers ? integer(110, 135) : integer(0, 0x7e)));
      g.scale = static_cast<double>(decode(*p.scale_format, row_.byte_scales.back()));
      return g;
    }
    g.scale = f16_to_f32(row_.scales.back()) * (super ? factor(row_.signed_factors) : 1.0);
    g.minimum = p.minimums ? f16_to_f32(row_.mins.back()) * (super ? factor(row_.min_factors) : 1.0) : 0;
    return g;
  }

  void make_weights() {
    const PackedGemmProblem& p = problem;
    const bool super = p.scales == ScaleLayout::SuperGroup, grouped = super || p.scales == ScaleLayout::Group;
    const int64_t group = p.group > 0 ? p.group : p.k, groups = (p.k + group - 1) / group;
    const int top = (1 << bits_of(p.weight)) - 1;
    std::vector<uint8_t> rows(static_cast<size_t>(p.n * row_bytes(p.weight, p.k)));
    std::vector<uint8_t> row(static_cast<size_t>(p.k));
    std::vector<float> r;
    for (int i = 0; p.listed && i < 16; ++i)
      values.push_back(static_cast<int8_t>(i == 0 ? kLeastListed : i == 15 ? kMostListed : integer(-16, 15)));
    for (int64_t n = 0; n < p.n; ++n) {
      r.push_back(scale());
      Group g;
      for (int64_t k = 0; k < p.k; ++k) {
        if (k % group == 0) g = make_group(k, top);
        const int code = k % 17 == 0 ? top : k % 13 == 0 ? 0 : integer(0, top);
        row[static_cast<size_t>(k)] = static_cast<uint8_t>(p.weight == ElementType::Int8 ? code - 128 : code);
        const int units = p.listed ? values[static_cast<size_t>(code)] : (code - g.zero) * g.factor;
        const double product = units * (grouped ? g.scale : 1.0) * (grouped && !p.listed ? 1.0f : r.back());
        w.push_back(product + g.minimum);
        magnitudes.push_back(std::fabs(product) + std::fabs(g.minimum));
      }
      pack_codes(p.weight, row, rows.data() + n * row_bytes(p.weight, p.k));
    }
    codes.resize(static_cast<size_t>(interleaved_bytes(p.weight, p.n, p.k)));
    interleave(p.weight, p.n, p.k, rows.data(), codes.data());
    const auto spread = [&](auto& to, const auto& from, int64_t count) {
      to.resize(static_cast<size_t>(tiles_of(p.n) * count * kTileRows));
      interleave_groups(p.n, count, from.data(), to.data());
    };
    const int64_t halves = super ? (p.k + kSuperGroup - 1) / kSuperGroup : groups;
    if (grouped && p.scale_format == nullptr) spread(scales, row_.scales, halves);
    if (!grouped || p.listed) spread(row_scales, r, 1);
    if (p.scale_format != nullptr) spread(group_scales, row_.byte_scales, groups);
    if (p.scales == ScaleLayout::TwoLevel) spread(group_scales, row_.factors, groups);
    if (super) spread(group_scales, row_.signed_factors, groups);
    if (p.zero_points) spread(zeros, row_.zeros, groups);
    if (p.minimums) spread(mins, row_.mins, halves);
    if (p.minimums && super) spread(group_mins, row_.min_factors, groups);
  }

  struct {
    std::vector<uint16_t> scales, mins;
    std::vector<uint8_t> zeros, factors, signed_factors, min_factors, byte_scales;
  } row_;
  std::mt19937 random;
};

/// A fold rounds its integer (once past 2^24), the product of scales and its sum; the end multiplies twice and adds. A
/// minimum is one more product and one more addition of a fold, and groups of 16 have two folds a unit.
void check_against_double(Case& c, const std::vector<float>& y) {
  const PackedGemmProblem& p = c.problem;
  const double folds = static_cast<double>(units_of(p.k)) * (p.minimums || p.group == 16 ? 2 : 1),
               roundings = folds + 8;
  for (int64_t m = 0; m < p.m; ++m)
    for (int64_t n = 0; n < p.n; ++n) {
      double sum = 0, magnitude = 0;
      for (int64_t k = 0; k < p.k; ++k) {
        const double x = c.x[static_cast<size_t>(m * p.k + k)];
        sum += x * c.w[static_cast<size_t>(n * p.k + k)];
        magnitude += std::fabs(x) * c.magnitudes[static_cast<size_t>(n * p.k + k)];
      }
      if (p.n % 2 == 1) sum += c.bias[static_cast<size_t>(n)], magnitude += std::fabs(c.bias[static_cast<size_t>(n)]);
      const float got = y[static_cast<size_t>(m * c.y_stride + n)];
      ASSERT_LE(std::fabs(got - sum), roundings * kUnit * magnitude + kTiny) << "m " << m << " n " << n;
    }
}

/// What accumulates adds the rounded result, `product`, to what is there: the bits of doing so afterwards.
template <class Run>
void check_accumulation(Case& c, const std::vector<float>& product, const Run& run) {
  std::vector<float> y(product.size(), kPoison), before = y;
  for (int64_t m = 0; m < c.problem.m; ++m)
    for (int64_t n = 0; n < c.problem.n; ++n)
      before[static_cast<size_t>(m * c.y_stride + n)] = static_cast<float>(m - 3 * n) / 7;
  y = before;
  PackedGemmArgs args = c.args(y);
  args.accumulate = true;
  run(args);
  for (size_t i = 0; i < y.size(); ++i) {
    if (std::isnan(before[i]))
      ASSERT_TRUE(std::isnan(y[i]));
    else
      ASSERT_EQ(y[i], before[i] + product[i]) << "at " << i;
  }
}

std::vector<PackedGemmProblem> problems() {
  std::vector<PackedGemmProblem> list;
  const int64_t sizes[][3] = {{1, 1, 1},     {1, 17, 33},   {1, 48, 576}, {2, 33, 100},  {3, 16, 64},
                              {5, 40, 640},  {6, 33, 96},   {7, 16, 160}, {8, 31, 96},   {9, 64, 160},
                              {16, 32, 128}, {17, 19, 320}, {33, 50, 70}, {129, 18, 64}, {300, 17, 96}};
  for (const auto& size : sizes)
    for (const auto type : {ElementType::Int8, ElementType::Int4, ElementType::Int3, ElementType::Int2})
      for (const bool zeros : {false, true})
        for (const auto activations : {ActivationScales::Row, ActivationScales::Unit})
          for (const auto& [layout, group] : {std::pair{ScaleLayout::Row, 0},
                                              {ScaleLayout::Group, 32},
                                              {ScaleLayout::Group, 64},
                                              {ScaleLayout::Group, 96},
                                              {ScaleLayout::TwoLevel, 64},
                                              {ScaleLayout::SuperGroup, 16},
                                              {ScaleLayout::SuperGroup, 32}})
            for (const bool minimums : {false, true}) {
              if (layout == ScaleLayout::TwoLevel && type == ElementType::Int8) continue;
              if (layout == ScaleLayout::SuperGroup && zeros) continue;
              if (minimums && (zeros || group < 32 || layout == ScaleLayout::TwoLevel)) continue;
              list.push_back({.m = size[0],
                              .n = size[1],
                              .k = size[2],
                              .weight = type,
                              .scales = layout,
                              .group = group,
                              .zero_points = zeros,
                              .minimums = minimums,
                              .activations = activations});
            }
  const PackedGemmProblem listed[] = {{.scales = ScaleLayout::Row, .group = 0},
                                      {.group = 32},
                                      {.group = 64},
                                      {.group = 32, .scale_format = &kE8m0},
                                      {.group = 96, .scale_format = &kE8m0},
                                      {.group = 16, .scale_format = &kE4m3},
                                      {.group = 64, .scale_format = &kE4m3}};
  for (const auto& size : sizes)
    for (PackedGemmProblem p : listed)
      for (const auto activations : {ActivationScales::Row, ActivationScales::Unit}) {
        p.m = size[0], p.n = size[1], p.k = size[2];
        p.listed = true;
        p.activations = activations;
        list.push_back(p);
      }
  return list;
}

TEST(PackedGemmTest, EveryEntryIsAccurateAndAllVectorEntriesAgreeBitForBit) {
  uint32_t seed = 20;
  for (const auto& p : problems()) {
    Case c(p, seed++);
    std::vector<float> first;
    const int ran = for_each_entry(packed_gemm_table(), p, [&](ExecContext& context, const auto& entry) {
      std::vector<float> y(static_cast<size_t>(p.m * c.y_stride), kPoison);
      entry.run(context, p, c.args(y));
      check_against_double(c, y);
      for (int64_t m = 0; m < p.m; ++m)  // nothing past a row's end
        for (int64_t n = p.n; n < c.y_stride; ++n) ASSERT_TRUE(std::isnan(y[static_cast<size_t>(m * c.y_stride + n)]));
      check_accumulation(c, y, [&](const PackedGemmArgs& a) { entry.run(context, p, a); });
      if (entry.needs == Isa::Scalar) return;
      if (first.empty()) first = y;
      ASSERT_EQ(std::memcmp(first.data(), y.data(), y.size() * sizeof(float)), 0) << "bits differ between entries";
    });
    ASSERT_GE(ran, 1);
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(PackedGemmTest, ARowDoesNotDependOnTheBatch) {
  for (const auto activations : {ActivationScales::Row, ActivationScales::Unit}) {
    const PackedGemmProblem p = {.m = 37, .n = 50, .k = 200, .zero_points = true, .activations = activations};
    Case c(p, 5);
    std::vector<float> batch(static_cast<size_t>(p.m * c.y_stride), kPoison), alone = batch;
    OwnedExecContext exec(2);
    packed_gemm(exec.get(), p, c.args(batch));
    PackedGemmProblem one = p;
    one.m = 1;
    for (int64_t m = 0; m < p.m; ++m) {
      std::vector<float> row(static_cast<size_t>(c.y_stride), kPoison);
      packed_gemm(exec.get(), one, c.args(row, m));
      ASSERT_EQ(std::memcmp(row.data(), batch.data() + m * c.y_stride, sizeof(float) * static_cast<size_t>(p.n)), 0)
          << "row " << m;
    }
  }
}

TEST(PackedGemmTest, OneScaleARowIsExact) {
  const PackedGemmProblem p = {
      .m = 3, .n = 16, .k = 4096, .weight = ElementType::Int8, .scales = ScaleLayout::Row, .group = 0};
  Case c(p, 9);
  for_each_entry(packed_gemm_table(), p, [&](ExecContext& context, const auto& entry) {
    if (entry.needs == Isa::Scalar) return;
    std::vector<float> y(static_cast<size_t>(p.m * c.y_stride), kPoison);
    entry.run(context, p, c.args(y));
    for (int64_t m = 0; m < p.m; ++m)
      for (int64_t n = 0; n < p.n; ++n) {
        int64_t sum = 0;
        for (int64_t k = 0; k < p.k; ++k)
          sum += c.x_codes[static_cast<size_t>(m * c.code_stride + k)] *
                 (interleaved_code(p.weight, p.k, c.codes.data(), n, k) - 128);
        const float scale = c.row_scales[static_cast<size_t>(n)] * c.x_scales[static_cast<size_t>(m)];
        ASSERT_EQ(y[static_cast<size_t>(m * c.y_stride + n)], static_cast<float>(sum) * scale);
      }
  });
}

// QoQ's progressive dequantisation: (code - zero) * factor is exact for all codes, zeros and group scales that stay in
// int8. Row n holds the code at one place and its zero code elsewhere.
TEST(PackedGemmTest, EveryTwoLevelTripleInRangeIsExact) {
  constexpr int64_t kK = 64, kTokens = 11;
  std::vector<uint8_t> rows, zeros, factors;
  std::vector<int> wanted, place;
  for (int zero = 0; zero < 16; ++zero)
    for (int factor = 1; factor <= 16; ++factor)
      for (int code = 0; code < 16; ++code) {
        const int value = (code - zero) * factor;
        if (value < -128 || value > 127) continue;
        place.push_back(static_cast<int>(wanted.size() * 7 % kK));
        wanted.push_back(value);
        zeros.push_back(static_cast<uint8_t>(zero));
        factors.push_back(static_cast<uint8_t>(factor));
        std::vector<uint8_t> codes(kK, static_cast<uint8_t>(zero));
        codes[static_cast<size_t>(place.back())] = static_cast<uint8_t>(code);
        rows.resize(rows.size() + static_cast<size_t>(row_bytes(ElementType::Int4, kK)));
        pack_codes(ElementType::Int4, codes, rows.data() + rows.size() - row_bytes(ElementType::Int4, kK));
      }
  const auto n = static_cast<int64_t>(wanted.size());
  ASSERT_GT(n, 3000);
  AlignedBytes codes(static_cast<size_t>(interleaved_bytes(ElementType::Int4, n, kK)));
  interleave(ElementType::Int4, n, kK, rows.data(), codes.data());
  const auto padded = static_cast<size_t>(tiles_of(n) * kTileRows);
  std::vector<uint8_t> tiled_zeros(padded), tiled_factors(padded);
  interleave_groups(n, 1, zeros.data(), tiled_zeros.data());
  interleave_groups(n, 1, factors.data(), tiled_factors.data());
  const std::vector<float> row_scales(padded, 0.5f), x_scales(kTokens * 2, 0.25f);
  std::vector<int8_t> x(kTokens * kK);
  std::vector<int32_t> sums(kTokens * 2);
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] = static_cast<int8_t>(static_cast<int>(i * 37 % 255) - 127);
    sums[i / kUnitLength] += x[i];
  }
  for (const auto activations : {ActivationScales::Row, ActivationScales::Unit})
    for (const int64_t m : {int64_t{1}, kTokens}) {
      const PackedGemmProblem p = {.m = m,
                                   .n = n,
                                   .k = kK,
                                   .weight = ElementType::Int4,
                                   .scales = ScaleLayout::TwoLevel,
                                   .group = 64,
                                   .zero_points = true,
                                   .activations = activations};
      for_each_entry(packed_gemm_table(), p, [&](ExecContext& context, const auto& entry) {
        std::vector<float> y(static_cast<size_t>(m * n), kPoison);
        entry.run(context, p,
                  {.x = {x.data(), kK, x_scales.data(), sums.data()},
                   .w = {.codes = codes.data(),
                         .row_scales = row_scales.data(),
                         .group_scales = tiled_factors.data(),
                         .zeros = tiled_zeros.data()},
                   .y = y.data(),
                   .y_stride = n});
        for (int64_t i = 0; i < m * n; ++i) {
          const auto row = static_cast<size_t>(i % n);
          const int product = x[static_cast<size_t>(i / n * kK + place[row])] * wanted[row];
          ASSERT_EQ(y[static_cast<size_t>(i)], 0.125f * static_cast<float>(product))
              << "zero " << int{zeros[row]} << " factor " << int{factors[row]} << " value " << wanted[row];
        }
      });
    }
}

// Ternary weights are two-bit codes around zero code 1: values -1, 0 and 1 times the row's scale, exactly.
TEST(PackedGemmTest, TernaryWeightsAreTwoBitCodesAroundOne) {
  constexpr int64_t kN = 40, kK = 200, kTokens = 17;
  const PackedGemmProblem p = {.m = kTokens,
                               .n = kN,
                               .k = kK,
                               .weight = ElementType::Int2,
                               .scales = ScaleLayout::Row,
                               .group = 0,
                               .zero_points = true};
  Case c(p, 21);
  std::mt19937 random(4);
  std::vector<int> values(kN * kK);
  std::vector<uint8_t> rows(static_cast<size_t>(kN * row_bytes(p.weight, kK))), row(kK);
  for (int64_t n = 0; n < kN; ++n) {
    for (int64_t k = 0; k < kK; ++k) {
      values[static_cast<size_t>(n * kK + k)] = static_cast<int>(random() % 3) - 1;
      row[static_cast<size_t>(k)] = static_cast<uint8_t>(values[static_cast<size_t>(n * kK + k)] + 1);
    }
    pack_codes(p.weight, row, rows.data() + n * row_bytes(p.weight, kK));
  }
  interleave(p.weight, kN, kK, rows.data(), c.codes.data());
  std::fill(c.zeros.begin(), c.zeros.end(), uint8_t{1});
  for_each_entry(packed_gemm_table(), p, [&](ExecContext& context, const auto& entry) {
    std::vector<float> y(static_cast<size_t>(kTokens * c.y_stride), kPoison);
    entry.run(context, p, c.args(y));
    for (int64_t m = 0; m < kTokens; ++m)
      for (int64_t n = 0; n < kN; ++n) {
        int sum = 0;
        for (int64_t k = 0; k < kK; ++k)
          sum += c.x_codes[static_cast<size_t>(m * c.code_stride + k)] * values[static_cast<size_t>(n * kK + k)];
        const float scale = c.row_scales[static_cast<size_t>(n)] * c.x_scales[static_cast<size_t>(m)];
        const float got = y[static_cast<size_t>(m * c.y_stride + n)], want = static_cast<float>(sum) * scale;
        // The reference rounds each product of scales, code and input in double, the others the product of scales.
        if (entry.needs == Isa::Scalar)
          ASSERT_NEAR(got, want, 2 * kUnit * std::fabs(want));
        else
          ASSERT_EQ(got, want);
      }
  });
}

TEST(PackedGemmTest, LargestSumsDoNotOverflow) {
  for (const auto type : {ElementType::Int8, ElementType::Int4}) {
    const PackedGemmProblem p = {
        .m = 1, .n = 16, .k = 65536, .weight = type, .scales = ScaleLayout::Row, .group = 0, .zero_points = true};
    Case c(p, 3);
    std::fill(c.codes.begin(), c.codes.end(), uint8_t{255});
    std::fill(c.zeros.begin(), c.zeros.end(), uint8_t{0});
    std::fill(c.x_codes.begin(), c.x_codes.end(), int8_t{127});
    std::fill(c.x_sums.begin(), c.x_sums.end(), 127 * 32);
    const int top = type == ElementType::Int8 ? 255 : 15;
    for_each_entry(packed_gemm_table(), p, [&](ExecContext& context, const auto& entry) {
      std::vector<float> y(static_cast<size_t>(c.y_stride), kPoison);
      entry.run(context, p, c.args(y));
      const double exact = 127.0 * top * 65536 * c.x_scales[0] * c.row_scales[0];
      ASSERT_NEAR(y[0], exact, 4 * kUnit * exact);
    });
  }
}

TEST(PackedGemmTest, MalformedProblemsNameTheRule) {
  OwnedExecContext exec(1);
  const PackedGemmProblem good = {.m = 2, .n = 16, .k = 64};
  Case c(good, 1);
  std::vector<float> y(static_cast<size_t>(2 * c.y_stride));
  const auto message = [&](PackedGemmProblem p, const auto& change) -> std::string {
    PackedGemmArgs a = c.args(y);
    change(p, a);
    try {
      packed_gemm(exec.get(), p, a);
    } catch (const InvalidArgument& error) {
      return error.what();
    }
    return "no error";
  };
  using P = PackedGemmProblem;
  using A = PackedGemmArgs;
  EXPECT_NE(message(good, [](P& p, A&) { p.group = 48; }).find("multiple of 32"), std::string::npos);
  EXPECT_NE(message(good, [](P& p, A&) { p.weight = ElementType::Float16; }).find("int2 or ternary"),
            std::string::npos);
  EXPECT_NE(message(good, [](P& p, A&) { p.minimums = p.zero_points = true; }).find("without zero points"),
            std::string::npos);
  EXPECT_NE(message(good, [](P& p, A&) { p.minimums = true; }).find("w.mins"), std::string::npos);
  EXPECT_NE(message(good, [](P& p, A&) { p.scales = ScaleLayout::SuperGroup, p.group = 64; }).find("16 or 32"),
            std::string::npos);
  EXPECT_NE(message(good, [](P& p, A&) { p.scales = ScaleLayout::SuperGroup; }).find("w.group_scales"),
            std::string::npos);
  EXPECT_NE(message(good, [](P& p, A&) { p.k = 65537; }).find("65536"), std::string::npos);
  EXPECT_NE(message(good, [](P& p, A&) { p.listed = p.zero_points = true; }).find("neither zero points"),
            std::string::npos);
  EXPECT_NE(message(good, [](P& p, A&) { p.listed = true; }).find("w.row_scales"), std::string::npos);
  EXPECT_NE(message(good, [](P& p, A&) { p.scale_format = &kE8m0; }).find("listed"), std::string::npos);
  EXPECT_NE(message(good, [](P& p, A&) { p.listed = true, p.scale_format = &kE5m2; }).find("e8m0 or e4m3"),
            std::string::npos);
  EXPECT_NE(message(good, [](P& p, A&) { p.listed = true, p.group = 16; }).find("multiple of 32"), std::string::npos);
  const int8_t wide[16] = {16};
  const float ones[16] = {};
  EXPECT_NE(message(good, [&](P& p, A& a) { p.listed = true, a.w.values = wide, a.w.row_scales = ones; }).find("-16"),
            std::string::npos);
  EXPECT_NE(message(good, [](P&, A& a) { a.x.sums = nullptr; }).find("x.sums"), std::string::npos);
  EXPECT_NE(message(good, [](P&, A& a) { a.x.code_stride = 96; }).find("code_stride is 96"), std::string::npos);
  EXPECT_EQ(message(good, [](P&, A&) {}), "no error");
}

}  // namespace
}  // namespace halftone::kernels
