// Matrices as microscaling blocks and back; see micro_block.h.
#include "numerics/formats/micro_block.h"

#include <algorithm>
#include <string>

#include "base/error.h"
#include "numerics/formats/element_array.h"

namespace halftone {
namespace {

template <class Block>
void require_blocks(const MatrixFormat& format) {
  const bool fits = format.layout.sharing == ScaleSharing::Group && format.layout.block_columns == Block::kElements &&
                    format.element.bits == Block::kCodeBits && format.element.dimension == 1 &&
                    !format.element.is_unsigned_integer() && format.scale.inner.bits == 8;
  if (!fits)
    throw InvalidArgument("'{}' does not fit blocks of {} codes of {} bits under a scale of 8; use such a format",
                          to_string(format), Block::kElements, Block::kCodeBits);
}

int64_t blocks_per_row(int64_t columns, int64_t block) { return (columns + block - 1) / block; }

}  // namespace

const MicroFormat* lookup_micro_format(std::string_view name) {
  for (const MicroFormat& format : kMicroFormats)
    if (format.name == name) return &format;
  return nullptr;
}

MatrixFormat micro_matrix_format(std::string_view name) {
  std::string names;
  for (const MicroFormat& format : kMicroFormats) {
    if (format.name == name) return micro_matrix_format(name, format.rule);
    names += (names.empty() ? "" : ", ") + std::string(format.name);
  }
  throw InvalidArgument("micro format '{}' is unknown; it is one of {}", name, names);
}

MatrixFormat micro_matrix_format(std::string_view name, ScaleRule rule) {
  const MicroFormat* format = lookup_micro_format(name);
  if (format == nullptr) return micro_matrix_format(name);  // throws
  return {format->element, {ScaleSharing::Group, 1, format->block}, find_scale_format(format->scale), rule};
}

template <class Block>
std::vector<Block> to_micro_blocks(const QuantizedMatrix& matrix) {
  require_blocks<Block>(matrix.format);
  const int64_t per_row = blocks_per_row(matrix.columns, Block::kElements);
  std::vector<Block> blocks(static_cast<size_t>(matrix.rows * per_row));
  std::array<uint32_t, Block::kElements> codes;
  for (int64_t index = 0; index < matrix.rows * per_row; ++index) {
    const int64_t first = index % per_row * Block::kElements;
    const int64_t count = std::min<int64_t>(Block::kElements, matrix.columns - first);
    const auto from = matrix.codes.begin() + index / per_row * matrix.columns + first;
    codes.fill(0);
    std::copy(from, from + count, codes.begin());
    Block& block = blocks[static_cast<size_t>(index)];
    block.scale = static_cast<uint8_t>(matrix.scales[static_cast<size_t>(index)]);
    pack_bits(Block::kCodeBits, codes, block.codes);
  }
  return blocks;
}

template <class Block>
QuantizedMatrix from_micro_blocks(const MatrixFormat& format, int64_t rows, int64_t columns,
                                  std::span<const Block> blocks, std::vector<uint32_t> outer) {
  format.validate(rows, columns);
  require_blocks<Block>(format);
  const int64_t per_row = blocks_per_row(columns, Block::kElements);
  const size_t wanted_outer = format.scale.sharing == OuterSharing::None     ? 0
                              : format.scale.sharing == OuterSharing::Tensor ? 1
                                                                             : static_cast<size_t>(rows);
  if (static_cast<int64_t>(blocks.size()) != rows * per_row || outer.size() != wanted_outer)
    throw InvalidArgument("a matrix of {} x {} takes {} blocks and {} outer scales, got {} and {}", rows, columns,
                          rows * per_row, wanted_outer, blocks.size(), outer.size());
  QuantizedMatrix matrix{.format = format, .rows = rows, .columns = columns};
  matrix.outer = std::move(outer);
  matrix.codes.reserve(static_cast<size_t>(rows * columns));
  std::array<uint32_t, Block::kElements> codes;
  for (int64_t index = 0; index < rows * per_row; ++index) {
    const Block& block = blocks[static_cast<size_t>(index)];
    matrix.scales.push_back(block.scale);
    unpack_bits(Block::kCodeBits, block.codes, codes);
    const int64_t count = std::min<int64_t>(Block::kElements, columns - index % per_row * Block::kElements);
    matrix.codes.insert(matrix.codes.end(), codes.begin(), codes.begin() + count);
  }
  return matrix;
}

#define HALFTONE_MICRO_BLOCK(Block)                                                                                \
  template std::vector<Block> to_micro_blocks<Block>(const QuantizedMatrix&);                                      \
  template QuantizedMatrix from_micro_blocks<Block>(const MatrixFormat&, int64_t, int64_t, std::span<const Block>, \
                                                    std::vector<uint32_t>)
HALFTONE_MICRO_BLOCK(MxBlock<8>);
HALFTONE_MICRO_BLOCK(MxBlock<6>);
HALFTONE_MICRO_BLOCK(MxBlock<4>);
HALFTONE_MICRO_BLOCK(Nvfp4Block);
#undef HALFTONE_MICRO_BLOCK

}  // namespace halftone
