// The vector operations that the CPU kernels outside GEMM are written in, once for AVX2 and once for AVX-512.
//
// Included only by *_avx2.cpp and *_avx512.cpp, after `#define HALFTONE_ISA_NAMESPACE avx2` (or avx512): every name
// lives in that namespace and every function is static, and neither the standard library nor any other header with
// inline functions is included, so the linker can never pick wide instructions for baseline code. A vector F holds
// kLanes floats, I as many 32-bit integers, D half as many doubles, M one truth value a lane.
#pragma once

// g++ 12 takes the undefined pass-through operands of its own AVX-512 intrinsics for mistakes (GCC bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop

#include <cstdint>

#ifndef HALFTONE_ISA_NAMESPACE
#error "define HALFTONE_ISA_NAMESPACE before including simd-inl.h"
#endif

namespace halftone::kernels::HALFTONE_ISA_NAMESPACE {

#if defined(__AVX512F__)

inline constexpr int kLanes = 16;
inline constexpr int kRegisters = 32;
using F = __m512;
using I = __m512i;
using D = __m512d;
using M = __mmask16;

static inline M first_lanes(int64_t n) { return static_cast<M>(n >= 16 ? 0xffffu : n <= 0 ? 0u : (1u << n) - 1); }
static inline F zero() { return _mm512_setzero_ps(); }
static inline F set(float x) { return _mm512_set1_ps(x); }
static inline I set_int(int32_t x) { return _mm512_set1_epi32(x); }
static inline F load(const float* p) { return _mm512_loadu_ps(p); }
static inline F load(const float* p, int64_t n) {
  return n >= kLanes ? load(p) : _mm512_maskz_loadu_ps(first_lanes(n), p);
}
static inline void store(float* p, F x) { _mm512_storeu_ps(p, x); }
static inline void store(float* p, F x, int64_t n) {
  n >= kLanes ? store(p, x) : _mm512_mask_storeu_ps(p, first_lanes(n), x);
}
static inline F add(F a, F b) { return _mm512_add_ps(a, b); }
static inline F sub(F a, F b) { return _mm512_sub_ps(a, b); }
static inline F mul(F a, F b) { return _mm512_mul_ps(a, b); }
static inline F div(F a, F b) { return _mm512_div_ps(a, b); }
/// 1 / x within 2 units, for finite x of 1 and more: 14 bits and a Newton step, in a quarter of a division's time.
static inline F reciprocal(F x) {
  const F r = _mm512_rcp14_ps(x);
  return _mm512_fmadd_ps(r, _mm512_fnmadd_ps(x, r, _mm512_set1_ps(1.0f)), r);
}
static inline F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
static inline F fnma(F a, F b, F c) { return _mm512_fnmadd_ps(a, b, c); }
static inline F max(F a, F b) { return _mm512_max_ps(a, b); }  // b where either is NaN
static inline F min(F a, F b) { return _mm512_min_ps(a, b); }  // b where either is NaN
static inline F round_even(F a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
static inline F swap_pairs(F a) { return _mm512_permute_ps(a, 0xB1); }
static inline M greater(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
static inline M is_nan(F a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }
static inline M both(M a, M b) { return static_cast<M>(a & b); }
static inline M without(M a, M b) { return static_cast<M>(a & ~b); }
static inline bool any(M a) { return a != 0; }
static inline F select(M m, F yes, F no) { return _mm512_mask_blend_ps(m, no, yes); }
static inline I select(M m, I yes, I no) { return _mm512_mask_blend_epi32(m, no, yes); }
static inline F as_float(I a) { return _mm512_castsi512_ps(a); }
static inline I as_int(F a) { return _mm512_castps_si512(a); }
static inline I load_words(const void* p, int64_t n) { return _mm512_maskz_loadu_epi32(first_lanes(n), p); }
static inline void store_words(void* p, I a) { _mm512_storeu_si512(p, a); }
static inline I bit_and(I a, I b) { return _mm512_and_si512(a, b); }
static inline I bit_or(I a, I b) { return _mm512_or_si512(a, b); }
static inline I add_int(I a, I b) { return _mm512_add_epi32(a, b); }
static inline I max_int(I a, I b) { return _mm512_max_epi32(a, b); }
static inline I shift_right(I a, int bits) { return (I)((__v16su)a >> bits); }
static inline I shift_left(I a, int bits) { return (I)((__v16su)a << bits); }
static inline F to_float(I a) { return _mm512_cvtepi32_ps(a); }
static inline I to_int(F a) { return _mm512_cvtps_epi32(a); }  // half to even
static inline F load_half(const uint16_t* p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p)); }
static inline void store_half(uint16_t* p, F a) {
  _mm256_storeu_si256((__m256i*)p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
static inline I load_bytes(const uint8_t* p) { return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)p)); }
/// n signed bytes, zero past them.
static inline I load_signed_bytes(const void* p, int64_t n) {
  return _mm512_cvtepi8_epi32(n >= kLanes ? _mm_loadu_si128((const __m128i*)p)
                                          : _mm_maskz_loadu_epi8(first_lanes(n), p));
}
/// n unsigned 16-bit words, zero past them.
static inline I load_shorts(const void* p, int64_t n) {
  return _mm512_cvtepu16_epi32(n >= kLanes ? _mm256_loadu_si256((const __m256i*)p)
                                           : _mm256_maskz_loadu_epi16(first_lanes(n), p));
}
/// Entry index mod kLanes of the table, in every lane.
static inline F look_up(F table, I index) { return _mm512_permutexvar_ps(index, table); }
/// Entry index mod 16 of 16 values, in every lane.
static inline F look_up_16(const float* values, I index) { return look_up(load(values), index); }
/// n bytes |sign|magnitude|, zero past them, as the f16 of that sign and magnitude << shift; shift is 7 or 8.
static inline F load_small_floats(const void* p, int64_t n, int shift) {
  const __m128i bytes = n >= kLanes ? _mm_loadu_si128((const __m128i*)p) : _mm_maskz_loadu_epi8(first_lanes(n), p);
  const __m256i words = _mm256_sll_epi16(_mm256_cvtepi8_epi16(bytes), _mm_cvtsi32_si128(shift));
  return _mm512_cvtph_ps(_mm256_and_si256(words, _mm256_set1_epi16(shift == 8 ? -1 : (short)0xbfff)));
}
/// The low 8 bits of every lane.
static inline void store_bytes(void* p, I a) { _mm_storeu_si128((__m128i*)p, _mm512_cvtepi32_epi8(a)); }
/// The low 16 bits of every lane, read as f16.
static inline F half_words(I a) { return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(a)); }
static inline float sum(F a) { return _mm512_reduce_add_ps(a); }
/// The sums of four vectors, each by the tree l+8, l+4, l+2, l+1 over its lanes l.
static inline void sum4(const F* a, float* out) {
  const F ab = add(_mm512_shuffle_f32x4(a[0], a[1], 0x44), _mm512_shuffle_f32x4(a[0], a[1], 0xee));
  const F cd = add(_mm512_shuffle_f32x4(a[2], a[3], 0x44), _mm512_shuffle_f32x4(a[2], a[3], 0xee));
  F s = add(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
  s = add(s, _mm512_permute_ps(s, 0x4e));
  s = add(s, _mm512_permute_ps(s, 0xb1));
  _mm_storeu_ps(out, _mm512_castps512_ps128(_mm512_maskz_compress_ps(0x1111, s)));
}
static inline float maximum(F a) { return _mm512_reduce_max_ps(a); }
static inline int32_t maximum_int(I a) { return _mm512_reduce_max_epi32(a); }
static inline int32_t sum_int(I a) { return _mm512_reduce_add_epi32(a); }

static inline D zero_d() { return _mm512_setzero_pd(); }
static inline D set_d(double x) { return _mm512_set1_pd(x); }
static inline D load_d(const double* p, int64_t n) { return _mm512_maskz_loadu_pd((__mmask8)first_lanes(n), p); }
static inline D add(D a, D b) { return _mm512_add_pd(a, b); }
static inline D sub(D a, D b) { return _mm512_sub_pd(a, b); }
static inline D mul(D a, D b) { return _mm512_mul_pd(a, b); }
static inline D fma(D a, D b, D c) { return _mm512_fmadd_pd(a, b, c); }
static inline D fnma(D a, D b, D c) { return _mm512_fnmadd_pd(a, b, c); }
static inline D low_half(F a) { return _mm512_cvtps_pd(_mm512_castps512_ps256(a)); }
static inline D high_half(F a) { return _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1)); }
static inline double sum(D a) { return _mm512_reduce_add_pd(a); }
static inline __m512i as_int(D a) { return _mm512_castpd_si512(a); }
static inline D as_double(__m512i a) { return _mm512_castsi512_pd(a); }
static inline void store_narrow(float* p, D a) { _mm256_storeu_ps(p, _mm512_cvtpd_ps(a)); }
/// yes where bit `bit` of the 64-bit lane of a is set.
static inline D select_bit(__m512i a, int bit, D yes, D no) {
  return _mm512_mask_blend_pd(_mm512_test_epi64_mask(a, _mm512_set1_epi64(int64_t{1} << bit)), no, yes);
}

