// AVX-512 vectors of the GEMM: 16 floats in one register, decoders of stored weights, and int8 dot-product steps.
//
// Four- and two-bit codes become floats by looking them up in a 16-entry table of one register, built once a group:
// the entries are the products (code - zero) * scale themselves, so the values are those of the arithmetic. VPERMPS
// reads four bits of its index, so codes need a shift but no mask; for two-bit codes the table repeats every 4 entries.
//
// VPDPBUSD multiplies unsigned by signed bytes: activations are moved up by 128, and 128 * (sum of weights), gathered
// by the same instruction once for all activations of a block, is taken off again.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"  // g++ 12 reports its own _mm512_undefined_*, GCC bug 105593
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop

#include "kernels/cpu/gemm/gemm_task.h"

namespace halftone::kernels::avx512 {

constexpr int kTokens = 4;       // rows of x in a block of outputs
constexpr int kRows = 4;         // rows of w in a block of outputs
constexpr int kGroupedRows = 2;  // the same where each output also has a float accumulator

struct F32x16 {
  __m512 v;

  static F32x16 zero() { return {_mm512_setzero_ps()}; }
  static F32x16 load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static F32x16 load_partial(const float* p, int64_t count) { return {_mm512_maskz_loadu_ps(first(count), p)}; }
  static __mmask16 first(int64_t count) { return static_cast<__mmask16>((1u << count) - 1); }  // count < 16
  void store(float* p) const { _mm512_storeu_ps(p, v); }
  F32x16 keep(int64_t count) const { return {_mm512_maskz_mov_ps(first(count), v)}; }
};

inline F32x16 fma(F32x16 a, F32x16 b, F32x16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }

/// The sums of four vectors, each by the tree l+8, l+4, l+2, l+1 over its lanes l.
inline void sum4(const F32x16* a, float* out) {
  const __m512 ab =
      _mm512_add_ps(_mm512_shuffle_f32x4(a[0].v, a[1].v, 0x44), _mm512_shuffle_f32x4(a[0].v, a[1].v, 0xee));
  const __m512 cd =
      _mm512_add_ps(_mm512_shuffle_f32x4(a[2].v, a[3].v, 0x44), _mm512_shuffle_f32x4(a[2].v, a[3].v, 0xee));
  __m512 s = _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
  s = _mm512_add_ps(s, _mm512_permute_ps(s, 0x4e));
  s = _mm512_add_ps(s, _mm512_permute_ps(s, 0xb1));
  _mm_storeu_ps(out, _mm512_castps512_ps128(_mm512_maskz_compress_ps(0x1111, s)));
}

/// What turns the codes of a group into values: (code - zero) * factor * scale.
struct Affine {
  float zero, factor, scale;
};

/// Decoders give 16 values of a row: elements k + 16 i of a unit that starts at k, `left` of them inside the row.
/// kUnit is the largest multiple that k is known to have, of 16, 32 and 64.
template <ElementType kType>
struct Decoder;

template <>
struct Decoder<ElementType::Float32> {
  Decoder() = default;
  explicit Decoder(const Affine&) {}
  template <int kUnit>
  F32x16 get(const uint8_t* row, int64_t k, int i, int64_t left) const {
    const float* p = reinterpret_cast<const float*>(row) + k + 16 * i;
    return left >= 16 ? F32x16::load(p) : F32x16::load_partial(p, left);
  }
};

inline __m256i load_u16(const uint8_t* row, int64_t k, int64_t left) {
  const uint8_t* p = row + 2 * k;
  return left >= 16 ? _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))
                    : _mm256_maskz_loadu_epi16(F32x16::first(left), p);
}

template <>
struct Decoder<ElementType::Float16> {
  Decoder() = default;
  explicit Decoder(const Affine&) {}
  template <int kUnit>
  F32x16 get(const uint8_t* row, int64_t k, int i, int64_t left) const {
    return {_mm512_cvtph_ps(load_u16(row, k + 16 * i, left))};
  }
};

template <>
struct Decoder<ElementType::BFloat16> {
  Decoder() = default;
  explicit Decoder(const Affine&) {}
  template <int kUnit>
  F32x16 get(const uint8_t* row, int64_t k, int i, int64_t left) const {
    const __m512i wide = _mm512_cvtepu16_epi32(load_u16(row, k + 16 * i, left));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
  }
};

