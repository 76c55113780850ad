// Codes of few bits as bit planes: bit b of 64 consecutive codes of a row is one 64-bit word, its lowest bit the first
// code's, so that a product of codes becomes ands and counts of bits (ABQ-LLM, arXiv:2408.08554: sum of 2^(i+j)
// popcount(W_i & X_j)). Codes past K are 0.
//
//   weights      [tiles of 8 rows][words of 64 codes][bits][8]: a 64-byte line is one plane of eight rows
//   activations  [rows][bits][words]
#pragma once

#include <cstdint>

namespace halftone {

inline constexpr int64_t kPlaneRows = 8;    ///< weight rows of a tile
inline constexpr int64_t kPlaneCodes = 64;  ///< codes of a word

enum class PlaneOrder : uint8_t { Weights, Activations };

/// Where the words of a [rows, k] matrix of `bits`-bit codes (1..8) lie.
struct BitPlanes {
  PlaneOrder order = PlaneOrder::Weights;
  int bits = 1;
  int64_t rows = 0;
  int64_t k = 0;

  constexpr int64_t words() const { return (k + kPlaneCodes - 1) / kPlaneCodes; }  ///< of a row's plane
  constexpr int64_t tiles() const { return (rows + kPlaneRows - 1) / kPlaneRows; }
  /// Words of the whole matrix, rows past the last of a tile of weights included.
  constexpr int64_t size() const {
    return (order == PlaneOrder::Weights ? tiles() * kPlaneRows : rows) * bits * words();
  }
  constexpr int64_t index(int64_t row, int64_t word, int plane) const {
    if (order == PlaneOrder::Activations) return (row * bits + plane) * words() + word;
    return ((row / kPlaneRows * words() + word) * bits + plane) * kPlaneRows + row % kPlaneRows;
  }
};

/// codes [rows, k], each below 2^bits, to planes.size() words. Throws InvalidArgument for a larger code or for bits
/// outside 1..8.
void pack_bit_planes(const BitPlanes& planes, const uint8_t* codes, uint64_t* words);
/// The exact inverse.
void unpack_bit_planes(const BitPlanes& planes, const uint64_t* words, uint8_t* codes);
/// Sums of the codes of each `group` along k (0: of a row), [rows, groups].
void sum_codes(int64_t rows, int64_t k, int64_t group, const uint8_t* codes, int32_t* sums);

/// One value a row and group, [rows, groups], as the kernels read those of weights: [tiles][groups][8], T{} past the
/// last row.
template <class T>
void tile_plane_values(int64_t rows, int64_t groups, const T* values, T* tiled) {
  for (int64_t tile = 0; tile * kPlaneRows < rows; ++tile)
    for (int64_t g = 0; g < groups; ++g)
      for (int64_t row = tile * kPlaneRows; row < (tile + 1) * kPlaneRows; ++row)
        *tiled++ = row < rows ? values[row * groups + g] : T{};
}

}  // namespace halftone
