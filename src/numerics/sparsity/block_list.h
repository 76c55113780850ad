// Block sparsity: a matrix as a list of dense blocks, row of blocks by row of blocks (BSR).
//
//   row_offsets  [row_blocks + 1]  blocks of block row i are row_offsets[i] .. row_offsets[i + 1] - 1
//   columns      [count]           block column of each block, rising within a block row
//   blocks       [count, block_rows, block_columns]  row-major; elements past the matrix's edge hold zero
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace halftone {

struct BlockShape {
  int64_t rows = 16;
  int64_t columns = 16;

  /// Throws InvalidArgument unless both are at least 1.
  void validate() const;
  int64_t row_blocks(int64_t matrix_rows) const { return (matrix_rows + rows - 1) / rows; }
  int64_t column_blocks(int64_t k) const { return (k + columns - 1) / columns; }
  bool operator==(const BlockShape&) const = default;
};

/// Keeps ceil(density * blocks) blocks, those of the largest mean magnitude (over the elements that exist), the first
/// of equals. Result [row_blocks, column_blocks] of 0 and 1. Throws InvalidArgument for a density outside [0, 1] and
/// NumericError for a NaN, naming its place.
std::vector<uint8_t> magnitude_mask(const BlockShape& shape, int64_t rows, int64_t k, std::span<const float> scores,
                                    double density);

/// A packed matrix. T: float, or codes in uint16_t or uint8_t.
template <class T>
struct BlockList {
  BlockShape shape;
  int64_t rows = 0;
  int64_t k = 0;
  std::vector<int64_t> row_offsets;
  std::vector<int32_t> columns;
  std::vector<T> blocks;

  int64_t count() const { return static_cast<int64_t>(columns.size()); }
  /// Values, 4 bytes a column id, 8 bytes a row offset.
  int64_t bytes(int value_bits = 8 * sizeof(T)) const {
    return (static_cast<int64_t>(blocks.size()) * value_bits + 7) / 8 + 4 * count() +
           8 * static_cast<int64_t>(row_offsets.size());
  }
  /// Throws InvalidArgument naming what is broken: offsets, columns that do not rise or lie outside, sizes, values past
  /// the edge.
  void validate(T zero = {}) const;
};

/// Packs the blocks that `mask` [row_blocks, column_blocks] keeps of `dense` [rows, k].
template <class T>
BlockList<T> pack_blocks(const BlockShape& shape, int64_t rows, int64_t k, std::span<const T> dense,
                         std::span<const uint8_t> mask, T zero = {});

/// The dense matrix [rows, k], `zero` where there is no block. Validates first.
template <class T>
std::vector<T> unpack_blocks(const BlockList<T>& packed, T zero = {});

}  // namespace halftone