template <>
struct Decoder<ElementType::Int8> {
  Decoder() = default;
  explicit Decoder(const Affine& a) : zero(_mm512_set1_ps(a.zero)), scale(_mm512_set1_ps(a.scale)) {}
  template <int kUnit>
  F32x16 get(const uint8_t* row, int64_t k, int i, int64_t left) const {
    const uint8_t* p = row + k + 16 * i;
    const __m128i codes = left >= 16 ? _mm_loadu_si128(reinterpret_cast<const __m128i*>(p))
                                     : _mm_maskz_loadu_epi8(F32x16::first(left), p);
    const __m512 value = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(codes));
    return {_mm512_mul_ps(_mm512_sub_ps(value, zero), scale)};
  }
  __m512 zero, scale;
};

inline __m512 code_table(const Affine& a, int mask) {
  const __m512i iota = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512 code = _mm512_cvtepi32_ps(_mm512_and_si512(iota, _mm512_set1_epi32(mask)));
  const __m512 whole = _mm512_mul_ps(_mm512_sub_ps(code, _mm512_set1_ps(a.zero)), _mm512_set1_ps(a.factor));
  return _mm512_mul_ps(whole, _mm512_set1_ps(a.scale));
}

inline __m512i widen_bytes(const uint8_t* p) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

template <>
struct Decoder<ElementType::Int4> {
  Decoder() = default;
  explicit Decoder(const Affine& a) : table(code_table(a, 15)) {}
  template <int kUnit>
  F32x16 get(const uint8_t* row, int64_t k, int i, int64_t) const {
    const int part = kUnit == 64 ? i : static_cast<int>(k / 16 + i) & 3;
    const __m512i bytes = widen_bytes(row + k / 64 * 32 + (part & 1) * 16);
    return {_mm512_permutexvar_ps(_mm512_srl_epi32(bytes, _mm_cvtsi32_si128(part / 2 * 4)), table)};
  }
  __m512 table;
};

template <>
struct Decoder<ElementType::Int2> {
  Decoder() = default;
  explicit Decoder(const Affine& a) : table(code_table(a, 3)) {}
  template <int kUnit>
  F32x16 get(const uint8_t* row, int64_t k, int i, int64_t) const {
    const int part = kUnit == 64 ? i : static_cast<int>(k / 16 + i) & 3;
    const __m512i bytes = widen_bytes(row + k / 64 * 16);
    return {_mm512_permutexvar_ps(_mm512_srl_epi32(bytes, _mm_cvtsi32_si128(part * 2)), table)};
  }
  __m512 table;
};

/// Dot-product steps: kStep int8 products into int32 lanes. `get` gives the weights (code - zero) * factor of the step
/// that starts at k; `left` counts the readable elements from there.
struct Step64 {
  static constexpr int kStep = 64;
  static constexpr bool kBiased = true;
  using X = __m512i;
  using W = __m512i;
  using Sum = __m512i;
  using Real = __m512;

  struct Offsets {
    Offsets() = default;
    Offsets(int zero, int factor)
        : multiply(_mm512_set1_epi16(static_cast<short>(factor))),
          subtract(_mm512_set1_epi8(static_cast<char>(zero * factor))) {}
    __m512i multiply, subtract;
  };

  static X load_x(const int8_t* p) { return _mm512_xor_si512(_mm512_loadu_si512(p), _mm512_set1_epi8(-128)); }
  static Sum zero() { return _mm512_setzero_si512(); }
  static Real real_zero() { return _mm512_setzero_ps(); }
  static Sum dot(Sum s, X x, W w) { return _mm512_dpbusd_epi32(s, x, w); }
  static Sum bias(Sum s, W w) { return _mm512_dpbusd_epi32(s, _mm512_set1_epi8(-128), w); }
  static Sum subtract(Sum a, Sum b) { return _mm512_sub_epi32(a, b); }
  static Real fold(Sum s, float scale, Real r) {
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(s), _mm512_set1_ps(scale), r);
  }
  static void store(W w, int8_t* p) { _mm512_storeu_si512(p, w); }

  template <ElementType kType, bool kFactor>
  static W get(const uint8_t* row, int64_t k, int64_t left, const Offsets& o) {
    if constexpr (kType == ElementType::Int8) {
      const uint8_t* p = row + k;
      return left >= 64 ? _mm512_loadu_si512(p) : _mm512_maskz_loadu_epi8((1ull << left) - 1, p);
    } else {
      __m512i codes;
      if constexpr (kType == ElementType::Int4) {
        const __m512i twice = _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(row + k / 2)));
        const __m512i shifts = _mm512_setr_epi64(0, 0, 0, 0, 4, 4, 4, 4);
        codes = _mm512_and_si512(_mm512_srlv_epi64(twice, shifts), _mm512_set1_epi8(15));
      } else {
        const __m512i four = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(row + k / 4)));
        const __m512i shifts = _mm512_setr_epi64(0, 0, 2, 2, 4, 4, 6, 6);
        codes = _mm512_and_si512(_mm512_srlv_epi64(four, shifts), _mm512_set1_epi8(3));
      }
      // Code * factor stays below 256, so 16-bit products never carry from one byte into the next (QoQ's
      // multiply-before-subtract), and the difference is right modulo 256.
      if constexpr (kFactor) codes = _mm512_mullo_epi16(codes, o.multiply);
      return _mm512_sub_epi8(codes, o.subtract);
    }
  }

  static void sum4(const Sum* a, int32_t* out) {
    const __m512i ab = _mm512_add_epi32(_mm512_shuffle_i32x4(a[0], a[1], 0x44), _mm512_shuffle_i32x4(a[0], a[1], 0xee));
    const __m512i cd = _mm512_add_epi32(_mm512_shuffle_i32x4(a[2], a[3], 0x44), _mm512_shuffle_i32x4(a[2], a[3], 0xee));
    __m512i s = _mm512_add_epi32(_mm512_shuffle_i32x4(ab, cd, 0x88), _mm512_shuffle_i32x4(ab, cd, 0xdd));
    s = _mm512_add_epi32(s, _mm512_shuffle_epi32(s, _MM_PERM_BADC));
    s = _mm512_add_epi32(s, _mm512_shuffle_epi32(s, _MM_PERM_CDAB));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm512_castsi512_si128(_mm512_maskz_compress_epi32(0x1111, s)));
  }
  static void sum4(const Real* a, float* out) {
    const F32x16 wide[4] = {{a[0]}, {a[1]}, {a[2]}, {a[3]}};
    avx512::sum4(wide, out);
  }
};

