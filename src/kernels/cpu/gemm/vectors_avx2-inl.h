// AVX2 vectors of the GEMM: 16 floats in two registers, so that sums run in the order of the AVX-512 ones, decoders of
// stored weights, and int8 dot-product steps on 16-bit products (VPMADDUBSW would saturate).
#include <immintrin.h>

#include "kernels/cpu/gemm/gemm_task.h"

namespace halftone::kernels::avx2 {

constexpr int kTokens = 2;       // rows of x in a block of outputs
constexpr int kRows = 2;         // rows of w in a block of outputs
constexpr int kGroupedRows = 2;  // the same where each output also has a float accumulator

/// The first `count` elements of p, then zeros.
template <class T, int kCount>
struct Partial {
  Partial(const T* p, int64_t count) {
    for (int i = 0; i < kCount; ++i) values[i] = i < count ? p[i] : T{};
  }
  alignas(32) T values[kCount];
};

struct F32x16 {
  __m256 lo, hi;

  static F32x16 zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static F32x16 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static F32x16 load_partial(const float* p, int64_t count) { return load(Partial<float, 16>(p, count).values); }
  void store(float* p) const {
    _mm256_storeu_ps(p, lo);
    _mm256_storeu_ps(p + 8, hi);
  }
  F32x16 keep(int64_t count) const {
    float all[16];
    store(all);
    return load_partial(all, count);
  }
};

inline F32x16 fma(F32x16 a, F32x16 b, F32x16 c) {
  return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}

/// The sums of four vectors, each by the tree l+8, l+4, l+2, l+1 over its lanes l.
inline void sum4(const F32x16* a, float* out) {
  __m128 v[4];
  for (int i = 0; i < 4; ++i) {
    const __m256 s = _mm256_add_ps(a[i].lo, a[i].hi);
    v[i] = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
  }
  const __m128 ab = _mm_add_ps(_mm_unpacklo_ps(v[0], v[1]), _mm_unpackhi_ps(v[0], v[1]));
  const __m128 cd = _mm_add_ps(_mm_unpacklo_ps(v[2], v[3]), _mm_unpackhi_ps(v[2], v[3]));
  _mm_storeu_ps(out, _mm_add_ps(_mm_movelh_ps(ab, cd), _mm_movehl_ps(cd, ab)));
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
  const uint16_t* p = reinterpret_cast<const uint16_t*>(row) + k;
  if (left >= 16) return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  const Partial<uint16_t, 16> part(p, left);
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(part.values));
}

template <>
struct Decoder<ElementType::Float16> {
  Decoder() = default;
  explicit Decoder(const Affine&) {}
  template <int kUnit>
  F32x16 get(const uint8_t* row, int64_t k, int i, int64_t left) const {
    const __m256i bits = load_u16(row, k + 16 * i, left);
    return {_mm256_cvtph_ps(_mm256_castsi256_si128(bits)), _mm256_cvtph_ps(_mm256_extracti128_si256(bits, 1))};
  }
};

template <>
struct Decoder<ElementType::BFloat16> {
  Decoder() = default;
  explicit Decoder(const Affine&) {}
  template <int kUnit>
  F32x16 get(const uint8_t* row, int64_t k, int i, int64_t left) const {
    const __m256i bits = load_u16(row, k + 16 * i, left);
    return {widen(_mm256_castsi256_si128(bits)), widen(_mm256_extracti128_si256(bits, 1))};
  }
  static __m256 widen(__m128i bits) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16)); }
};

/// Codes (one a 32-bit lane) to (code - zero) * factor * scale; the part before the scale is exact.
struct AffineDecoder {
  AffineDecoder() = default;
  explicit AffineDecoder(const Affine& a)
      : factor(_mm256_set1_ps(a.factor)), offset(_mm256_set1_ps(a.zero * a.factor)), scale(_mm256_set1_ps(a.scale)) {}
  __m256 value(__m256i code) const {
    return _mm256_mul_ps(_mm256_fmsub_ps(_mm256_cvtepi32_ps(code), factor, offset), scale);
  }
  __m256 factor, offset, scale;
};

