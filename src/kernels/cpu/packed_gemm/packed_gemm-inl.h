// The packed GEMM for AVX2 and AVX-512: kLanes weight rows and a few tokens at a time, lanes are rows.
//
// A fold is where integer sums become floats: every 32 elements when activations have unit scales, else every group;
// every 16 where groups are half a unit. Its arithmetic is the one that kernels/api/packed_gemm.h promises, and
// packed_gemm_amx.cpp does the same, so that all entries agree bit for bit.
#pragma once

#include "kernels/cpu/packed_gemm/dot-inl.h"
#include "kernels/cpu/packed_gemm/packed_task.h"

namespace halftone::kernels::HALFTONE_ISA_NAMESPACE {

/// Powers: a byte of E8M0 a group; Floats, FloatHalves: a byte of E4M3. Halves are groups of half a unit.
enum class WeightScales { Row, Group, TwoLevel, SuperGroup, SuperHalves, Powers, Floats, FloatHalves };
enum class WeightOffsets { None, Zeros, Minimums };

/// What a kernel is made for.
template <ElementType kElement, WeightScales kScale, WeightOffsets kOffset, bool kUnitScale, bool kList = false>
struct Kind {
  static constexpr ElementType kType = kElement;
  static constexpr bool kListed = kList;
  static constexpr bool kTwoLevel = kScale == WeightScales::TwoLevel;
  static constexpr bool kHalves = kScale == WeightScales::SuperHalves || kScale == WeightScales::FloatHalves;
  static constexpr bool kSuper = kScale == WeightScales::SuperHalves || kScale == WeightScales::SuperGroup;
  static constexpr bool kPowers = kScale == WeightScales::Powers;
  static constexpr bool kBytes = kPowers || kScale == WeightScales::Floats || kScale == WeightScales::FloatHalves;
  static constexpr bool kGrouped = kSuper || kBytes || kScale == WeightScales::Group;
  static constexpr bool kRowScales = !kGrouped || kListed;
  static constexpr bool kZeros = kOffset == WeightOffsets::Zeros;
  static constexpr bool kMinimums = kOffset == WeightOffsets::Minimums;
  static constexpr bool kUnitScales = kUnitScale;
  static constexpr bool kFoldUnits = kUnitScales || kHalves;
  static constexpr bool kWhole = !kUnitScales && !kGrouped;  ///< one exact sum along all of K
  /// Whether codes, less what unpack() took off, count from 0.
  static constexpr bool kFromZero =
      (kMinimums && kType != ElementType::Int8) || (!kZeros && kType == ElementType::Int8 && kTakenOff<kType> == 128);
  static constexpr int kParts = kHalves ? 2 : 1;  ///< of a unit, each with constants of its own
};

/// The constants of kLanes rows in one group.
struct GroupConstants {
  F scale, minimum;
  I zero, factor;
};

/// kLanes f16 numbers of group g, times i8 factors where the kind has super-groups: exact.
template <class K>
[[gnu::always_inline]] static inline F group_floats(const PackedTask& t, const uint16_t* halves, const uint8_t* factors,
                                                    int64_t tile, int lane, int64_t g) {
  const int64_t at = (tile * t.groups + g) * 16 + lane;
  if constexpr (K::kSuper) {
    const F half = load_half(halves + (tile * t.super_groups + g / t.groups_per_super) * 16 + lane);
    return mul(half, to_float(load_signed_bytes(factors + at, kLanes)));
  } else {
    return load_half(halves + at);
  }
}

template <class K>
[[gnu::always_inline]] static inline GroupConstants constants(const PackedTask& t, int64_t tile, int lane, int64_t g) {
  const int64_t at = (tile * t.groups + g) * 16 + lane;
  GroupConstants c;
  if constexpr (K::kBytes)
    c.scale = byte_scales<K::kPowers>(t.group_scales + at);
  else if constexpr (K::kGrouped)
    c.scale = group_floats<K>(t, t.scales, t.group_scales, tile, lane, g);
  if constexpr (K::kMinimums) c.minimum = group_floats<K>(t, t.mins, t.group_mins, tile, lane, g);
  if constexpr (K::kZeros) c.zero = sub_int(load_bytes(t.zeros + at), set_int(kTakenOff<K::kType>));
  if constexpr (K::kTwoLevel) c.factor = load_bytes(t.group_scales + at);
  return c;
}

static inline int32_t sum_of_units(const int32_t* sums, int64_t begin, int64_t end) {
  int32_t sum = 0;
  for (int64_t u = begin; u < end; ++u) sum += sums[u];
  return sum;
}

/// dot - zero * sum, times the group's factor: exact.
template <class K>
[[gnu::always_inline]] static inline I centred(const PackedTask& t, const GroupConstants& c, I dot, int32_t sum) {
  I value = dot;
  if constexpr (K::kZeros)
    value = sub_int(dot, multiply_low(c.zero, set_int(sum)));
  else if constexpr (!K::kFromZero)
    value = sub_int(dot, set_int((t.zero - kTakenOff<K::kType>)*sum));
  return K::kTwoLevel ? multiply_low(value, c.factor) : value;
}

/// Adds a fold to `real`; `input` is the activations' scale of a unit.
template <class K>
[[gnu::always_inline]] static inline F folded(const PackedTask& t, const GroupConstants& c, I dot, int32_t sum,
                                              float input, F real) {
  const F value = to_float(centred<K>(t, c, dot, sum));
  if constexpr (K::kMinimums) {
    const F inputs = to_float(set_int(sum));
    if constexpr (K::kUnitScales) return fma(fma(value, c.scale, mul(c.minimum, inputs)), set(input), real);
    real = fma(c.minimum, inputs, real);
  }
  if constexpr (!K::kUnitScales) return fma(value, c.scale, real);
  return fma(K::kGrouped ? mul(value, c.scale) : value, set(input), real);
}

/// y = value * scales + bias for kLanes rows of a tile, tokens [m, m + kRows).
template <class K, int kRows>
static inline void write(const PackedTask& t, int64_t m, int64_t n, const F* values) {
  const int64_t left = t.n - n;
  if (left <= 0) return;
  for (int r = 0; r < kRows; ++r) {
    F scale = K::kUnitScales ? set(1.0f) : set(t.x_scales[m + r]);
    if constexpr (K::kRowScales) scale = mul(load(t.row_scales + n), scale);
    F y = mul(values[r], scale);
    if (t.bias != nullptr) y = add(y, load(t.bias + n, left));
    float* to = t.y + (m + r) * t.y_stride + n;
    store(to, t.accumulate ? add(load(to, left), y) : y, left);
  }
}

/// Outputs of kLanes rows of a tile, from `lane` on, for tokens [m, m + kRows); `ask`: codes are read for the first
/// time.
template <class K, int kRows>
static void lane_block(const PackedTask& t, int64_t m, int64_t tile, int lane, bool ask) {
  constexpr int kQuads = kUnitQuads / K::kParts;
  const uint8_t* codes = t.codes + tile * t.tile_bytes + 4 * lane;
  const int8_t* x = t.x + m * t.x_stride;
  const int32_t* sums = t.x_sums + m * t.units;
  const float* inputs = t.x_scales + m * t.units;  // with unit scales
  F real[kRows];
  I whole[kRows];
  unrolled<kRows>([&](int r) HALFTONE_INLINE { real[r] = zero(), whole[r] = set_int(0); });
  const int64_t steps = K::kHalves ? t.units : t.groups;
  const I values = K::kListed ? listed_values(t.values) : set_int(0);
  for (int64_t g = 0; g < steps; ++g) {
    const int64_t begin = g * t.group_units;
    const int64_t end = begin + t.group_units < t.units ? begin + t.group_units : t.units;
    GroupConstants c[K::kParts];
    unrolled<K::kParts>([&](int p) HALFTONE_INLINE {  // the last half may not exist: its codes and inputs are 0
      const int64_t part = K::kParts * g + p;
      c[p] = constants<K>(t, tile, lane, part < t.groups ? part : t.groups - 1);
    });
    I dots[kRows];
    unrolled<kRows>([&](int r) HALFTONE_INLINE { dots[r] = set_int(0); });
    for (int64_t u = begin; u < end; ++u) {
      if constexpr (K::kType != ElementType::Ternary)
        if (ask) ask_unit<K::kType>(codes + u * kUnitBytes<K::kType>);
      UnitCodes w = unpack_unit<K::kType>(codes, u);
      if constexpr (K::kListed) look_up_values(w, values);
      unrolled<kRows>([&](int r) HALFTONE_INLINE {
        const int8_t* at = x + r * t.x_stride + u * 32;
        if constexpr (K::kFoldUnits) {
          const float input = K::kUnitScales ? inputs[r * t.units + u] : 0;
          const int32_t sum = sums[r * t.units + u], first = K::kHalves && !K::kFromZero ? half_unit_sum(at) : sum;
          const I dot = unit_dot<K::kType, 0, kQuads, K::kListed>(set_int(0), w, at);
          real[r] = folded<K>(t, c[0], dot, first, input, real[r]);
          if constexpr (K::kHalves) {
            const I second = unit_dot<K::kType, kQuads, kQuads, K::kListed>(set_int(0), w, at);
            real[r] = folded<K>(t, c[1], second, sum - first, input, real[r]);
          }
        } else {
          // With few tokens, a chain of all units' dot products would be waited for.
          if constexpr (kRows <= 2)
            dots[r] = add_int(dots[r], unit_dot<K::kType, K::kListed>(set_int(0), w, at));
          else
            dots[r] = unit_dot<K::kType, K::kListed>(dots[r], w, at);
        }
      });
    }
    if constexpr (!K::kFoldUnits) {
      unrolled<kRows>([&](int r) HALFTONE_INLINE {
        const int32_t sum = sum_of_units(sums + r * t.units, begin, end);
        if constexpr (K::kWhole)
          whole[r] = add_int(whole[r], centred<K>(t, c[0], dots[r], sum));
        else
          real[r] = folded<K>(t, c[0], dots[r], sum, 0, real[r]);
      });
    }
  }
  if constexpr (K::kWhole) unrolled<kRows>([&](int r) HALFTONE_INLINE { real[r] = to_float(whole[r]); });
  write<K, kRows>(t, m, tile * 16 + lane, real);
}

template <class K>
static void packed_range(const PackedTask& t, int64_t m0, int64_t m1, int64_t tile0, int64_t tile1) {
  constexpr int kMany = kRegisters == 32 ? 8 : 4;
  for (int64_t tile = tile0; tile < tile1; ++tile)
    for (int lane = 0; lane < 16; lane += kLanes) {
      int64_t m = m0;
      const auto fresh = [&] { return m == m0 && lane == 0; };
      for (; m + kMany <= m1; m += kMany) lane_block<K, kMany>(t, m, tile, lane, fresh());
      for (; m + 2 <= m1; m += 2) lane_block<K, 2>(t, m, tile, lane, fresh());
      for (; m < m1; ++m) lane_block<K, 1>(t, m, tile, lane, fresh());
    }
}

using Range = void (*)(const PackedTask& t, int64_t m0, int64_t m1, int64_t tile0, int64_t tile1);

template <ElementType kType, WeightScales kScales, WeightOffsets kOffsets>
static Range range_of(const PackedTask& t) {
  return t.unit_scales ? packed_range<Kind<kType, kScales, kOffsets, true>>
                       : packed_range<Kind<kType, kScales, kOffsets, false>>;
}

template <ElementType kType>
static Range range_of(const PackedTask& t) {
  using S = WeightScales;
  using O = WeightOffsets;
  if (t.half_units) return range_of<kType, S::SuperHalves, O::None>(t);
  if (t.super)
    return t.mins != nullptr ? range_of<kType, S::SuperGroup, O::Minimums>(t)
                             : range_of<kType, S::SuperGroup, O::None>(t);
  if (t.grouped)
    return t.mins != nullptr    ? range_of<kType, S::Group, O::Minimums>(t)
           : t.zeros != nullptr ? range_of<kType, S::Group, O::Zeros>(t)
                                : range_of<kType, S::Group, O::None>(t);
  if constexpr (kType != ElementType::Int8) {
    if (t.two_level)
      return t.zeros != nullptr ? range_of<kType, S::TwoLevel, O::Zeros>(t) : range_of<kType, S::TwoLevel, O::None>(t);
  }
  return t.zeros != nullptr ? range_of<kType, S::Row, O::Zeros>(t) : range_of<kType, S::Row, O::None>(t);
}

static Range ternary_range(const PackedTask& t) {
  using S = WeightScales;
  return t.grouped ? range_of<ElementType::Ternary, S::Group, WeightOffsets::None>(t)
                   : range_of<ElementType::Ternary, S::Row, WeightOffsets::None>(t);
}

#if defined(__AVX512VBMI__)

static Range range_of(const PackedTask& t) { return ternary_range(t); }  // the table sends nothing else here

#else

template <WeightScales kScales>
static Range listed_range(const PackedTask& t) {
  return t.unit_scales ? packed_range<Kind<ElementType::Int4, kScales, WeightOffsets::None, true, true>>
                       : packed_range<Kind<ElementType::Int4, kScales, WeightOffsets::None, false, true>>;
}

/// Codes that index values.
static Range listed_range(const PackedTask& t) {
  using S = WeightScales;
  if (t.half_units) return listed_range<S::FloatHalves>(t);
  if (t.byte_scales) return t.power_scales ? listed_range<S::Powers>(t) : listed_range<S::Floats>(t);
  return t.grouped ? listed_range<S::Group>(t) : listed_range<S::Row>(t);
}

static Range range_of(const PackedTask& t) {
  if (t.values != nullptr) return listed_range(t);
  return t.weight == ElementType::Int8   ? range_of<ElementType::Int8>(t)
         : t.weight == ElementType::Int4 ? range_of<ElementType::Int4>(t)
         : t.weight == ElementType::Int3 ? range_of<ElementType::Int3>(t)
         : t.weight == ElementType::Int2 ? range_of<ElementType::Int2>(t)
                                         : ternary_range(t);
}

#endif

void packed_gemm(const PackedTask& t, int64_t m0, int64_t m1, int64_t tile0, int64_t tile1, void*) {
  range_of(t)(t, m0, m1, tile0, tile1);
}

}  // namespace halftone::kernels::HALFTONE_ISA_NAMESPACE
