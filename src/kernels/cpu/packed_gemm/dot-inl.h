// Integer dot products of interleaved weights, for AVX2 and for AVX-512 with VNNI; included after simd-inl.h.
//
// A unit is 32 elements of kLanes rows, as eight vectors of four consecutive elements a lane. VPDPBUSD multiplies
// unsigned by signed bytes, so the stored codes go in as they are and the zero point comes off with the sum of the
// activations. AVX2 has only VPMADDUBSW, which adds pairs in saturating 16 bits: enough for eight products of four- or
// two-bit codes (15 * 127 * 2 * 8 < 2^15), while eight-bit codes are made signed and their signs moved to the
// activations (128 * 127 * 2 < 2^15).
#pragma once

#include "kernels/cpu/simd-inl.h"
#include "kernels/cpu/unrolled-inl.h"
#include "numerics/formats.h"

namespace halftone::kernels::HALFTONE_ISA_NAMESPACE {

inline constexpr int kUnitQuads = 8;  ///< vectors of a unit
inline constexpr int kLine = 64;      ///< bytes from one vector of the layout to the next

struct UnitCodes {
  I q[kUnitQuads];
};

static inline int32_t quad_at(const int8_t* x) {
  int32_t four;
  __builtin_memcpy(&four, x, 4);
  return four;
}

#if defined(__AVX512F__)

/// What unpack() has taken off the codes already.
template <ElementType>
inline constexpr int kTakenOff = 0;

static inline I load_line(const uint8_t* p) { return _mm512_loadu_si512(p); }
static inline I shifted(I a, int bits) { return _mm512_srl_epi16(a, _mm_cvtsi32_si128(bits)); }
static inline I shifted_left(I a, int bits) { return _mm512_sll_epi16(a, _mm_cvtsi32_si128(bits)); }
static inline I low_bits(I a, char mask) { return _mm512_and_si512(a, _mm512_set1_epi8(mask)); }
static inline I flip_signs(I a) { return _mm512_xor_si512(a, _mm512_set1_epi8(-128)); }
static inline I multiply_low(I a, I b) { return _mm512_mullo_epi32(a, b); }
static inline I sub_int(I a, I b) { return _mm512_sub_epi32(a, b); }

template <ElementType kType, int kBegin, int kQuads>
[[gnu::always_inline]] static inline I unit_dot(I sum, const UnitCodes& w, const int8_t* x) {
  I even = sum, odd = _mm512_setzero_si512();  // two chains: one would wait for its own latency
  unrolled<kQuads / 2>([&](int i) HALFTONE_INLINE {
    const int q = kBegin + 2 * i;
    even = _mm512_dpbusd_epi32(even, w.q[q], _mm512_set1_epi32(quad_at(x + 4 * q)));
    odd = _mm512_dpbusd_epi32(odd, w.q[q + 1], _mm512_set1_epi32(quad_at(x + 4 * q + 4)));
  });
  return _mm512_add_epi32(even, odd);
}

#else

template <ElementType kType>
inline constexpr int kTakenOff = kType == ElementType::Int8 ? 128 : 0;

static inline I load_line(const uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
static inline I shifted(I a, int bits) { return _mm256_srl_epi16(a, _mm_cvtsi32_si128(bits)); }
static inline I shifted_left(I a, int bits) { return _mm256_sll_epi16(a, _mm_cvtsi32_si128(bits)); }
static inline I low_bits(I a, char mask) { return _mm256_and_si256(a, _mm256_set1_epi8(mask)); }
static inline I flip_signs(I a) { return _mm256_xor_si256(a, _mm256_set1_epi8(-128)); }
static inline I multiply_low(I a, I b) { return _mm256_mullo_epi32(a, b); }
static inline I sub_int(I a, I b) { return _mm256_sub_epi32(a, b); }

template <ElementType kType, int kBegin, int kQuads>
[[gnu::always_inline]] static inline I unit_dot(I sum, const UnitCodes& w, const int8_t* x) {
  const I ones = _mm256_set1_epi16(1);
  if constexpr (kType == ElementType::Int8) {
    unrolled<kQuads>([&](int j) HALFTONE_INLINE {
      const int i = kBegin + j;
      const I four = _mm256_set1_epi32(quad_at(x + 4 * i));
      const I pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w.q[i]), _mm256_sign_epi8(four, w.q[i]));
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones));
    });
    return sum;
  } else {
    I pairs = _mm256_setzero_si256();
    unrolled<kQuads>([&](int j) HALFTONE_INLINE {
      const int i = kBegin + j;
      const I four = _mm256_set1_epi32(quad_at(x + 4 * i));
      pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(w.q[i], four));
    });
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones));
  }
}

#endif

/// The dot product of all of a unit, added to `sum`.
template <ElementType kType>
[[gnu::always_inline]] static inline I unit_dot(I sum, const UnitCodes& w, const int8_t* x) {
  return unit_dot<kType, 0, kUnitQuads>(sum, w, x);
}

/// The sum of 16 activations: VPSADBW adds eight bytes, made unsigned by adding 128.
static inline int32_t half_unit_sum(const int8_t* x) {
  const __m128i biased = _mm_xor_si128(_mm_loadu_si128((const __m128i*)x), _mm_set1_epi8(-128));
  const __m128i sums = _mm_sad_epu8(biased, _mm_setzero_si128());
  return _mm_cvtsi128_si32(_mm_add_epi32(sums, _mm_unpackhi_epi64(sums, sums))) - 16 * 128;
}

/// The codes of a unit, less kTakenOff.
template <ElementType kType>
[[gnu::always_inline]] static inline UnitCodes unpack(const uint8_t* unit) {
  UnitCodes w;
  if constexpr (kType == ElementType::Int8) {
    unrolled<8>([&](int i) HALFTONE_INLINE {
      w.q[i] = load_line(unit + kLine * i);
      if constexpr (kTakenOff<kType> != 0) w.q[i] = flip_signs(w.q[i]);
    });
  } else if constexpr (kType == ElementType::Int4) {
    unrolled<4>([&](int i) HALFTONE_INLINE {
      const I line = load_line(unit + kLine * i);
      w.q[i] = low_bits(line, 15);
      w.q[i + 4] = low_bits(shifted(line, 4), 15);
    });
  } else {
    unrolled<2>([&](int i) HALFTONE_INLINE {
      const I line = load_line(unit + kLine * i);
      w.q[i] = low_bits(line, 3);
      w.q[i + 2] = low_bits(shifted(line, 2), 3);
      w.q[i + 4] = low_bits(shifted(line, 4), 3);
      w.q[i + 6] = low_bits(shifted(line, 6), 3);
    });
    if constexpr (kType == ElementType::Int3) {
      const I line = load_line(unit + kLine * 2);  // quad i has its high bits in bit i
      unrolled<8>([&](int i) HALFTONE_INLINE {
        w.q[i] = bit_or(w.q[i], low_bits(i < 2 ? shifted_left(line, 2 - i) : shifted(line, i - 2), 4));
      });
    }
  }
  return w;
}

}  // namespace halftone::kernels::HALFTONE_ISA_NAMESPACE