/// Half a Step64, for groups of 32.
struct Step32 {
  static constexpr int kStep = 32;
  static constexpr bool kBiased = true;
  using X = __m256i;
  using W = __m256i;
  using Sum = __m256i;
  using Real = __m256;

  struct Offsets {
    Offsets() = default;
    Offsets(int zero, int factor)
        : multiply(_mm256_set1_epi16(static_cast<short>(factor))),
          subtract(_mm256_set1_epi8(static_cast<char>(zero * factor))) {}
    __m256i multiply, subtract;
  };

  static X load_x(const int8_t* p) {
    return _mm256_xor_si256(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), _mm256_set1_epi8(-128));
  }
  static Sum zero() { return _mm256_setzero_si256(); }
  static Real real_zero() { return _mm256_setzero_ps(); }
  static Sum dot(Sum s, X x, W w) { return _mm256_dpbusd_epi32(s, x, w); }
  static Sum bias(Sum s, W w) { return _mm256_dpbusd_epi32(s, _mm256_set1_epi8(-128), w); }
  static Sum subtract(Sum a, Sum b) { return _mm256_sub_epi32(a, b); }
  static Real fold(Sum s, float scale, Real r) {
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(s), _mm256_set1_ps(scale), r);
  }
  static void store(W w, int8_t* p) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), w); }

  template <ElementType kType, bool kFactor>
  static W get(const uint8_t* row, int64_t k, int64_t left, const Offsets& o) {
    if constexpr (kType == ElementType::Int8) {
      const uint8_t* p = row + k;
      return left >= 32 ? _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))
                        : _mm256_maskz_loadu_epi8((1u << left) - 1, p);
    } else {
      __m256i codes;
      const int half = static_cast<int>(k / 32) & 1;
      if constexpr (kType == ElementType::Int4) {
        const __m256i both = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(row + k / 64 * 32));
        codes = _mm256_and_si256(_mm256_srl_epi16(both, _mm_cvtsi32_si128(4 * half)), _mm256_set1_epi8(15));
      } else {
        const __m128i all = _mm_loadu_si128(reinterpret_cast<const __m128i*>(row + k / 64 * 16));
        const __m128i low = _mm_srl_epi16(all, _mm_cvtsi32_si128(4 * half));
        codes = _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(low, 2), low), _mm256_set1_epi8(3));
      }
      if constexpr (kFactor) codes = _mm256_mullo_epi16(codes, o.multiply);
      return _mm256_sub_epi8(codes, o.subtract);
    }
  }

  static void sum4(const Sum* a, int32_t* out) {
    const __m256i s = _mm256_hadd_epi32(_mm256_hadd_epi32(a[0], a[1]), _mm256_hadd_epi32(a[2], a[3]));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out),
                     _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1)));
  }
  static void sum4(const Real* a, float* out) {
    const __m256 s = _mm256_hadd_ps(_mm256_hadd_ps(a[0], a[1]), _mm256_hadd_ps(a[2], a[3]));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1)));
  }
};

using WideStep = Step64;

}  // namespace halftone::kernels::avx512