/// a * 2^n for integral n, gradual underflow and overflow included.
static inline F scale_by_power(F a, F n) { return _mm512_scalef_ps(a, n); }

/// rows[i] holds row i of a kLanes x kLanes matrix of 32-bit words; afterwards it holds column i.
static inline void transpose(I (&r)[16]) {
  I t[16], u[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; i += 4) {  // u[4q + c], 128-bit lane L: column 4L + c of rows 4q .. 4q+3
    u[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    u[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    u[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    u[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
#pragma GCC unroll 16
  for (int c = 0; c < 4; ++c) {
    const I even01 = _mm512_shuffle_i32x4(u[c], u[4 + c], 0x88), odd01 = _mm512_shuffle_i32x4(u[c], u[4 + c], 0xdd);
    const I even23 = _mm512_shuffle_i32x4(u[8 + c], u[12 + c], 0x88);
    const I odd23 = _mm512_shuffle_i32x4(u[8 + c], u[12 + c], 0xdd);
    r[c] = _mm512_shuffle_i32x4(even01, even23, 0x88);
    r[4 + c] = _mm512_shuffle_i32x4(odd01, odd23, 0x88);
    r[8 + c] = _mm512_shuffle_i32x4(even01, even23, 0xdd);
    r[12 + c] = _mm512_shuffle_i32x4(odd01, odd23, 0xdd);
  }
}

#else  // AVX2, FMA, F16C

inline constexpr int kLanes = 8;
inline constexpr int kRegisters = 16;
using F = __m256;
using I = __m256i;
using D = __m256d;
using M = __m256i;  // all bits or none

static inline M first_lanes(int64_t n) {
  const int32_t lanes = n >= 8 ? 8 : n <= 0 ? 0 : static_cast<int32_t>(n);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(lanes), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
static inline F zero() { return _mm256_setzero_ps(); }
static inline F set(float x) { return _mm256_set1_ps(x); }
static inline I set_int(int32_t x) { return _mm256_set1_epi32(x); }
static inline F load(const float* p) { return _mm256_loadu_ps(p); }
static inline F load(const float* p, int64_t n) {
  return n >= kLanes ? load(p) : _mm256_maskload_ps(p, first_lanes(n));
}
static inline void store(float* p, F x) { _mm256_storeu_ps(p, x); }
static inline void store(float* p, F x, int64_t n) {  // masked stores are microcode on some CPUs
  n >= kLanes ? store(p, x) : _mm256_maskstore_ps(p, first_lanes(n), x);
}
static inline F add(F a, F b) { return _mm256_add_ps(a, b); }
static inline F sub(F a, F b) { return _mm256_sub_ps(a, b); }
static inline F mul(F a, F b) { return _mm256_mul_ps(a, b); }
static inline F div(F a, F b) { return _mm256_div_ps(a, b); }
static inline F reciprocal(F x) { return _mm256_div_ps(_mm256_set1_ps(1.0f), x); }
static inline F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
static inline F fnma(F a, F b, F c) { return _mm256_fnmadd_ps(a, b, c); }
static inline F max(F a, F b) { return _mm256_max_ps(a, b); }  // b where either is NaN
static inline F min(F a, F b) { return _mm256_min_ps(a, b); }  // b where either is NaN
static inline F round_even(F a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
static inline F swap_pairs(F a) { return _mm256_permute_ps(a, 0xB1); }
static inline M greater(F a, F b) { return _mm256_castps_si256(_mm256_cmp_ps(a, b, _CMP_GT_OQ)); }
static inline M is_nan(F a) { return _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q)); }
static inline M both(M a, M b) { return _mm256_and_si256(a, b); }
static inline M without(M a, M b) { return _mm256_andnot_si256(b, a); }
static inline bool any(M a) { return _mm256_movemask_ps(_mm256_castsi256_ps(a)) != 0; }
static inline F select(M m, F yes, F no) { return _mm256_blendv_ps(no, yes, _mm256_castsi256_ps(m)); }
static inline I select(M m, I yes, I no) { return _mm256_blendv_epi8(no, yes, m); }
static inline F as_float(I a) { return _mm256_castsi256_ps(a); }
static inline I as_int(F a) { return _mm256_castps_si256(a); }
static inline I load_words(const void* p, int64_t n) { return _mm256_maskload_epi32((const int*)p, first_lanes(n)); }
static inline void store_words(void* p, I a) { _mm256_storeu_si256((__m256i*)p, a); }
static inline I bit_and(I a, I b) { return _mm256_and_si256(a, b); }
static inline I bit_or(I a, I b) { return _mm256_or_si256(a, b); }
static inline I add_int(I a, I b) { return _mm256_add_epi32(a, b); }
static inline I max_int(I a, I b) { return _mm256_max_epi32(a, b); }
static inline I shift_right(I a, int bits) { return (I)((__v8su)a >> bits); }
static inline I shift_left(I a, int bits) { return (I)((__v8su)a << bits); }
static inline F to_float(I a) { return _mm256_cvtepi32_ps(a); }
static inline I to_int(F a) { return _mm256_cvtps_epi32(a); }  // half to even
static inline F load_half(const uint16_t* p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p)); }
static inline void store_half(uint16_t* p, F a) {
  _mm_storeu_si128((__m128i*)p, _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
static inline I load_bytes(const uint8_t* p) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)p)); }
/// The first n * size < 16 bytes of p, then zeros; reads nothing past them.
static inline __m128i load_first(const void* p, int64_t n, int size) {
  alignas(16) unsigned char bytes[16] = {};
  for (int64_t i = 0; i < n * size; ++i) bytes[i] = ((const unsigned char*)p)[i];
  return _mm_load_si128((const __m128i*)bytes);
}
/// n signed bytes, zero past them.
static inline I load_signed_bytes(const void* p, int64_t n) {
  return _mm256_cvtepi8_epi32(n >= kLanes ? _mm_loadl_epi64((const __m128i*)p) : load_first(p, n, 1));
}
/// n unsigned 16-bit words, zero past them.
static inline I load_shorts(const void* p, int64_t n) {
  return _mm256_cvtepu16_epi32(n >= kLanes ? _mm_loadu_si128((const __m128i*)p) : load_first(p, n, 2));
}
/// Entry index mod kLanes of the table, in every lane.
static inline F look_up(F table, I index) { return _mm256_permutevar8x32_ps(table, index); }
/// Entry index mod 16 of 16 values, in every lane.
static inline F look_up_16(const float* values, I index) {
  return select(shift_left(index, 28), look_up(load(values + 8), index), look_up(load(values), index));
}
/// n bytes |sign|magnitude|, zero past them, as the f16 of that sign and magnitude << shift; shift is 7 or 8.
static inline F load_small_floats(const void* p, int64_t n, int shift) {
  const __m128i bytes = n >= kLanes ? _mm_loadl_epi64((const __m128i*)p) : load_first(p, n, 1);
  const __m128i words = _mm_sll_epi16(_mm_cvtepi8_epi16(bytes), _mm_cvtsi32_si128(shift));
  return _mm256_cvtph_ps(_mm_and_si128(words, _mm_set1_epi16(shift == 8 ? -1 : (short)0xbfff)));
}
/// The low 8 bits of every lane.
static inline void store_bytes(void* p, I a) {
  const I low = _mm256_and_si256(a, _mm256_set1_epi32(255));
  const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
  _mm_storel_epi64((__m128i*)p, _mm_packus_epi16(words, words));
}
/// The low 16 bits of every lane, read as f16.
static inline F half_words(I a) {
  const __m256i low = _mm256_and_si256(a, _mm256_set1_epi32(0xffff));
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, low), 0x08);
  return _mm256_cvtph_ps(_mm256_castsi256_si128(packed));
}
static inline float sum(F a) {
  __m128 x = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  x = _mm_add_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps(x, x, 1)));
}
/// The sums of four vectors, each by the tree l+1, l+2, l+4 over its lanes l.
static inline void sum4(const F* a, float* out) {
  const F s = _mm256_hadd_ps(_mm256_hadd_ps(a[0], a[1]), _mm256_hadd_ps(a[2], a[3]));
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1)));
}
static inline float maximum(F a) {
  __m128 x = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  x = _mm_max_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_max_ss(x, _mm_shuffle_ps(x, x, 1)));
}
static inline int32_t maximum_int(I a) {
  __m128i x = _mm_max_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
  x = _mm_max_epi32(x, _mm_shuffle_epi32(x, 0x4e));
  return _mm_cvtsi128_si32(_mm_max_epi32(x, _mm_shuffle_epi32(x, 0xb1)));
}
static inline int32_t sum_int(I a) {
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}

