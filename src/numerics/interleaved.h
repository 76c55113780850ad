// The layout of quantised weights that dot-product instructions read without a shuffle: rows in tiles of 16, elements
// in units of 32, so that one 64-byte line gives four consecutive elements of each of 16 rows (a lane a row: no
// horizontal sums), and so that a unit is at once an operand tile of the AMX matrix instructions.
//
// clang-format off
//   tile t holds rows 16t .. 16t+15, unit u elements 32u .. 32u+31; units of a tile follow each other, then the next tile
//
//   type   bytes a unit   byte 64l + 4r + i of a unit, of row r (i = 0..3)
//   Int8   512            element 4l + i, stored as code + 128 (0..255), l = 0..7
//   Int4   256            element 4l + i in the low nibble, element 16 + 4l + i in the high one, l = 0..3
//   Int3   192            the low two bits of codes as Int2, then one line (l = 2) of their high bits: element 4b + i in bit b
//   Int2   128            element 8b + 4l + i in bits 2b and 2b+1, l = 0, 1
//
//   Ternary: three units (the last ones may be missing) share five lines, 320 bytes: 1.67 bits a weight. Three codes
//   make a number c0 + 3 c1 + 9 c2 of five bits, so that one byte permutation gives a code of 64 elements; five codes in
//   a byte would take 4 % less and several instructions more. Byte 4r + i of the lines, element 4q + i of unit p = 0..2:
//     line p, bits 0..4             codes of q = 0, 1, 2 of unit p
//     line p, bits 5..7, then       codes of q = 3, 4, 5 of unit p
//       bit 5+p of lines 3 and 4
//     line 3 and 4, bits 0..4       codes of units 0, 1, 2, of q = 6 and 7
//
//   scales, zeros and other values of groups: [tiles][groups][16]
// clang-format on
// Rows past N and elements past K are zero bytes; what they multiply is zero.
#pragma once

#include <cstdint>

#include "numerics/formats.h"

namespace halftone {

inline constexpr int64_t kTileRows = 16;    ///< weight rows of a tile
inline constexpr int64_t kUnitLength = 32;  ///< elements along K of a unit

constexpr int64_t tiles_of(int64_t n) { return (n + kTileRows - 1) / kTileRows; }
constexpr int64_t units_of(int64_t k) { return (k + kUnitLength - 1) / kUnitLength; }
/// Bytes of one unit of one tile: 512, 256, 192 or 128; not for Ternary, whose units share lines.
constexpr int64_t unit_bytes(ElementType type) { return kTileRows * kUnitLength * bits_of(type) / 8; }
inline constexpr int64_t kTernaryUnits = 3;         ///< units that share lines
inline constexpr int64_t kTernaryBlockBytes = 320;  ///< of those lines
/// Bytes of a tile of `units` units.
constexpr int64_t tile_bytes(ElementType type, int64_t units) {
  if (type == ElementType::Ternary) return (units + kTernaryUnits - 1) / kTernaryUnits * kTernaryBlockBytes;
  return units * unit_bytes(type);
}
constexpr int64_t interleaved_bytes(ElementType type, int64_t n, int64_t k) {
  return tiles_of(n) * tile_bytes(type, units_of(k));
}

/// Rows [N, row_bytes(type, K)] in the layout of formats.h (Int8, Int4, Int3, Int2 or Ternary) to
/// interleaved_bytes(type, N, K) bytes.
void interleave(ElementType type, int64_t n, int64_t k, const uint8_t* rows, uint8_t* interleaved);
/// The exact inverse.
void deinterleave(ElementType type, int64_t n, int64_t k, const uint8_t* interleaved, uint8_t* rows);
/// Row n of it alone, row_bytes(type, K) bytes.
void deinterleave_row(ElementType type, int64_t n, int64_t k, const uint8_t* interleaved, uint8_t* row);

/// The stored code (0..255, 0..15, 0..7, 0..3 or 0..2) of row n, element k.
int interleaved_code(ElementType type, int64_t k_total, const uint8_t* interleaved, int64_t n, int64_t k);

/// Values of groups [N, groups] to [tiles][groups][16]; rows past N become T{}.
template <class T>
void interleave_groups(int64_t n, int64_t groups, const T* rows, T* interleaved) {
  for (int64_t t = 0; t < tiles_of(n); ++t)
    for (int64_t g = 0; g < groups; ++g)
      for (int64_t r = 0; r < kTileRows; ++r) {
        const int64_t row = t * kTileRows + r;
        *interleaved++ = row < n ? rows[row * groups + g] : T{};
      }
}

/// Row n of the inverse: [groups].
template <class T>
void deinterleave_groups_row(int64_t n, int64_t groups, const T* interleaved, T* row) {
  interleaved += n / kTileRows * groups * kTileRows + n % kTileRows;
  for (int64_t g = 0; g < groups; ++g) row[g] = interleaved[g * kTileRows];
}

}  // namespace halftone
