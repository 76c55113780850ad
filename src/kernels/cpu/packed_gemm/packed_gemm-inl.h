// The packed GEMM for AVX2 and AVX-512: kLanes weight rows and a few tokens at a time, lanes are rows.
//
// A fold is where integer sums become floats: every 32 elements when activations have unit scales, else every group.
// Scales are multiplied first and the product added by one fused multiply-add, in the order of K; amx/packed_gemm does
// the same arithmetic, so that all entries agree bit for bit.
#pragma once

#include "kernels/cpu/packed_gemm/dot-inl.h"
#include "kernels/cpu/packed_gemm/packed_task.h"

namespace halftone::kernels::HALFTONE_ISA_NAMESPACE {

enum class WeightScales { Row, Group, TwoLevel };

/// The constants of kLanes rows in one group.
struct GroupConstants {
  F scale;
  I zero, factor;
};

template <ElementType kType, WeightScales kScales, bool kZeros>
[[gnu::always_inline]] static inline GroupConstants constants(const PackedTask& t, int64_t tile, int lane, int64_t g) {
  const int64_t at = (tile * t.groups + g) * 16 + lane;
  GroupConstants c;
  if constexpr (kScales == WeightScales::Group) c.scale = load_half(t.scales + at);
  if constexpr (kZeros) c.zero = sub_int(load_bytes(t.zeros + at), set_int(kTakenOff<kType>));
  if constexpr (kScales == WeightScales::TwoLevel) c.factor = load_bytes(t.group_scales + at);
  return c;
}

static inline int32_t sum_of_units(const int32_t* sums, int64_t begin, int64_t end) {
  int32_t sum = 0;
  for (int64_t u = begin; u < end; ++u) sum += sums[u];
  return sum;
}

/// Outputs of kLanes rows of a tile, from `lane` on, for tokens [m, m + kRows).
template <ElementType kType, WeightScales kScales, bool kZeros, bool kUnitScales, int kRows>
static void lane_block(const PackedTask& t, int64_t m, int64_t tile, int lane) {
  constexpr bool kTwoLevel = kScales == WeightScales::TwoLevel;
  constexpr bool kWhole = !kUnitScales && kScales != WeightScales::Group;  // one exact sum along all of K
  const uint8_t* codes = t.codes + tile * t.units * t.unit_bytes + 4 * lane;
  const int8_t* x = t.x + m * t.x_stride;
  const int32_t* sums = t.x_sums + m * t.units;
  F real[kRows];
  I whole[kRows];
  unrolled<kRows>([&](int r) HALFTONE_INLINE { real[r] = zero(), whole[r] = set_int(0); });
  for (int64_t g = 0; g < t.groups; ++g) {
    const int64_t begin = g * t.group_units;
    const int64_t end = begin + t.group_units < t.units ? begin + t.group_units : t.units;
    const GroupConstants c = constants<kType, kScales, kZeros>(t, tile, lane, g);
    const auto centred = [&](I dot, int32_t sum) HALFTONE_INLINE {
      const I offset = kZeros ? multiply_low(c.zero, set_int(sum)) : set_int((t.zero - kTakenOff<kType>)*sum);
      const I value = sub_int(dot, offset);
      return kTwoLevel ? multiply_low(value, c.factor) : value;
    };
    I dots[kRows];
    unrolled<kRows>([&](int r) HALFTONE_INLINE { dots[r] = set_int(0); });
    for (int64_t u = begin; u < end; ++u) {
      const UnitCodes w = unpack<kType>(codes + u * t.unit_bytes);
      unrolled<kRows>([&](int r) HALFTONE_INLINE {
        const int8_t* at = x + r * t.x_stride + u * 32;
        if constexpr (kUnitScales) {
          const I value = centred(unit_dot<kType>(set_int(0), w, at), sums[r * t.units + u]);
          const F scale = set(t.x_scales[(m + r) * t.units + u]);
          real[r] = fma(to_float(value), kScales == WeightScales::Group ? mul(c.scale, scale) : scale, real[r]);
        } else {
          dots[r] = unit_dot<kType>(dots[r], w, at);
        }
      });
    }
    if constexpr (!kUnitScales) {
      unrolled<kRows>([&](int r) HALFTONE_INLINE {
        const I value = centred(dots[r], sum_of_units(sums + r * t.units, begin, end));
        if constexpr (kWhole)
          whole[r] = add_int(whole[r], value);
        else
          real[r] = fma(to_float(value), c.scale, real[r]);
      });
    }
  }
  const int64_t n = tile * 16 + lane;
  for (int r = 0; r < kRows; ++r) {
    F y = kWhole ? to_float(whole[r]) : real[r];
    F scale = kUnitScales ? set(1.0f) : set(t.x_scales[m + r]);
    if constexpr (kScales != WeightScales::Group) scale = mul(load(t.row_scales + n), scale);
    y = mul(y, scale);
    const int64_t left = t.n - n;
    if (left <= 0) return;
    if (t.bias != nullptr) y = add(y, load(t.bias + n, left));
    store(t.y + (m + r) * t.y_stride + n, y, left);
  }
}

template <ElementType kType, WeightScales kScales, bool kZeros, bool kUnitScales>
static void packed_range(const PackedTask& t, int64_t m0, int64_t m1, int64_t tile0, int64_t tile1) {
  constexpr int kMany = kRegisters == 32 ? 8 : 4;
  for (int64_t tile = tile0; tile < tile1; ++tile)
    for (int lane = 0; lane < 16; lane += kLanes) {
      int64_t m = m0;
      for (; m + kMany <= m1; m += kMany) lane_block<kType, kScales, kZeros, kUnitScales, kMany>(t, m, tile, lane);
      for (; m + 2 <= m1; m += 2) lane_block<kType, kScales, kZeros, kUnitScales, 2>(t, m, tile, lane);
      for (; m < m1; ++m) lane_block<kType, kScales, kZeros, kUnitScales, 1>(t, m, tile, lane);
    }
}

using Range = void (*)(const PackedTask& t, int64_t m0, int64_t m1, int64_t tile0, int64_t tile1);

template <ElementType kType, WeightScales kScales>
static Range range_of(const PackedTask& t) {
  if (t.zeros != nullptr)
    return t.unit_scales ? packed_range<kType, kScales, true, true> : packed_range<kType, kScales, true, false>;
  return t.unit_scales ? packed_range<kType, kScales, false, true> : packed_range<kType, kScales, false, false>;
}

template <ElementType kType>
static Range range_of(const PackedTask& t) {
  if constexpr (kType == ElementType::Int4) {
    if (t.two_level) return range_of<kType, WeightScales::TwoLevel>(t);
  }
  return t.grouped ? range_of<kType, WeightScales::Group>(t) : range_of<kType, WeightScales::Row>(t);
}

void packed_gemm(const PackedTask& t, int64_t m0, int64_t m1, int64_t tile0, int64_t tile1, void*) {
  const Range range = t.weight == ElementType::Int8   ? range_of<ElementType::Int8>(t)
                      : t.weight == ElementType::Int4 ? range_of<ElementType::Int4>(t)
                                                      : range_of<ElementType::Int2>(t);
  range(t, m0, m1, tile0, tile1);
}

}  // namespace halftone::kernels::HALFTONE_ISA_NAMESPACE
