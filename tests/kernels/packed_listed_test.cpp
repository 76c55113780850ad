// Listed codes of packed_gemm_table() where the result is known exactly: values and activations at their limits, E2M1
// and every scale of one byte. packed_gemm_test.cpp has them among its random problems.
#include <cmath>
#include <vector>

#include "kernel_test.h"
#include "kernels/api/packed_gemm.h"
#include "numerics/formats/element_codec.h"

namespace halftone::kernels {
namespace {

/// Operands that hold one number everywhere until a test changes some: scales 1, activations, values and codes 0.
struct Plain {
  PackedGemmProblem p;
  int64_t stride, units, groups;
  std::vector<uint8_t> storage, group_scales;
  uint8_t* codes;
  std::vector<int8_t> x, values;
  std::vector<int32_t> sums;
  std::vector<uint16_t> half_scales;
  std::vector<float> x_scales, row_scales, y;

  Plain(int64_t m, int64_t n, int64_t k, int64_t group, const ElementFormat* scale_format, ActivationScales activations)
      : p{.m = m,
          .n = n,
          .k = k,
          .scales = group > 0 ? ScaleLayout::Group : ScaleLayout::Row,
          .group = group,
          .listed = true,
          .scale_format = scale_format,
          .activations = activations},
        stride((k + 63) / 64 * 64),
        units(units_of(k)),
        groups(group > 0 ? (k + group - 1) / group : 1),
        storage(static_cast<size_t>(interleaved_bytes(ElementType::Int4, n, k)) + 64),
        group_scales(static_cast<size_t>(tiles_of(n) * groups * kTileRows), scale_format == &kE4m3 ? 0x38 : 127),
        codes(storage.data() + (64 - reinterpret_cast<uintptr_t>(storage.data()) % 64) % 64),
        x(static_cast<size_t>(m * stride)),
        values(16),
        sums(static_cast<size_t>(m * units)),
        half_scales(group_scales.size(), 0x3c00),
        x_scales(static_cast<size_t>(m * units), 1.0f),
        row_scales(static_cast<size_t>(tiles_of(n) * kTileRows), 1.0f) {}

  void set_x(int64_t m, int64_t k, int value) {
    int8_t& to = x[static_cast<size_t>(m * stride + k)];
    sums[static_cast<size_t>(m * units + k / kUnitLength)] += value - to;
    to = static_cast<int8_t>(value);
  }

  /// Runs every entry; `wanted(m, n)` is the output in every bit, or NaN where any will do.
  template <class Wanted>
  void expect(const Wanted& wanted) {
    for_each_entry(packed_gemm_table(), p, [&](ExecContext& context, const auto& entry) {
      y.assign(static_cast<size_t>(p.m * p.n), kPoison);
      entry.run(context, p,
                {.x = {x.data(), stride, x_scales.data(), sums.data()},
                 .w = {.codes = codes,
                       .scales = half_scales.data(),
                       .row_scales = row_scales.data(),
                       .group_scales = group_scales.data(),
                       .values = values.data()},
                 .y = y.data(),
                 .y_stride = p.n});
      for (int64_t m = 0; m < p.m; ++m)
        for (int64_t n = 0; n < p.n; ++n) {
          const float want = wanted(m, n);
          if (std::isnan(want)) continue;
          ASSERT_EQ(y[static_cast<size_t>(m * p.n + n)], want) << "m " << m << " n " << n;
        }
    });
  }
};

// Sums of products in 16 bits must not saturate.
TEST(PackedListedTest, LargestValuesAreExact) {
  for (const auto activations : {ActivationScales::Row, ActivationScales::Unit})
    for (const auto& [group, format] : {std::pair<int64_t, const ElementFormat*>{0, nullptr},
                                        {32, nullptr},
                                        {32, &kE8m0},
                                        {32, &kE4m3},
                                        {16, &kE4m3}}) {
      Plain c(13, 32, 64, group, format, activations);
      c.values.front() = kLeastListed, c.values.back() = kMostListed;
      for (const int code : {0, 15})
        for (const int x : {-127, 127}) {
          std::fill_n(c.codes, interleaved_bytes(ElementType::Int4, c.p.n, c.p.k), static_cast<uint8_t>(17 * code));
          for (int64_t i = 0; i < c.p.m * c.p.k; ++i) c.set_x(i / c.p.k, i % c.p.k, x);
          c.expect([&](int64_t, int64_t) { return static_cast<float>(c.values[code] * x * 64); });
        }
    }
}

// Row n has the code n % 16 at one place; the row scale halves its doubled value.
TEST(PackedListedTest, E2m1IsItsValues) {
  Plain c(19, 32, 96, 32, &kE8m0, ActivationScales::Unit);
  std::fill(c.row_scales.begin(), c.row_scales.end(), 0.5f);
  for (uint32_t code = 0; code < 16; ++code) c.values[code] = static_cast<int8_t>(2 * decode(kE2m1, code));
  std::vector<uint8_t> rows(static_cast<size_t>(c.p.n * row_bytes(ElementType::Int4, c.p.k)));
  for (int64_t n = 0; n < c.p.n; ++n)  // element 7: the low nibble of byte 7
    rows[static_cast<size_t>(n * row_bytes(ElementType::Int4, c.p.k) + 7)] = static_cast<uint8_t>(n % 16);
  interleave(ElementType::Int4, c.p.n, c.p.k, rows.data(), c.codes);
  for (int64_t m = 0; m < c.p.m; ++m)
    for (int64_t k = 0; k < c.p.k; ++k) c.set_x(m, k, static_cast<int>(m * 7 - 100 + k));
  c.expect([](int64_t m, int64_t n) {
    return decode(kE2m1, static_cast<uint32_t>(n % 16)) * static_cast<float>(m * 7 - 100 + 7);
  });
}

// A row for each byte that is a scale; one element of 1, so that an output is the scale itself, subnormal ones
// included.
TEST(PackedListedTest, EveryScaleOfOneByteIsExact) {
  for (const auto& [group, format] :
       {std::pair<int64_t, const ElementFormat*>{32, &kE8m0}, {32, &kE4m3}, {16, &kE4m3}}) {
    Plain c(12, 255, 64, group, format, ActivationScales::Unit);
    c.values.assign(16, 1);
    for (int64_t m = 0; m < c.p.m; ++m) c.set_x(m, m * 31 % c.p.k, 1);
    for (int64_t n = 0; n < c.p.n; ++n)
      for (int64_t g = 0; g < c.groups; ++g)
        c.group_scales[static_cast<size_t>((n / 16 * c.groups + g) * 16 + n % 16)] = static_cast<uint8_t>(n);
    c.expect([f = format](int64_t, int64_t n) { return decode(*f, static_cast<uint32_t>(n)); });
  }
}

}  // namespace
}  // namespace halftone::kernels
