// Stored weights to floats, kLanes at a time: what the GEMM multiplies and what it writes into its panels.
//
// A decoder is made for one row and group. Its `get<kUnit>(row, k, i, left)` gives the elements k + kLanes * i onwards
// of a unit that starts at k, `left` of them inside the row and zeros past them; kUnit, 64 or less, is a multiple that
// k is known to have. Integer codes become (code - zero) * factor, exactly, then one rounding by the scale, so that
// every instruction set has the same values.
#pragma once

#include "kernels/cpu/gemm/gemm_task.h"
#include "kernels/cpu/simd-inl.h"

namespace halftone::kernels::HALFTONE_ISA_NAMESPACE {

template <ElementType kType>
inline constexpr bool kInteger = kType == ElementType::Int8 || kType == ElementType::Int4 || kType == ElementType::Int2;

template <ElementType kType>
struct Decoder;

template <>
struct Decoder<ElementType::Float32> {
  template <int kUnit>
  F get(const uint8_t* row, int64_t k, int i, int64_t left) const {
    return load((const float*)row + k + kLanes * i, left);
  }
};

template <>
struct Decoder<ElementType::Float16> {
  template <int kUnit>
  F get(const uint8_t* row, int64_t k, int i, int64_t left) const {
    const uint16_t* p = (const uint16_t*)row + k + kLanes * i;
    return left >= kLanes ? load_half(p) : half_words(load_shorts(p, left));
  }
};

template <>
struct Decoder<ElementType::BFloat16> {
  template <int kUnit>
  F get(const uint8_t* row, int64_t k, int i, int64_t left) const {
    return as_float(shift_left(load_shorts((const uint16_t*)row + k + kLanes * i, left), 16));
  }
};

/// Bytes as floats, without a conversion.
struct Bytes {
  float values[256];
  constexpr Bytes() : values{} {
    for (int i = 0; i < 256; ++i) values[i] = static_cast<float>(i);
  }
};
static constexpr Bytes kBytes;

static inline float scale_of(const GemmTask& t, int64_t n, int64_t g) {
  return t.grouped ? t.scales[n * t.groups + g] : t.scales[n];
}
static inline float zero_of(const GemmTask& t, int64_t n, int64_t g) {
  return kBytes.values[t.zeros != nullptr ? t.zeros[n * t.groups + g] : t.default_zero];
}
static inline float factor_of(const GemmTask& t, int64_t n, int64_t g) {
  return t.two_level ? kBytes.values[t.group_scales[n * t.groups + g]] : 1.0f;
}
static inline F keep(F values, int64_t left) {
  return left >= kLanes ? values : select(first_lanes(left), values, zero());
}

template <>
struct Decoder<ElementType::Int8> {
  Decoder() = default;
  Decoder(const GemmTask& t, int64_t n, int64_t g)  // zero points count from code -128
      : zero_code(set(zero_of(t, n, g) - 128)), scale(set(scale_of(t, n, g))) {}
  template <int kUnit>
  F get(const uint8_t* row, int64_t k, int i, int64_t left) const {
    return keep(mul(sub(to_float(load_signed_bytes(row + k + kLanes * i, left)), zero_code), scale), left);
  }
  F zero_code, scale;
};

/// Four- and two-bit codes. Where the values of all codes fit one register they are looked up in it: the look-up reads
/// only the low bits of its index, so codes need a shift but no mask, and two-bit tables repeat every 4 entries.
template <int kBits>
struct SubByteDecoder {
  static constexpr int kMask = (1 << kBits) - 1;
  static constexpr bool kTable = kMask < kLanes;
  static constexpr int kVectors = 8 * kBits / kLanes;  // of bytes in a chunk of 64 elements

  SubByteDecoder() = default;
  SubByteDecoder(const GemmTask& t, int64_t n, int64_t g) {
    const F zero_code = set(zero_of(t, n, g));
    scale = set(scale_of(t, n, g));
    if constexpr (kTable) {
      constexpr int k = kMask;
      alignas(64) static constexpr float kCodes[16] = {0,     1 & k, 2 & k,  3 & k,  4 & k,  5 & k,  6 & k,  7 & k,
                                                       8 & k, 9 & k, 10 & k, 11 & k, 12 & k, 13 & k, 14 & k, 15 & k};
      table = sub(load(kCodes), zero_code);
      if (t.two_level) table = mul(table, set(factor_of(t, n, g)));
      table = mul(table, scale);
    } else {
      factor = set(factor_of(t, n, g));
      offset = mul(sub(zero(), zero_code), factor);
    }
  }
  template <int kUnit>
  F get(const uint8_t* row, int64_t k, int i, int64_t left) const {
    const int part = kUnit == 64 ? i : static_cast<int>(k / kLanes + i) & (64 / kLanes - 1);
    const uint8_t* chunk = row + (kUnit == 64 ? k * kBits / 8 : k / 64 * (8 * kBits));
    const I bytes = load_bytes(chunk + part % kVectors * kLanes);
    const I codes = shift_right(bytes, part / kVectors * kBits);
    if constexpr (kTable) return keep(look_up(table, codes), left);
    return keep(mul(fma(to_float(bit_and(codes, set_int(kMask))), factor, offset), scale), left);
  }
  F table, factor, offset, scale;
};

template <>
struct Decoder<ElementType::Int4> : SubByteDecoder<4> {
  using SubByteDecoder::SubByteDecoder;
};
template <>
struct Decoder<ElementType::Int2> : SubByteDecoder<2> {
  using SubByteDecoder::SubByteDecoder;
};

}  // namespace halftone::kernels::HALFTONE_ISA_NAMESPACE
