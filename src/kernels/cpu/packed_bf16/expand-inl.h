// Quantised weights as bf16 tiles in the order that tdpbf16ps wants of its right operand: line p of a tile holds
// elements 2p and 2p + 1 of 16 weight rows. Included by packed_bf16_amx.cpp, after its instruction set's namespace is
// named.
#pragma once

#include "kernels/cpu/packed_bf16/packed_bf16_task.h"
#include "kernels/cpu/packed_gemm/dot-inl.h"

namespace halftone::kernels::HALFTONE_ISA_NAMESPACE {

/// Words a0 b0 a1 b1 ... of a and b as bf16: a line of a right operand.
[[gnu::always_inline]] static inline I pair_line(F a, F b, I order) {
  return _mm512_permutexvar_epi16(order, (I)_mm512_cvtne2ps_pbh(b, a));
}

static inline I pair_order() {
  alignas(64) static constexpr uint16_t kOrder[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                      8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return _mm512_load_si512(kOrder);
}

/// A weight is code * scale + offset.
struct GroupValues {
  F scale, offset;
};

static inline GroupValues values_of(const PackedTask& t, int64_t tile, int64_t u) {
  const int64_t g = t.group_units == 1 ? u : u / t.group_units, at = (tile * t.groups + g) * 16;
  const auto halves = [&](const uint16_t* values, const uint8_t* factors) {
    if (!t.super) return load_half(values + at);
    const F half = load_half(values + (tile * t.super_groups + g / t.groups_per_super) * 16);
    return mul(half, to_float(load_signed_bytes(factors + at, 16)));
  };
  F scale = t.grouped ? halves(t.scales, t.group_scales) : load(t.row_scales + tile * 16);
  if (t.two_level) scale = mul(scale, to_float(load_bytes(t.group_scales + at)));
  const F zero = t.zeros != nullptr ? to_float(load_bytes(t.zeros + at)) : set(static_cast<float>(t.zero));
  return {scale, fnma(zero, scale, t.mins != nullptr ? halves(t.mins, t.group_mins) : set(0.0f))};
}

/// Codes of kBits become floats without a conversion: their bits under the exponent of 2^kBits read as 2^kBits + code.
/// With `kShortScales`, f16 or that times an int8, the offset takes 2^kBits back without an error (beside a minimum
/// with one below 2^-15 of a step); f32 scales have too many digits for that, and it is subtracted before.
template <int kBits, bool kShortScales>
struct CodeFloats {
  F scale, offset;

  explicit CodeFloats(const GroupValues& v)
      : scale(v.scale), offset(kShortScales ? fnma(set(1 << kBits), v.scale, v.offset) : v.offset) {}

  /// Values of the codes that begin at bit `from` of each word.
  [[gnu::always_inline]] F at(int from, I words) const {
    constexpr int kTo = 23 - kBits;  // a float's highest bits below the exponent
    const I mask = set_int(((1 << kBits) - 1) << kTo), exponent = set_int((127 + kBits) << 23);
    const I placed = from < kTo ? shift_left(words, kTo - from) : shift_right(words, from - kTo);
    const F code = as_float(_mm512_ternarylogic_epi32(placed, mask, exponent, 0xEA));
    return fma(kShortScales ? code : sub(code, set(1 << kBits)), scale, offset);
  }
};

template <bool kShortScales>
[[gnu::always_inline]] static inline void expand_int4(const uint8_t* unit, const GroupValues& v, I order,
                                                      uint8_t* out) {
  const CodeFloats<4, kShortScales> codes(v);
  unrolled<4>([&](int i) HALFTONE_INLINE {
    const I line = _mm512_loadu_si512(unit + 64 * i);
    _mm512_store_si512(out + 128 * i, pair_line(codes.at(0, line), codes.at(8, line), order));
    _mm512_store_si512(out + 128 * i + 64, pair_line(codes.at(16, line), codes.at(24, line), order));
    _mm512_store_si512(out + 512 + 128 * i, pair_line(codes.at(4, line), codes.at(12, line), order));
    _mm512_store_si512(out + 512 + 128 * i + 64, pair_line(codes.at(20, line), codes.at(28, line), order));
  });
}

template <bool kShortScales>
[[gnu::always_inline]] static inline void expand_bytes(const UnitCodes& w, const GroupValues& v, I order,
                                                       uint8_t* out) {
  const CodeFloats<8, kShortScales> codes(v);
  unrolled<kUnitQuads>([&](int i) HALFTONE_INLINE {
    _mm512_store_si512(out + 128 * i, pair_line(codes.at(0, w.q[i]), codes.at(8, w.q[i]), order));
    _mm512_store_si512(out + 128 * i + 64, pair_line(codes.at(16, w.q[i]), codes.at(24, w.q[i]), order));
  });
}

/// Unit u of a weight tile as bf16, 1024 bytes.
using ExpandUnit = void (*)(const PackedTask& t, int64_t tile, int64_t u, uint8_t* out);

template <ElementType kType, bool kShortScales>
static void expand_unit(const PackedTask& t, int64_t tile, int64_t u, uint8_t* out) {
  const I order = pair_order();
  const GroupValues v = values_of(t, tile, u);
  const uint8_t* codes = t.codes + tile * t.tile_bytes;
  // Matrix instructions take their time in between: a few units ahead are enough.
  if constexpr (kType != ElementType::Ternary) ask_lines<kType>(codes + (u + 4) * kUnitBytes<kType>);
  if constexpr (kType == ElementType::Int4)
    expand_int4<kShortScales>(codes + u * kUnitBytes<kType>, v, order, out);
  else
    expand_bytes<kShortScales>(unpack_unit<kType>(codes, u), v, order, out);
}

template <ElementType kType>
static ExpandUnit expand_unit_for(const PackedTask& t) {
  return t.grouped && !t.two_level ? expand_unit<kType, true> : expand_unit<kType, false>;
}

static ExpandUnit expand_unit_of(const PackedTask& t) {
  switch (t.weight) {
    case ElementType::Int8:
      return expand_unit_for<ElementType::Int8>(t);
    case ElementType::Int4:
      return expand_unit_for<ElementType::Int4>(t);
    case ElementType::Int3:
      return expand_unit_for<ElementType::Int3>(t);
    case ElementType::Ternary:
      return expand_unit_for<ElementType::Ternary>(t);
    default:
      return expand_unit_for<ElementType::Int2>(t);
  }
}

}  // namespace halftone::kernels::HALFTONE_ISA_NAMESPACE
