// The bit-plane GEMM: a lane is a weight row, 64 of its codes' bits at a time; the activations' word is the same for
// all lanes. Bits are counted by VPOPCNTDQ, or by byte shuffles that look up the counts of both halves of a byte
// (Mula, Kurz, Lemire, The Computer Journal 61(1), 2018) and stay in bytes for kStepWords words.
#pragma once

#include "kernels/cpu/bit_plane/bit_plane_task.h"
#include "kernels/cpu/simd-inl.h"
#include "kernels/cpu/unrolled-inl.h"

namespace halftone::kernels::HALFTONE_ISA_NAMESPACE {

inline constexpr int kTile = 8;             ///< weight rows
inline constexpr int kParts = 16 / kLanes;  ///< vectors of a tile
inline constexpr int kStepWords = 16;  ///< counts of a byte stay below 16 * 8; a tile's lines of a step fit level 1

#if defined(__AVX512F__)

static inline I load_line(const uint64_t* p) { return _mm512_loadu_si512(p); }
static inline I repeat_word(uint64_t word) { return _mm512_set1_epi64(static_cast<int64_t>(word)); }
static inline I add_long(I a, I b) { return _mm512_add_epi64(a, b); }
static inline I shift_long(I a, int bits) { return _mm512_sll_epi64(a, _mm_cvtsi32_si128(bits)); }
static inline __m256i narrow(const I* totals) { return _mm512_cvtepi64_epi32(totals[0]); }

#else

static inline I load_line(const uint64_t* p) { return _mm256_loadu_si256((const __m256i*)p); }
static inline I repeat_word(uint64_t word) { return _mm256_set1_epi64x(static_cast<int64_t>(word)); }
static inline I add_long(I a, I b) { return _mm256_add_epi64(a, b); }
static inline I shift_long(I a, int bits) { return _mm256_sll_epi64(a, _mm_cvtsi32_si128(bits)); }
static inline __m256i narrow(const I* totals) {
  const __m256 mixed = _mm256_shuffle_ps(_mm256_castsi256_ps(totals[0]), _mm256_castsi256_ps(totals[1]), 0x88);
  return _mm256_permute4x64_epi64(_mm256_castps_si256(mixed), 0xd8);
}

#endif

// Counts of set bits: count() of a vector, add_counts() of up to 8 * kStepWords, longs_of() their sums in 64-bit lanes.
#if defined(__AVX512VPOPCNTDQ__)

static inline I count(I a) { return _mm512_popcnt_epi64(a); }
static inline I add_counts(I a, I b) { return _mm512_add_epi64(a, b); }
static inline I longs_of(I counts) { return counts; }

#elif defined(__AVX512F__)

static inline I count(I a) {
  const I table = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
  const I low = _mm512_set1_epi8(15);
  return _mm512_add_epi8(_mm512_shuffle_epi8(table, _mm512_and_si512(a, low)),
                         _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16(a, 4), low)));
}
static inline I add_counts(I a, I b) { return _mm512_add_epi8(a, b); }
static inline I longs_of(I counts) { return _mm512_sad_epu8(counts, _mm512_setzero_si512()); }

#else

static inline I count(I a) {
  const I table = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
  const I low = _mm256_set1_epi8(15);
  return _mm256_add_epi8(_mm256_shuffle_epi8(table, _mm256_and_si256(a, low)),
                         _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(a, 4), low)));
}
static inline I add_counts(I a, I b) { return _mm256_add_epi8(a, b); }
static inline I longs_of(I counts) { return _mm256_sad_epu8(counts, _mm256_setzero_si256()); }

#endif

/// A place in the product: one vector of rows (of a tile's first word, plane 0) and kRows tokens from x on.
struct Place {
  const uint64_t* w;
  const uint64_t* x;
  int64_t x_stride;  ///< words of a token
};

/// Adds 2^(i+j) popcount(W_i & X_j) of the words [begin, end), the planes i in [plane, plane + kPlanes), all j.
template <int kPlanes, int kRows>
static void add_planes(const BitPlaneTask& t, const Place& at, int plane, int64_t begin, int64_t end, I* totals) {
  for (int j = 0; j < t.q; ++j) {
    I counts[kRows * kPlanes];
    unrolled<kRows * kPlanes>([&](int i) HALFTONE_INLINE { counts[i] = set_int(0); });
    const uint64_t* line = at.w + (begin * t.p + plane) * kTile;
    const uint64_t* word = at.x + j * t.words;
    for (int64_t v = begin; v < end; ++v, line += t.p * kTile) {
      I w[kPlanes];
      unrolled<kPlanes>([&](int i) HALFTONE_INLINE { w[i] = load_line(line + i * kTile); });
      unrolled<kRows>([&](int r) HALFTONE_INLINE {
        const I x = repeat_word(word[r * at.x_stride + v]);
        unrolled<kPlanes>([&](int i) HALFTONE_INLINE {
          counts[r * kPlanes + i] = add_counts(counts[r * kPlanes + i], count(bit_and(w[i], x)));
        });
      });
    }
    unrolled<kRows>([&](int r) HALFTONE_INLINE {
      unrolled<kPlanes>([&](int i) HALFTONE_INLINE {
        totals[r] = add_long(totals[r], shift_long(longs_of(counts[r * kPlanes + i]), plane + i + j));
      });
    });
  }
}

