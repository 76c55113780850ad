// Stored weights to floats, kLanes at a time: what the GEMM multiplies and what it writes into its panels.
//
// A decoder is made for one row and group. Its `get<kUnit>(row, k, i, left)` gives the elements k + kLanes * i onwards
// of a unit that starts at k, `left` of them inside the row and zeros past them; kUnit, 64 or less, is a multiple that
// k is known to have. Integer codes become (code - zero) * factor, exactly, then one rounding by the scale and, fused
// with it, a minimum, so that every instruction set has the same values.
#pragma once

#include "kernels/cpu/gemm/gemm_task.h"
#include "kernels/cpu/simd-inl.h"

namespace halftone::kernels::HALFTONE_ISA_NAMESPACE {

/// Whether codes have scales, and a decoder belongs to a row and group.
template <Coding kCoding>
inline constexpr bool kScaled = kCoding > Coding::BFloat16;

template <Coding kCoding>
struct Decoder;

template <>
struct Decoder<Coding::Float32> {
  template <int kUnit>
  F get(const uint8_t* row, int64_t k, int i, int64_t left) const {
    return load((const float*)row + k + kLanes * i, left);
  }
};

template <>
struct Decoder<Coding::Float16> {
  template <int kUnit>
  F get(const uint8_t* row, int64_t k, int i, int64_t left) const {
    const uint16_t* p = (const uint16_t*)row + k + kLanes * i;
    return left >= kLanes ? load_half(p) : half_words(load_shorts(p, left));
  }
};

template <>
struct Decoder<Coding::BFloat16> {
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
  if (t.scale_codes != nullptr) return t.scales[t.scale_codes[n * t.groups + g]];
  return t.grouped ? t.scales[n * t.groups + g] : t.scales[n];
}
static inline float zero_of(const GemmTask& t, int64_t n, int64_t g) {
  return kBytes.values[t.zeros != nullptr ? t.zeros[n * t.groups + g] : t.default_zero];
}
static inline float factor_of(const GemmTask& t, int64_t n, int64_t g) {
  return t.two_level ? kBytes.values[t.group_scales[n * t.groups + g]] : 1.0f;
}
static inline float min_of(const GemmTask& t, int64_t n, int64_t g) {
  return t.mins != nullptr ? t.mins[n * t.groups + g] : 0.0f;
}
static inline F keep(F values, int64_t left) {
  return left >= kLanes ? values : select(first_lanes(left), values, zero());
}

template <>
struct Decoder<Coding::Int8> {
  Decoder() = default;
  Decoder(const GemmTask& t, int64_t n, int64_t g)  // zero points count from code -128
      : zero_code(set(zero_of(t, n, g) - 128)), scale(set(scale_of(t, n, g))), least(set(min_of(t, n, g))) {}
  template <int kUnit>
  F get(const uint8_t* row, int64_t k, int i, int64_t left) const {
    return keep(fma(sub(to_float(load_signed_bytes(row + k + kLanes * i, left)), zero_code), scale, least), left);
  }
  F zero_code, scale, least;
};

#if defined(__AVX512F__)
/// `value` in the lanes whose bit is set, bit l of the bytes at p for lane l, else 0.
static inline I where_bits(const uint8_t* p, int32_t value) {
  uint16_t mask;
  __builtin_memcpy(&mask, p, sizeof mask);
  return _mm512_maskz_set1_epi32(mask, value);
}
#else
static inline I where_bits(const uint8_t* p, int32_t value) {
  const I bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  return bit_and(_mm256_cmpeq_epi32(bit_and(set_int(*p), bits), bits), set_int(value));
}
#endif

/// Codes of 2, 3 or 4 bits in the low bits of kLanes lanes; above those of 2 and 4 are other codes.
template <int kBits, int kUnit>
static inline I sub_byte_codes(const uint8_t* row, int64_t k, int i) {
  constexpr int kPlane = kBits == 3 ? 2 : kBits;  // bits that lie together
  constexpr int kVectors = 8 * kPlane / kLanes;   // of bytes in a chunk of 64 elements
  const int part = kUnit == 64 ? i : static_cast<int>(k / kLanes + i) & (64 / kLanes - 1);
  const uint8_t* chunk = row + (kUnit == 64 ? k * kBits / 8 : k / 64 * (8 * kBits));
  const I low = shift_right(load_bytes(chunk + part % kVectors * kLanes), part / kVectors * kPlane);
  if constexpr (kBits != 3) return low;
  return bit_or(bit_and(low, set_int(3)), where_bits(chunk + 16 + part * kLanes / 8, 4));
}

/// Codes of four bits and fewer. Where the values of all codes fit one register they are looked up in it: the look-up
/// reads only the low bits of its index, so codes need a shift but no mask, and two-bit tables repeat every 4 entries.
template <int kBits>
struct SubByteDecoder {
  static constexpr int kMask = (1 << kBits) - 1;
  static constexpr bool kTable = kMask < kLanes;

