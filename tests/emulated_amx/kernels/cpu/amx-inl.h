// The tile instructions of src/kernels/cpu/amx-inl.h in plain code, for tests of the AMX kernels on other CPUs: this
// file is found before that one. Sums of bf16 products are f32 in the order of K, one rounding a product; the
// processor's own order inside a pair is not promised by its manual, and tests allow for either.
#pragma once

// As in simd-inl.h (GCC bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop

#include <cstdint>
#include <cstring>

namespace halftone::kernels::amx {

struct EmulatedTiles {
  uint8_t data[8][16][64];
  int rows[8], bytes[8];
};
inline thread_local EmulatedTiles emulated_tiles;

struct TileConfig {
  int rows[8] = {}, bytes[8] = {};

  void set(int tile, int row_count, int column_bytes) { rows[tile] = row_count, bytes[tile] = column_bytes; }
  void load() const {
    emulated_tiles = {};
    for (int i = 0; i < 8; ++i) emulated_tiles.rows[i] = rows[i], emulated_tiles.bytes[i] = bytes[i];
  }
};

/// Shapes are forgotten, so that a kernel which does not configure its tiles computes nothing.
static inline void tile_release() { emulated_tiles = {}; }

template <int kTile>
static inline void tile_zero() {
  std::memset(emulated_tiles.data[kTile], 0, sizeof emulated_tiles.data[kTile]);
}
template <int kTile>
static inline void tile_load(const void* base, int64_t stride) {
  EmulatedTiles& t = emulated_tiles;
  tile_zero<kTile>();
  for (int r = 0; r < t.rows[kTile]; ++r)
    std::memcpy(t.data[kTile][r], static_cast<const uint8_t*>(base) + r * stride, static_cast<size_t>(t.bytes[kTile]));
}
template <int kTile>
static inline void tile_load_streamed(const void* base, int64_t stride) {
  tile_load<kTile>(base, stride);
}
template <int kTile>
static inline void tile_store(void* base, int64_t stride) {
  const EmulatedTiles& t = emulated_tiles;
  for (int r = 0; r < t.rows[kTile]; ++r)
    std::memcpy(static_cast<uint8_t*>(base) + r * stride, t.data[kTile][r], static_cast<size_t>(t.bytes[kTile]));
}

/// For every row of the sums and every four bytes of a row of the left operand: add(sums, four, line), with the line of
/// the right operand that they meet.
template <int kSum, int kLeft, int kRight, class Add>
static inline void for_each_four(Add&& add) {
  EmulatedTiles& t = emulated_tiles;
  for (int m = 0; m < t.rows[kSum]; ++m)
    for (int p = 0; p < t.bytes[kLeft] / 4; ++p) {
      int32_t four;
      std::memcpy(&four, t.data[kLeft][m] + 4 * p, 4);
      add(t.data[kSum][m], _mm512_set1_epi32(four), _mm512_loadu_si512(t.data[kRight][p]));
    }
}

template <int kSum, int kLeft, int kRight>
static inline void tile_dot_bf16() {
  const auto floats = [](__m512i bits) { return _mm512_castsi512_ps(bits); };
  const __m512i upper = _mm512_set1_epi32(static_cast<int32_t>(0xffff0000u));
  for_each_four<kSum, kLeft, kRight>([&](uint8_t* row, __m512i x, __m512i y) {
    __m512 sum = floats(_mm512_loadu_si512(row));
    sum = _mm512_fmadd_ps(floats(_mm512_slli_epi32(x, 16)), floats(_mm512_slli_epi32(y, 16)), sum);
    sum = _mm512_fmadd_ps(floats(_mm512_and_si512(x, upper)), floats(_mm512_and_si512(y, upper)), sum);
    _mm512_storeu_ps(row, sum);
  });
}

template <int kSum, int kLeft, int kRight>
static inline void tile_dot() {
  for_each_four<kSum, kLeft, kRight>([](uint8_t* row, __m512i x, __m512i y) {
    __m512i sum = _mm512_loadu_si512(row);
    for (int byte = 0; byte < 4; ++byte) {
      const auto nth = [&](__m512i v) { return _mm512_srai_epi32(_mm512_slli_epi32(v, 24 - 8 * byte), 24); };
      sum = _mm512_add_epi32(sum, _mm512_mullo_epi32(nth(x), nth(y)));
    }
    _mm512_storeu_si512(row, sum);
  });
}

}  // namespace halftone::kernels::amx