template <>
struct Decoder<ElementType::Int8> : AffineDecoder {
  using AffineDecoder::AffineDecoder;
  template <int kUnit>
  F32x16 get(const uint8_t* row, int64_t k, int i, int64_t left) const {
    const uint8_t* p = row + k + 16 * i;
    if (left >= 16) return both(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    const Partial<uint8_t, 16> part(p, left);
    return both(_mm_load_si128(reinterpret_cast<const __m128i*>(part.values)));
  }
  F32x16 both(__m128i codes) const {
    return {value(_mm256_cvtepi8_epi32(codes)), value(_mm256_cvtepi8_epi32(_mm_srli_si128(codes, 8)))};
  }
};

/// Four- and two-bit codes: 16 bytes that hold them, moved right by `shift` bits.
template <int kMask>
struct SubByteDecoder : AffineDecoder {
  using AffineDecoder::AffineDecoder;
  F32x16 both(const uint8_t* p, int shift) const {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    const __m128i codes = _mm_and_si128(_mm_srl_epi16(bytes, _mm_cvtsi32_si128(shift)), _mm_set1_epi8(kMask));
    return {value(_mm256_cvtepu8_epi32(codes)), value(_mm256_cvtepu8_epi32(_mm_srli_si128(codes, 8)))};
  }
};

template <>
struct Decoder<ElementType::Int4> : SubByteDecoder<15> {
  using SubByteDecoder::SubByteDecoder;
  template <int kUnit>
  F32x16 get(const uint8_t* row, int64_t k, int i, int64_t) const {
    const int part = kUnit == 64 ? i : static_cast<int>(k / 16 + i) & 3;
    return both(row + k / 64 * 32 + (part & 1) * 16, part / 2 * 4);
  }
};

template <>
struct Decoder<ElementType::Int2> : SubByteDecoder<3> {
  using SubByteDecoder::SubByteDecoder;
  template <int kUnit>
  F32x16 get(const uint8_t* row, int64_t k, int i, int64_t) const {
    const int part = kUnit == 64 ? i : static_cast<int>(k / 16 + i) & 3;
    return both(row + k / 64 * 16, part * 2);
  }
};

/// Dot-product step: 32 int8 products into int32 lanes. `get` gives the weights (code - zero) * factor of the step that
/// starts at k; `left` counts the readable elements from there.
struct Step32 {
  static constexpr int kStep = 32;
  static constexpr bool kBiased = false;
  struct Wide {
    __m256i lo, hi;  // 16 values of 16 bits each
  };
  using X = Wide;
  using W = Wide;
  using Sum = __m256i;
  using Real = __m256;

  struct Offsets {
    Offsets() = default;
    Offsets(int zero, int factor)
        : multiply(_mm256_set1_epi16(static_cast<short>(factor))),
          subtract(_mm256_set1_epi8(static_cast<char>(zero * factor))) {}
    __m256i multiply, subtract;
  };

  static Wide widen(__m256i bytes) {
    return {_mm256_cvtepi8_epi16(_mm256_castsi256_si128(bytes)),
            _mm256_cvtepi8_epi16(_mm256_extracti128_si256(bytes, 1))};
  }
  static X load_x(const int8_t* p) { return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
  static Sum zero() { return _mm256_setzero_si256(); }
  static Real real_zero() { return _mm256_setzero_ps(); }
  static Sum dot(Sum s, X x, W w) {
    return _mm256_add_epi32(s, _mm256_add_epi32(_mm256_madd_epi16(x.lo, w.lo), _mm256_madd_epi16(x.hi, w.hi)));
  }
  static Sum bias(Sum s, W) { return s; }
  static Sum subtract(Sum a, Sum b) { return _mm256_sub_epi32(a, b); }
  static Real fold(Sum s, float scale, Real r) {
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(s), _mm256_set1_ps(scale), r);
  }
  static void store(W w, int8_t* p) {
    const __m256i mixed = _mm256_packs_epi16(w.lo, w.hi);  // by 128-bit halves; exact, the values are int8
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permute4x64_epi64(mixed, 0xd8));
  }

  template <ElementType kType, bool kFactor>
  static W get(const uint8_t* row, int64_t k, int64_t left, const Offsets& o) {
    if constexpr (kType == ElementType::Int8) {
      const uint8_t* p = row + k;
      if (left >= 32) return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
      const Partial<uint8_t, 32> part(p, left);
      return widen(_mm256_load_si256(reinterpret_cast<const __m256i*>(part.values)));
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
      // Code * factor stays below 256, so 16-bit products never carry from one byte into the next (QoQ's
      // multiply-before-subtract), and the difference is right modulo 256.
      if constexpr (kFactor) codes = _mm256_mullo_epi16(codes, o.multiply);
      return widen(_mm256_sub_epi8(codes, o.subtract));
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

using WideStep = Step32;

}  // namespace halftone::kernels::avx2
