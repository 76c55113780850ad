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

/// A unit of four-bit codes. A code's bits under the exponent of 16 read as the float 16 + code.
[[gnu::always_inline]] static inline void expand_int4(const uint8_t* unit, const GroupValues& v, I order,
                                                      uint8_t* out) {
  const I mask = set_int(0x780000), sixteen = set_int(0x41800000);
  const F offset = fnma(set(16.0f), v.scale, v.offset);
  unrolled<4>([&](int i) HALFTONE_INLINE {
    const I line = _mm512_loadu_si512(unit + 64 * i);
    const auto value = [&](int nibble) HALFTONE_INLINE {
      const I placed = nibble < 5 ? shift_left(line, 19 - 4 * nibble) : shift_right(line, 4 * nibble - 19);
      return fma(as_float(_mm512_ternarylogic_epi32(placed, mask, sixteen, 0xEA)), v.scale, offset);
    };
    _mm512_store_si512(out + 128 * i, pair_line(value(0), value(2), order));
    _mm512_store_si512(out + 128 * i + 64, pair_line(value(4), value(6), order));
    _mm512_store_si512(out + 512 + 128 * i, pair_line(value(1), value(3), order));
    _mm512_store_si512(out + 512 + 128 * i + 64, pair_line(value(5), value(7), order));
  });
}

/// Unit u of a weight tile as bf16, 1024 bytes.
using ExpandUnit = void (*)(const PackedTask& t, int64_t tile, int64_t u, uint8_t* out);

template <ElementType kType>
static void expand_unit(const PackedTask& t, int64_t tile, int64_t u, uint8_t* out) {
  const I order = pair_order();
  const GroupValues v = values_of(t, tile, u);
  const uint8_t* codes = t.codes + tile * t.tile_bytes;
  if constexpr (kType == ElementType::Int4) {
    expand_int4(codes + u * kUnitBytes<kType>, v, order, out);
    return;
  }
  const UnitCodes w = unpack_unit<kType>(codes, u);
  unrolled<kUnitQuads>([&](int i) HALFTONE_INLINE {
    const auto value = [&](int byte) HALFTONE_INLINE {
      return fma(to_float(bit_and(shift_right(w.q[i], 8 * byte), set_int(255))), v.scale, v.offset);
    };
    _mm512_store_si512(out + 128 * i, pair_line(value(0), value(1), order));
    _mm512_store_si512(out + 128 * i + 64, pair_line(value(2), value(3), order));
  });
}

static ExpandUnit expand_unit_of(ElementType type) {
  switch (type) {
    case ElementType::Int8:
      return expand_unit<ElementType::Int8>;
    case ElementType::Int4:
      return expand_unit<ElementType::Int4>;
    case ElementType::Int3:
      return expand_unit<ElementType::Int3>;
    case ElementType::Ternary:
      return expand_unit<ElementType::Ternary>;
    default:
      return expand_unit<ElementType::Int2>;
  }
}

}  // namespace halftone::kernels::HALFTONE_ISA_NAMESPACE