static inline D zero_d() { return _mm256_setzero_pd(); }
static inline D set_d(double x) { return _mm256_set1_pd(x); }
static inline D load_d(const double* p, int64_t n) {
  return _mm256_maskload_pd(p, _mm256_cvtepi32_epi64(_mm256_castsi256_si128(first_lanes(n))));
}
static inline D add(D a, D b) { return _mm256_add_pd(a, b); }
static inline D sub(D a, D b) { return _mm256_sub_pd(a, b); }
static inline D mul(D a, D b) { return _mm256_mul_pd(a, b); }
static inline D fma(D a, D b, D c) { return _mm256_fmadd_pd(a, b, c); }
static inline D fnma(D a, D b, D c) { return _mm256_fnmadd_pd(a, b, c); }
static inline D low_half(F a) { return _mm256_cvtps_pd(_mm256_castps256_ps128(a)); }
static inline D high_half(F a) { return _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1)); }
static inline double sum(D a) {
  const __m128d x = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
  return _mm_cvtsd_f64(_mm_add_sd(x, _mm_unpackhi_pd(x, x)));
}
static inline __m256i as_int(D a) { return _mm256_castpd_si256(a); }
static inline D as_double(__m256i a) { return _mm256_castsi256_pd(a); }
static inline void store_narrow(float* p, D a) { _mm_storeu_ps(p, _mm256_cvtpd_ps(a)); }
/// yes where bit `bit` of the 64-bit lane of a is set.
static inline D select_bit(__m256i a, int bit, D yes, D no) {
  const __m256i sign = _mm256_sll_epi64(a, _mm_cvtsi32_si128(63 - bit));
  return _mm256_blendv_pd(no, yes, _mm256_castsi256_pd(sign));
}

