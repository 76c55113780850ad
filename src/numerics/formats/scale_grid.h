// Which elements of a matrix share a scale. Every granularity is a block size; the grid of blocks is the one map from
// an element to its scale.
//
//   tensor        [rows, columns]  one scale
//   row           [1, columns]     weights [N, K]: an output channel
//   channel       [rows, 1]        activations [T, C]: a channel
//   group:G       [1, G]           G elements along a row; the last group of a row may be short
//   block:RxC     [R, C]           1x128, 32x32, 128x128, or 32x1 for groups down a column; short at the edges
//   token         [1, columns]     activations [T, C]: a token
//   token-head:D  [1, D]           [T, H * D]: a head of a token; D must divide the columns
//
// Scale index = block row * grid_columns + block column. Where R = C, transposing a matrix only transposes the grid.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace halftone {

enum class ScaleSharing : uint8_t { Tensor, Row, Channel, Group, Block, Token, TokenHead };

/// A granularity with its sizes, not yet tied to a matrix.
struct ScaleGranularity {
  ScaleSharing sharing = ScaleSharing::Tensor;
  int64_t block_rows = 1;     ///< Block
  int64_t block_columns = 1;  ///< Group, Block and TokenHead
  bool operator==(const ScaleGranularity&) const = default;
};

/// "tensor", "row", "channel", "group:128", "block:32x32", "token", "token-head:64".
std::string to_string(const ScaleGranularity& layout);
/// Inverse of to_string; throws InvalidArgument showing the accepted forms.
ScaleGranularity parse_scale_granularity(std::string_view text);

/// Rows first_row .. end_row - 1 and columns first_column .. end_column - 1.
struct MatrixWindow {
  int64_t first_row, end_row, first_column, end_column;
};

/// The blocks of a matrix [rows, columns].
class ScaleGrid {
 public:
  /// Throws InvalidArgument naming the size that does not fit: sizes below 1, a head dimension that does not divide the
  /// columns, or a matrix of more than 2^62 elements.
  ScaleGrid(const ScaleGranularity& layout, int64_t rows, int64_t columns);

  int64_t rows() const { return rows_; }
  int64_t columns() const { return columns_; }
  int64_t block_rows() const { return block_rows_; }
  int64_t block_columns() const { return block_columns_; }
  int64_t grid_rows() const { return (rows_ + block_rows_ - 1) / block_rows_; }
  int64_t grid_columns() const { return (columns_ + block_columns_ - 1) / block_columns_; }
  int64_t count() const { return grid_rows() * grid_columns(); }
  int64_t index(int64_t row, int64_t column) const {
    return row / block_rows_ * grid_columns() + column / block_columns_;
  }
  /// The elements of scale `index`; its size is smaller than a block at the matrix's edges.
  MatrixWindow window(int64_t index) const;

 private:
  int64_t rows_, columns_, block_rows_, block_columns_;
};

}  // namespace halftone
