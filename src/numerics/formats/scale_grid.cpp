// Granularities by name and as grids; see scale_grid.h.
#include "numerics/formats/scale_grid.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/error.h"

namespace halftone {
namespace {

constexpr const char* kForms = "tensor, row, channel, group:N, block:RxC, token, token-head:N";

std::optional<int64_t> parse_size(std::string_view text) {
  int64_t size = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), size);
  if (error != std::errc() || end != text.data() + text.size() || size < 1) return std::nullopt;
  return size;
}

std::optional<ScaleGranularity> parse_sized(std::string_view name, std::string_view sizes) {
  if (name == "block") {
    const size_t cross = sizes.find('x');
    if (cross == std::string_view::npos) return std::nullopt;
    const auto rows = parse_size(sizes.substr(0, cross)), columns = parse_size(sizes.substr(cross + 1));
    if (!rows || !columns) return std::nullopt;
    return ScaleGranularity{ScaleSharing::Block, *rows, *columns};
  }
  const auto size = parse_size(sizes);
  if (!size || (name != "group" && name != "token-head")) return std::nullopt;
  return ScaleGranularity{name == "group" ? ScaleSharing::Group : ScaleSharing::TokenHead, 1, *size};
}

std::optional<ScaleGranularity> parse_unsized(std::string_view name) {
  for (const auto sharing : {ScaleSharing::Tensor, ScaleSharing::Row, ScaleSharing::Channel, ScaleSharing::Token})
    if (to_string(ScaleGranularity{sharing}) == name) return ScaleGranularity{sharing};
  return std::nullopt;
}

}  // namespace

std::string to_string(const ScaleGranularity& layout) {
  switch (layout.sharing) {
    case ScaleSharing::Tensor:
      return "tensor";
    case ScaleSharing::Row:
      return "row";
    case ScaleSharing::Channel:
      return "channel";
    case ScaleSharing::Group:
      return fmt::format("group:{}", layout.block_columns);
    case ScaleSharing::Block:
      return fmt::format("block:{}x{}", layout.block_rows, layout.block_columns);
    case ScaleSharing::Token:
      return "token";
    case ScaleSharing::TokenHead:
      return fmt::format("token-head:{}", layout.block_columns);
  }
  return "?";
}

ScaleGranularity parse_scale_granularity(std::string_view text) {
  const size_t colon = text.find(':');
  const auto layout = colon == std::string_view::npos ? parse_unsized(text)
                                                      : parse_sized(text.substr(0, colon), text.substr(colon + 1));
  if (!layout) throw InvalidArgument("granularity '{}' is not one of {}, with sizes of at least 1", text, kForms);
  return *layout;
}

ScaleGrid::ScaleGrid(const ScaleGranularity& layout, int64_t rows, int64_t columns)
    : rows_(rows), columns_(columns), block_rows_(1), block_columns_(1) {
  constexpr int64_t kMaxElements = int64_t{1} << 62;
  if (rows < 1 || columns < 1 || rows > kMaxElements / columns)
    throw InvalidArgument("a matrix of {} x {} cannot be quantised; it needs 1 to 2^62 elements", rows, columns);
  if (layout.block_rows < 1 || layout.block_columns < 1)
    throw InvalidArgument("a block of {} x {} elements is empty; sizes of '{}' must be at least 1", layout.block_rows,
                          layout.block_columns, to_string(layout));
  switch (layout.sharing) {
    case ScaleSharing::Tensor:
      block_rows_ = rows;
      block_columns_ = columns;
      break;
    case ScaleSharing::Channel:
      block_rows_ = rows;
      break;
    case ScaleSharing::Row:
    case ScaleSharing::Token:
      block_columns_ = columns;
      break;
    case ScaleSharing::Block:
      block_rows_ = std::min(layout.block_rows, rows);
      block_columns_ = std::min(layout.block_columns, columns);
      break;
    case ScaleSharing::TokenHead:
      if (columns % layout.block_columns != 0)
        throw InvalidArgument("heads of {} numbers do not divide rows of {}; take the head dimension of the tensor",
                              layout.block_columns, columns);
      block_columns_ = layout.block_columns;
      break;
    case ScaleSharing::Group:
      block_columns_ = std::min(layout.block_columns, columns);
      break;
  }
}

MatrixWindow ScaleGrid::window(int64_t index) const {
  const int64_t row = index / grid_columns() * block_rows_, column = index % grid_columns() * block_columns_;
  return {row, std::min(row + block_rows_, rows_), column, std::min(column + block_columns_, columns_)};
}

}  // namespace halftone