  SubByteDecoder() = default;
  SubByteDecoder(const GemmTask& t, int64_t n, int64_t g) {
    const F zero_code = set(zero_of(t, n, g));
    scale = set(scale_of(t, n, g));
    least = set(min_of(t, n, g));
    if constexpr (kTable) {
      constexpr int k = kMask;
      alignas(64) static constexpr float kCodes[16] = {0,     1 & k, 2 & k,  3 & k,  4 & k,  5 & k,  6 & k,  7 & k,
                                                       8 & k, 9 & k, 10 & k, 11 & k, 12 & k, 13 & k, 14 & k, 15 & k};
      table = sub(load(kCodes), zero_code);
      if (t.two_level) table = mul(table, set(factor_of(t, n, g)));
      table = fma(table, scale, least);
    } else {
      factor = set(factor_of(t, n, g));
      offset = mul(sub(zero(), zero_code), factor);
    }
  }
  template <int kUnit>
  F get(const uint8_t* row, int64_t k, int i, int64_t left) const {
    const I codes = sub_byte_codes<kBits, kUnit>(row, k, i);
    if constexpr (kTable) return keep(look_up(table, codes), left);
    return keep(fma(fma(to_float(bit_and(codes, set_int(kMask))), factor, offset), scale, least), left);
  }
  F table, factor, offset, scale, least;
};

template <>
struct Decoder<Coding::Int4> : SubByteDecoder<4> {
  using SubByteDecoder::SubByteDecoder;
};
template <>
struct Decoder<Coding::Int3> : SubByteDecoder<3> {
  using SubByteDecoder::SubByteDecoder;
};
template <>
struct Decoder<Coding::Int2> : SubByteDecoder<2> {
  using SubByteDecoder::SubByteDecoder;
};

/// Four- and two-bit codes of any values: looked up with the scale multiplied in where the values fit one register.
template <int kBits>
struct ListedDecoder {
  static constexpr bool kTable = 1 << kBits <= kLanes;

  ListedDecoder() = default;
  ListedDecoder(const GemmTask& t, int64_t n, int64_t g)
      : values(t.values), zero_code(set(zero_of(t, n, g))), scale(set(scale_of(t, n, g))) {
    if constexpr (kTable) table = mul(sub(load(values), zero_code), scale);
  }
  template <int kUnit>
  F get(const uint8_t* row, int64_t k, int i, int64_t left) const {
    const I codes = sub_byte_codes<kBits, kUnit>(row, k, i);
    if constexpr (kTable) return keep(look_up(table, codes), left);
    return keep(mul(sub(look_up_16(values, codes), zero_code), scale), left);
  }
  const float* values;
  F zero_code, scale, table;
};

template <>
struct Decoder<Coding::Listed4> : ListedDecoder<4> {
  using ListedDecoder::ListedDecoder;
};
template <>
struct Decoder<Coding::Listed2> : ListedDecoder<2> {
  using ListedDecoder::ListedDecoder;
};

/// 2 kLanes bytes as load_small_floats() makes f16 of them.
static inline I small_halves(const uint8_t* p, int shift) {
  const I mask = set_int(static_cast<int32_t>(shift == 8 ? 0xffffffff : 0xbfffbfff));
#if defined(__AVX512F__)
  const I words = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i*)p));
  return bit_and(_mm512_sll_epi16(words, _mm_cvtsi32_si128(shift)), mask);
#else
  const I words = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i*)p));
  return bit_and(_mm256_sll_epi16(words, _mm_cvtsi32_si128(shift)), mask);
#endif
}

/// The lower or the upper kLanes of them.
static inline F half_floats(I halves, bool upper) {
#if defined(__AVX512F__)
  return _mm512_cvtph_ps(upper ? _mm512_extracti64x4_epi64(halves, 1) : _mm512_castsi512_si256(halves));
#else
  return _mm256_cvtph_ps(upper ? _mm256_extracti128_si256(halves, 1) : _mm256_castsi256_si128(halves));
#endif
}

/// Floats of 8 bits (or fewer, with their sign in bit 7): an f16 whose exponent is off by a constant, which the sums
/// make good. Two vectors share what makes f16 of bytes: the compiler sees the same expression twice.
template <>
struct Decoder<Coding::Float8> {
  Decoder() = default;
  Decoder(const GemmTask& t, int64_t n, int64_t g) : shift(t.float_shift), scale(set(scale_of(t, n, g))) {}
  template <int kUnit>
  F get(const uint8_t* row, int64_t k, int i, int64_t left) const {
    if constexpr (kUnit % (2 * kLanes) == 0)
      return mul(half_floats(small_halves(row + k + i / 2 * 2 * kLanes, shift), i % 2 != 0), scale);
    return mul(load_small_floats(row + k + kLanes * i, left, shift), scale);
  }
  int shift;
  F scale;
};

}  // namespace halftone::kernels::HALFTONE_ISA_NAMESPACE
