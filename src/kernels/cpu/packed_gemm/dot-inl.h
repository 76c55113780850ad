// Integer dot products of interleaved weights, for AVX2 and for AVX-512 with VNNI; included after simd-inl.h.
//
// A unit is 32 elements of kLanes rows, as eight vectors of four consecutive elements a lane. VPDPBUSD multiplies
// unsigned by signed bytes, so the stored codes go in as they are and the zero point comes off with the sum of the
// activations. AVX2 has only VPMADDUBSW, which adds pairs in saturating 16 bits: enough for eight products of four- or
// two-bit codes (15 * 127 * 2 * 8 < 2^15) and four of listed values (31 * 127 * 2 * 4 < 2^15), while eight-bit codes
// are made signed and their signs moved to the activations (128 * 127 * 2 < 2^15).
#pragma once

#include "kernels/cpu/simd-inl.h"
#include "kernels/cpu/unrolled-inl.h"
#include "numerics/formats.h"

namespace halftone::kernels::HALFTONE_ISA_NAMESPACE {

inline constexpr int kUnitQuads = 8;  ///< vectors of a unit
inline constexpr int kLine = 64;      ///< bytes from one vector of the layout to the next
template <ElementType kType>
inline constexpr int64_t kUnitBytes = kLine* bits_of(kType);

struct UnitCodes {
  I q[kUnitQuads];
};

/// Asks for the lines of a unit of codes. Codes lie in the order of their use, but a core that computes with them in
/// between notices too late, and at each page anew.
template <ElementType kType, _mm_hint kLevel = _MM_HINT_T0>
[[gnu::always_inline]] static inline void ask_lines(const uint8_t* unit) {
  unrolled<kUnitBytes<kType> / kLine>(
      [&](int i) HALFTONE_INLINE { _mm_prefetch(reinterpret_cast<const char*>(unit + kLine * i), kLevel); });
}

/// Asks ahead of the unit at `unit`: into the second-level cache from beyond the next page on, and from there into the
/// first. On a Xeon with AMX 8 tokens with eight-bit codes took 10.6 ms so, 12.7 to 13.6 with either one alone at any
/// distance and 14.6 without; 1.5 and 4 KB to 3 and 8 KB are alike.
inline constexpr int64_t kAskNear = 3072, kAskFar = 8192;
template <ElementType kType>
[[gnu::always_inline]] static inline void ask_unit(const uint8_t* unit) {
  ask_lines<kType>(unit + kAskNear);
  ask_lines<kType, _MM_HINT_T1>(unit + kAskFar);
}

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
static inline I add_bytes(I a, char b) { return _mm512_add_epi8(a, _mm512_set1_epi8(b)); }
static inline I repeat_16(const int8_t* p) {
  return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
static inline I bytes_at(I table, I index) { return _mm512_shuffle_epi8(table, index); }
static inline I sub_int(I a, I b) { return _mm512_sub_epi32(a, b); }

template <ElementType kType, int kBegin, int kQuads, bool kListed = false>
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
static inline I add_bytes(I a, char b) { return _mm256_add_epi8(a, _mm256_set1_epi8(b)); }
static inline I repeat_16(const int8_t* p) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
static inline I bytes_at(I table, I index) { return _mm256_shuffle_epi8(table, index); }
static inline I sub_int(I a, I b) { return _mm256_sub_epi32(a, b); }

template <ElementType kType, int kBegin, int kQuads, bool kListed = false>
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
  } else if constexpr (kListed && kQuads > kUnitQuads / 2) {
    sum = unit_dot<kType, kBegin, kQuads / 2, true>(sum, w, x);
    return unit_dot<kType, kBegin + kQuads / 2, kQuads / 2, true>(sum, w, x);
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
template <ElementType kType, bool kListed = false>
[[gnu::always_inline]] static inline I unit_dot(I sum, const UnitCodes& w, const int8_t* x) {
  return unit_dot<kType, 0, kUnitQuads, kListed>(sum, w, x);
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

#if defined(__AVX512F__)
static inline I any_bits(I a, I b) { return _mm512_or_si512(a, b); }
static inline I choose_bits(char mask, I yes, I no) {
  return _mm512_ternarylogic_epi32(_mm512_set1_epi8(mask), yes, no, 0xCA);
}
static inline I shifted_by(I a, const int64_t* bits) {
  return _mm512_srl_epi16(a, _mm_loadl_epi64((const __m128i*)bits));
}
#else
static inline I any_bits(I a, I b) { return _mm256_or_si256(a, b); }
static inline I choose_bits(char mask, I yes, I no) {
  const I bits = _mm256_set1_epi8(mask);
  return _mm256_or_si256(_mm256_and_si256(bits, yes), _mm256_andnot_si256(bits, no));
}
static inline I shifted_by(I a, const int64_t* bits) {
  return _mm256_srl_epi16(a, _mm_loadl_epi64((const __m128i*)bits));
}
#endif

/// The three digits of the 27 numbers of ternary codes, twice (bit 5 of an index is another number's): one by one, and
/// together in two bits each.
struct TritTables {
  alignas(64) int8_t digit[3][64];
  alignas(64) int8_t all[64];
};
static constexpr TritTables make_trit_tables() {
  TritTables t = {};
  for (int number = 0; number < 64; ++number)
    for (int digit = 0, rest = number % 32; digit < 3; ++digit, rest /= 3) {
      t.digit[digit][number] = static_cast<int8_t>(rest % 3);
      t.all[number] = static_cast<int8_t>(t.all[number] | rest % 3 << 2 * digit);
    }
  return t;
}
inline constexpr TritTables kTrits = make_trit_tables();
alignas(16) inline constexpr int64_t kShiftCounts[5] = {0, 1, 2, 3, 4};

/// One code of each number, of which bits 5 to 7 are anything.
class TritNumbers {
 public:
#if defined(__AVX512VBMI__)
  explicit TritNumbers(I numbers) : numbers_(numbers) {}
  I digit(int64_t i) const { return _mm512_permutexvar_epi8(numbers_, _mm512_load_si512(kTrits.digit[i])); }
  I digit_at(int64_t i) const { return digit(i); }

 private:
  I numbers_;
#else
  /// Byte shuffles look up 16 entries, and give 0 where bit 7 of the index is set.
  explicit TritNumbers(I numbers) {
    const I low = add_bytes(low_bits(numbers, 31), 0x70);
    digits_ = any_bits(bytes_at(repeat_16(kTrits.all), low), bytes_at(repeat_16(kTrits.all + 16), flip_signs(low)));
  }
  I digit(int i) const { return low_bits(i == 0 ? digits_ : shifted(digits_, 2 * i), 3); }
  I digit_at(int64_t i) const { return low_bits(shifted_by(digits_, kShiftCounts + 2 * i), 3); }

 private:
  I digits_;
#endif
};

/// Codes are asked for so far ahead: lines are not read in order, which hardware would notice.
inline constexpr int64_t kTernaryAskBytes = 4096;

/// Unit u of a tile of ternary codes.
[[gnu::always_inline]] static inline UnitCodes unpack_ternary(const uint8_t* tile, int64_t u) {
  const int64_t block = u / 3, part = u - 3 * block;
  const uint8_t* lines = tile + block * 5 * kLine;
  _mm_prefetch(lines + kTernaryAskBytes + 2 * part * kLine, _MM_HINT_T0);  // the three units ask for all five lines
  _mm_prefetch(lines + kTernaryAskBytes + (2 * part + 1) * kLine, _MM_HINT_T0);
  const I own = load_line(lines + part * kLine), fourth = load_line(lines + 3 * kLine),
          fifth = load_line(lines + 4 * kLine);
  const I high =
      choose_bits(8, shifted_by(fourth, kShiftCounts + part + 2), shifted_by(fifth, kShiftCounts + part + 1));
  const TritNumbers low_three(own), high_three(choose_bits(7, shifted(own, 5), high));
  UnitCodes w;
  unrolled<3>([&](int i) HALFTONE_INLINE { w.q[i] = low_three.digit(i), w.q[i + 3] = high_three.digit(i); });
  w.q[6] = TritNumbers(fourth).digit_at(part);
  w.q[7] = TritNumbers(fifth).digit_at(part);
  return w;
}

/// Unit u of a tile, whose first byte for these lanes is `tile`, less kTakenOff.
template <ElementType kType>
[[gnu::always_inline]] static inline UnitCodes unpack_unit(const uint8_t* tile, int64_t u) {
  if constexpr (kType == ElementType::Ternary)
    return unpack_ternary(tile, u);
  else
    return unpack<kType>(tile + u * kUnitBytes<kType>);
}

/// The values of listed codes as unsigned bytes, plus 16, in a register for look_up_values().
static inline I listed_values(const int8_t* values) { return add_bytes(repeat_16(values), 16); }

/// Four-bit codes become what they stand for, plus 16.
[[gnu::always_inline]] static inline void look_up_values(UnitCodes& w, I values) {
  unrolled<kUnitQuads>([&](int i) HALFTONE_INLINE { w.q[i] = bytes_at(values, w.q[i]); });
}

/// kLanes scales of one byte, E8M0 or else E4M3, exactly.
template <bool kPowers>
static inline F byte_scales(const uint8_t* p) {
  if constexpr (kPowers)  // the exponent of an f32, but for 2^-127, which is half of the smallest one
    return as_float(max_int(shift_left(load_bytes(p), 23), set_int(1 << 22)));
  return mul(load_small_floats(p, kLanes, 7), set(256.0f));
}

}  // namespace halftone::kernels::HALFTONE_ISA_NAMESPACE