/// a * 2^n for integral n, gradual underflow and overflow included: in two halves, each a normal power.
static inline F scale_by_power(F a, F n) {
  const I whole = _mm256_cvtps_epi32(min(set(260.0f), max(set(-300.0f), n)));
  const I half = _mm256_srai_epi32(whole, 1);
  const I bias = set_int(127);
  const F first = as_float(_mm256_slli_epi32(add_int(half, bias), 23));
  const F second = as_float(_mm256_slli_epi32(add_int(_mm256_sub_epi32(whole, half), bias), 23));
  return mul(mul(a, first), second);
}

/// rows[i] holds row i of a kLanes x kLanes matrix of 32-bit words; afterwards it holds column i.
static inline void transpose(I (&r)[8]) {
  I t[8], u[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; i += 4) {  // u[4q + c], 128-bit lane L: column 4L + c of rows 4q .. 4q+3
    u[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
    u[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
    u[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
    u[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
#pragma GCC unroll 8
  for (int c = 0; c < 4; ++c) {
    r[c] = _mm256_permute2x128_si256(u[c], u[4 + c], 0x20);
    r[4 + c] = _mm256_permute2x128_si256(u[c], u[4 + c], 0x31);
  }
}

#endif

inline constexpr int kDoubles = kLanes / 2;

static inline D fma_halves(F a, F b, D c) {  // c + the products, exact in double, of both halves
  return fma(high_half(a), high_half(b), fma(low_half(a), low_half(b), c));
}
static inline D add_halves(F a, D c) { return add(add(c, low_half(a)), high_half(a)); }

/// e^x with a relative error below 2 units in the last place wherever the result is normal; gradual underflow; infinity
/// past 88.73; NaN stays NaN. x = n ln 2 + r, and the Taylor polynomial of degree 7 on |r| <= ln(2)/2 (error 5e-9).
static inline F exp(F x) {
  x = min(set(89.0f), max(set(-105.0f), x));  // operand order keeps NaN
  const F n = round_even(mul(x, set(1.44269504f)));
  F r = fnma(n, set(0.693359375f), x);  // nine bits: n times it is exact
  r = fnma(n, set(-2.12194440e-4f), r);
  F p = set(1.0f / 5040);
  p = fma(p, r, set(1.0f / 720));
  p = fma(p, r, set(1.0f / 120));
  p = fma(p, r, set(1.0f / 24));
  p = fma(p, r, set(1.0f / 6));
  p = fma(p, r, set(0.5f));
  p = fma(mul(p, r), r, r);  // e^r - 1: adding the 1 last loses half a unit only
  return scale_by_power(add(p, set(1.0f)), n);
}

/// 2^x for x <= 0 with a relative error below 3 units (of 2^-24), exactly 1 at 0; NaN stays NaN. A minimax polynomial
/// of degree 5 on [-1/2, 1/2] (error 9.2e-8) whose constant is held at 1. 0 below -126: there is no gradual underflow,
/// for which Intel's cores stop 100 cycles and more, at every masked key.
static inline F exp2_negative(F x) {
  const M too_small = greater(set(-126.0f), x);
  x = max(set(-126.0f), x);
  const F shifter = set(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const F n = sub(add(x, shifter), shifter);
  const F r = sub(x, n);
  F p = set(1.32647273e-3f);
  p = fma(p, r, set(9.67151279e-3f));
  p = fma(p, r, set(5.55073374e-2f));
  p = fma(p, r, set(2.40222421e-1f));
  p = fma(p, r, set(6.93146978e-1f));
  p = fma(p, r, set(1.0f));
  return select(too_small, zero(), scale_by_power(p, n));
}

inline constexpr int32_t kInfinityBits = 0x7f800000;

/// Bits of max|x|: floats without their sign compare like integers, and anything not finite comes out on top.
static inline int32_t magnitude_bits(const float* x, int64_t k) {
  const I mask = set_int(0x7fffffff);
  I top = set_int(0);
  for (int64_t i = 0; i < k; i += kLanes) top = max_int(bit_and(as_int(load(x + i, k - i)), mask), top);
  return maximum_int(top);
}

}  // namespace halftone::kernels::HALFTONE_ISA_NAMESPACE
