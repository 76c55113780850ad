// AMX tile instructions with register numbers as template arguments (Intel SDM, volume 1, chapter 18); for _amx.cpp
// files.
//
// A tile register holds up to 16 rows of 64 bytes. A product takes `rows` of its first operand (tokens, say) against
// columns of its second, whose line p holds elements 4p .. 4p+3 (bytes) or 2p, 2p+1 (bf16) of up to 16 columns. Its
// time grows with the rows of the first operand, not with the depth.
//
// Assembly rather than the compiler's intrinsics: those take literal register numbers only, and g++ 12's do not say
// that they touch memory.
#pragma once

#include <cstdint>

namespace halftone::kernels::amx {

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t column_bytes[16] = {};
  uint8_t rows[16] = {};

  void set(int tile, int row_count, int bytes) {
    rows[tile] = static_cast<uint8_t>(row_count);
    column_bytes[tile] = static_cast<uint16_t>(bytes);
  }
  /// Not _tile_loadconfig: g++ 12 believes that it reads eight bytes only, and drops the other stores.
  void load() const { __asm__ volatile("ldtilecfg %0" : : "m"(*this) : "memory"); }
};

static inline void tile_release() { __asm__ volatile("tilerelease"); }

template <int kTile>
[[gnu::always_inline]] static inline void tile_zero() {
  __asm__ volatile("tilezero %%tmm%c0" : : "i"(kTile));
}
/// Rows `stride` bytes apart.
template <int kTile>
[[gnu::always_inline]] static inline void tile_load(const void* base, int64_t stride) {
  __asm__ volatile("tileloadd (%1,%2,1), %%tmm%c0" : : "i"(kTile), "r"(base), "r"(stride) : "memory");
}
/// The same for rows that the first-level cache need not keep.
template <int kTile>
[[gnu::always_inline]] static inline void tile_load_streamed(const void* base, int64_t stride) {
  __asm__ volatile("tileloaddt1 (%1,%2,1), %%tmm%c0" : : "i"(kTile), "r"(base), "r"(stride) : "memory");
}
template <int kTile>
[[gnu::always_inline]] static inline void tile_store(void* base, int64_t stride) {
  __asm__ volatile("tilestored %%tmm%c0, (%1,%2,1)" : : "i"(kTile), "r"(base), "r"(stride) : "memory");
}
/// kSum += kLeft * kRight, signed bytes into int32.
template <int kSum, int kLeft, int kRight>
[[gnu::always_inline]] static inline void tile_dot() {
  __asm__ volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kLeft), "i"(kRight));
}
/// kSum += kLeft * kRight, bf16 into f32: denormals count as zero, sums round to nearest even.
template <int kSum, int kLeft, int kRight>
[[gnu::always_inline]] static inline void tile_dot_bf16() {
  __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kLeft), "i"(kRight));
}

}  // namespace halftone::kernels::amx
