// Dot products of 4-byte words of codes with 15 or 16-bit integers, summed exactly. An operand is two 32-bit words:
//   AVX-512 VNNI  the four integers' high digits as bytes, then the low ones: x = (high << shift) + low
//   AVX2          integers 0 and 2 as 16-bit pairs, then 1 and 3
// Queries are signed against unsigned codes (digits of 7 bits), weights unsigned against signed codes (8 bits).
#pragma once

#include "kernels/cpu/attention/block-inl.h"
#include "kernels/cpu/unrolled-inl.h"

namespace halftone::kernels::HALFTONE_ISA_NAMESPACE {

/// Largest magnitude of a query integer: with 256 codes up to 255 its sums stay below 2^30.1.
inline constexpr int kQueryLevels = 127 * 128;
inline constexpr int kQueryShift = 7, kWeightShift = 8;

static inline I load_int(const unsigned char* p) { return as_int(load(reinterpret_cast<const float*>(p))); }

#if defined(__AVX512F__)

inline constexpr int kWeightLevels = 65535;
inline constexpr int kSums = 2, kHalves = 1;  // sums of high and of low digits; codes as they are

template <bool kSigned>
[[gnu::always_inline]] static inline void unpack(I codes, I* out) {
  out[0] = codes;
}

/// g++ 12 keeps the accumulators of _mm512_dpbusd_epi32 in memory and in registers both; an operand of assembly stays.
[[gnu::always_inline]] static inline void add_dot(I& sum, I unsigned_bytes, I signed_bytes) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(unsigned_bytes), "v"(signed_bytes));
}

template <bool kSignedCodes>
[[gnu::always_inline]] static inline void add_products(I* sums, const I* c, I first, I second) {
  add_dot(sums[0], kSignedCodes ? first : c[0], kSignedCodes ? c[0] : first);
  add_dot(sums[1], kSignedCodes ? second : c[0], kSignedCodes ? c[0] : second);
}

template <bool kSignedCodes>
[[gnu::always_inline]] static inline I total(const I* sums) {
  return add_int(_mm512_slli_epi32(sums[0], kSignedCodes ? kWeightShift : kQueryShift), sums[1]);
}

static inline I high_nibbles(I codes) { return bit_and(_mm512_srli_epi32(codes, 4), set_int(0x0f0f0f0f)); }

/// kLanes integers to kLanes / 4 operands.
static inline void store_digits(int32_t* out, I high, I low) {
  const __m128i a = _mm512_cvtepi32_epi8(high), b = _mm512_cvtepi32_epi8(low);
  _mm_storeu_si128((__m128i*)out, _mm_unpacklo_epi32(a, b));
  _mm_storeu_si128((__m128i*)(out + 4), _mm_unpackhi_epi32(a, b));
}
static inline void store_query(int32_t* out, I x) {
  const I high = _mm512_srai_epi32(add_int(x, set_int(1 << (kQueryShift - 1))), kQueryShift);
  store_digits(out, high, _mm512_sub_epi32(x, _mm512_slli_epi32(high, kQueryShift)));
}
static inline void store_weights(int32_t* out, I x) { store_digits(out, _mm512_srli_epi32(x, kWeightShift), x); }

#else  // AVX2

inline constexpr int kWeightLevels = 32767;
inline constexpr int kSums = 1, kHalves = 2;  // codes 0 and 2 of every four, then 1 and 3, in 16 bits

template <bool kSigned>
[[gnu::always_inline]] static inline void unpack(I codes, I* out) {
  out[0] = kSigned ? _mm256_srai_epi16(_mm256_slli_epi16(codes, 8), 8) : bit_and(codes, _mm256_set1_epi16(255));
  out[1] = kSigned ? _mm256_srai_epi16(codes, 8) : _mm256_srli_epi16(codes, 8);
}

template <bool kSignedCodes>
[[gnu::always_inline]] static inline void add_products(I* sums, const I* c, I first, I second) {
  sums[0] = add_int(sums[0], add_int(_mm256_madd_epi16(c[0], first), _mm256_madd_epi16(c[1], second)));
}

template <bool kSignedCodes>
[[gnu::always_inline]] static inline I total(const I* sums) {
  return sums[0];
}

static inline I high_nibbles(I codes) { return bit_and(_mm256_srli_epi32(codes, 4), set_int(0x0f0f0f0f)); }

/// kLanes integers to kLanes / 4 operands: pairs 0|2 and 1|3 in the low half of every four.
static inline void store_query(int32_t* out, I x) {
  const I pairs = bit_or(bit_and(x, set_int(0xffff)), _mm256_slli_epi32(_mm256_shuffle_epi32(x, 0xee), 16));
  _mm_storeu_si128((__m128i*)out, _mm256_castsi256_si128(_mm256_permute4x64_epi64(pairs, 0x08)));
}
static inline void store_weights(int32_t* out, I x) { store_query(out, x); }

#endif

/// out[r][lanes] = codes . operands[r], over words [begin, end), for Vectors vectors of lanes from `codes` on; the word
/// after is `word_stride` bytes away, the next vector `vector_stride`. kBits 4: low nibbles belong to operand 2w, high
/// ones to 2w + 1. Codes `ahead` bytes further are asked for on the way.
template <int Rows, int Vectors, int kBits, bool kSignedCodes>
[[gnu::noinline]] static void dot_tile(const unsigned char* codes, int64_t word_stride, int64_t vector_stride,
                                       int64_t begin, int64_t end, int64_t ahead, const int32_t* const* operands,
                                       int32_t* const* out) {
  constexpr int kParts = 8 / kBits;
  constexpr bool kSigns = kSignedCodes && kBits == 8;
  I sums[Rows * Vectors * kSums];
  unrolled<Rows * Vectors * kSums>([&](int i) HALFTONE_INLINE { sums[i] = set_int(0); });
  const int32_t* operand[Rows];
  unrolled<Rows>([&](int r) HALFTONE_INLINE { operand[r] = operands[r] + 2 * kParts * begin; });
  codes += begin * word_stride;
  for (int64_t w = begin; w < end; ++w, codes += word_stride) {
    I word[Vectors];
    unrolled<Vectors>([&](int v) HALFTONE_INLINE {
      word[v] = load_int(codes + v * vector_stride);
      ask(codes + v * vector_stride + ahead);
    });
    unrolled<kParts>([&](int part) HALFTONE_INLINE {
      I c[Vectors * kHalves];
      unrolled<Vectors>([&](int v) HALFTONE_INLINE {
        if constexpr (kBits == 8)
          unpack<kSigns>(word[v], c + v * kHalves);
        else
          unpack<kSigns>(part == 0 ? bit_and(word[v], set_int(0x0f0f0f0f)) : high_nibbles(word[v]), c + v * kHalves);
      });
      unrolled<Rows>([&](int r) HALFTONE_INLINE {
        const I first = set_int(operand[r][2 * part]), second = set_int(operand[r][2 * part + 1]);
        unrolled<Vectors>([&](int v) HALFTONE_INLINE {
          add_products<kSignedCodes>(sums + (r * Vectors + v) * kSums, c + v * kHalves, first, second);
        });
      });
    });
    unrolled<Rows>([&](int r) HALFTONE_INLINE { operand[r] += 2 * kParts; });
  }
  unrolled<Rows>([&](int r) HALFTONE_INLINE {
    unrolled<Vectors>([&](int v) HALFTONE_INLINE {
      store_words(out[r] + v * kLanes, total<kSignedCodes>(sums + (r * Vectors + v) * kSums));
    });
  });
}

}  // namespace halftone::kernels::HALFTONE_ISA_NAMESPACE