template <int kRows>
static void add_all_planes(const BitPlaneTask& t, const Place& at, int64_t begin, int64_t end, I* totals) {
  for (int plane = 0; plane < t.p; plane += 4) {
    switch (t.p - plane) {
      case 1:
        add_planes<1, kRows>(t, at, plane, begin, end, totals);
        break;
      case 2:
        add_planes<2, kRows>(t, at, plane, begin, end, totals);
        break;
      case 3:
        add_planes<3, kRows>(t, at, plane, begin, end, totals);
        break;
      default:
        add_planes<4, kRows>(t, at, plane, begin, end, totals);
    }
  }
}

static inline __m256i first_of_eight(int64_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n < kTile ? static_cast<int>(n) : kTile),
                            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/// The sums of codes less their offsets, times 4, of group g of a tile and one token.
static inline __m256i centred(const BitPlaneTask& t, int64_t tile, int64_t g, int64_t m, __m256i products) {
  const int64_t at = (tile * t.groups + g) * kTile, begin = g * t.group_words * 64;
  const int64_t end = begin + t.group_words * 64 < t.k ? begin + t.group_words * 64 : t.k;
  const int32_t offset = t.x_offsets[m], inputs = t.x_sums[m * t.groups + g];
  const __m256i offsets = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)(t.w_offsets + at)));
  const __m256i sums = _mm256_loadu_si256((const __m256i*)(t.w_sums + at));
  const __m256i by_offset =
      _mm256_mullo_epi32(offsets, _mm256_set1_epi32(static_cast<int32_t>(end - begin) * offset - 2 * inputs));
  const __m256i by_sum = _mm256_mullo_epi32(sums, _mm256_set1_epi32(2 * offset));
  return _mm256_sub_epi32(_mm256_add_epi32(_mm256_slli_epi32(products, 2), by_offset), by_sum);
}

/// Outputs of a tile for tokens [m, m + kRows).
template <int kRows>
static void tile_block(const BitPlaneTask& t, int64_t m, int64_t tile) {
  const uint64_t* w = t.w + tile * t.words * t.p * kTile;
  const int64_t x_stride = t.q * t.words;
  __m256 real[kRows];
  for (int r = 0; r < kRows; ++r) real[r] = _mm256_setzero_ps();
  for (int64_t g = 0; g < t.groups; ++g) {
    const int64_t begin = g * t.group_words, stop = begin + t.group_words;
    const int64_t end = stop < t.words ? stop : t.words;
    I totals[kParts][kRows];
    for (int part = 0; part < kParts; ++part) {
      for (int r = 0; r < kRows; ++r) totals[part][r] = set_int(0);
      const Place at = {w + part * (kTile / kParts), t.x + m * x_stride, x_stride};
      for (int64_t v = begin; v < end; v += kStepWords)
        add_all_planes<kRows>(t, at, v, v + kStepWords < end ? v + kStepWords : end, totals[part]);
    }
    const __m256 scales = _mm256_loadu_ps(t.w_scales + (tile * t.groups + g) * kTile);
    for (int r = 0; r < kRows; ++r) {
      I longs[kParts];
      for (int part = 0; part < kParts; ++part) longs[part] = totals[part][r];
      real[r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(centred(t, tile, g, m + r, narrow(longs))), scales, real[r]);
    }
  }
  const __m256i rows = first_of_eight(t.n - tile * kTile);
  for (int r = 0; r < kRows; ++r) {
    __m256 y = _mm256_mul_ps(real[r], _mm256_set1_ps(t.x_scales[m + r] * 0.25f));
    if (t.bias != nullptr) y = _mm256_add_ps(y, _mm256_maskload_ps(t.bias + tile * kTile, rows));
    _mm256_maskstore_ps(t.y + (m + r) * t.y_stride + tile * kTile, rows, y);
  }
}

void bit_plane(const BitPlaneTask& t, int64_t m0, int64_t m1, int64_t tile0, int64_t tile1) {
  constexpr int kMany = kRegisters == 32 ? 4 : 2;
  for (int64_t tile = tile0; tile < tile1; ++tile) {
    int64_t m = m0;
    for (; m + kMany <= m1; m += kMany) tile_block<kMany>(t, m, tile);
    for (; m < m1; ++m) tile_block<1>(t, m, tile);
  }
}

}  // namespace halftone::kernels::HALFTONE_ISA_NAMESPACE
