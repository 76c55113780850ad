// Lists of dense blocks; see block_list.h.
#include "numerics/sparsity/block_list.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/error.h"

namespace halftone {
namespace {

void check_size(const char* what, size_t found, int64_t wanted) {
  if (static_cast<int64_t>(found) != wanted)
    throw InvalidArgument("block list: {} has {} entries, not {}; it is damaged or of another shape", what, found,
                          wanted);
}

/// Calls body(index in the block, index in the matrix or -1 past its edge) for the elements of one block.
template <class Body>
void for_each_element(const BlockShape& shape, int64_t rows, int64_t k, int64_t row_block, int64_t column_block,
                      Body&& body) {
  for (int64_t r = 0; r < shape.rows; ++r)
    for (int64_t c = 0; c < shape.columns; ++c) {
      const int64_t row = row_block * shape.rows + r, column = column_block * shape.columns + c;
      body(static_cast<size_t>(r * shape.columns + c), row < rows && column < k ? row * k + column : int64_t{-1});
    }
}

}  // namespace

void BlockShape::validate() const {
  if (rows < 1 || columns < 1) throw InvalidArgument("blocks of {} x {}: both must be at least 1", rows, columns);
}

std::vector<uint8_t> magnitude_mask(const BlockShape& shape, int64_t rows, int64_t k, std::span<const float> scores,
                                    double density) {
  shape.validate();
  check_size("the scores", scores.size(), rows * k);
  if (!(density >= 0 && density <= 1)) throw InvalidArgument("block density {} is not within 0 .. 1", density);
  std::vector<double> means;
  for (int64_t rb = 0; rb < shape.row_blocks(rows); ++rb)
    for (int64_t cb = 0; cb < shape.column_blocks(k); ++cb) {
      double sum = 0;
      int64_t count = 0;
      for_each_element(shape, rows, k, rb, cb, [&](size_t, int64_t at) {
        if (at < 0) return;
        const double score = scores[static_cast<size_t>(at)];
        if (std::isnan(score)) throw NumericError("magnitude mask: NaN in row {}, column {}", at / k, at % k);
        sum += std::fabs(score);
        ++count;
      });
      means.push_back(sum / static_cast<double>(count));
    }
  std::vector<size_t> order(means.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return means[a] > means[b]; });
  const auto keep = static_cast<size_t>(std::ceil(density * static_cast<double>(means.size())));
  std::vector<uint8_t> mask(means.size(), 0);
  for (size_t i = 0; i < std::min(keep, order.size()); ++i) mask[order[i]] = 1;
  return mask;
}

template <class T>
void BlockList<T>::validate(T zero) const {
  shape.validate();
  if (rows < 0 || k < 0) throw InvalidArgument("block list: a matrix of {} x {}", rows, k);
  const int64_t row_blocks = shape.row_blocks(rows), column_blocks = shape.column_blocks(k);
  check_size("row_offsets", row_offsets.size(), row_blocks + 1);
  check_size("blocks", blocks.size(), count() * shape.rows * shape.columns);
  if (row_offsets.front() != 0 || row_offsets.back() != count())
    throw InvalidArgument("block list: row_offsets run from {} to {}, not from 0 to {}; it is damaged",
                          row_offsets.front(), row_offsets.back(), count());
  for (size_t rb = 0; rb + 1 < row_offsets.size(); ++rb)
    if (row_offsets[rb + 1] < row_offsets[rb] || row_offsets[rb + 1] > count())
      throw InvalidArgument("block list: block row {} runs from {} to {} of {}; it is damaged", rb, row_offsets[rb],
                            row_offsets[rb + 1], count());
  for (int64_t rb = 0; rb < row_blocks; ++rb) {
    const int64_t begin = row_offsets[static_cast<size_t>(rb)], end = row_offsets[static_cast<size_t>(rb + 1)];
    for (int64_t i = begin; i < end; ++i) {
      const int32_t column = columns[static_cast<size_t>(i)];
      if (column < 0 || column >= column_blocks || (i > begin && column <= columns[static_cast<size_t>(i - 1)]))
        throw InvalidArgument("block list: column {} of block {} in block row {}: columns must rise and stay below {}",
                              column, i, rb, column_blocks);
      for_each_element(shape, rows, k, rb, column, [&](size_t in_block, int64_t at) {
        if (at < 0 && blocks[static_cast<size_t>(i * shape.rows * shape.columns) + in_block] != zero)
          throw InvalidArgument("block list: block {} holds a value past the matrix's edge; it is damaged", i);
      });
    }
  }
}

template <class T>
BlockList<T> pack_blocks(const BlockShape& shape, int64_t rows, int64_t k, std::span<const T> dense,
                         std::span<const uint8_t> mask, T zero) {
  shape.validate();
  check_size("the dense matrix", dense.size(), rows * k);
  check_size("the mask", mask.size(), shape.row_blocks(rows) * shape.column_blocks(k));
  if (shape.column_blocks(k) > std::numeric_limits<int32_t>::max())
    throw InvalidArgument("block list: {} block columns do not fit 32-bit ids; take larger blocks",
                          shape.column_blocks(k));
  BlockList<T> packed{shape, rows, k, {0}, {}, {}};
  for (int64_t rb = 0; rb < shape.row_blocks(rows); ++rb) {
    for (int64_t cb = 0; cb < shape.column_blocks(k); ++cb) {
      if (mask[static_cast<size_t>(rb * shape.column_blocks(k) + cb)] == 0) continue;
      packed.columns.push_back(static_cast<int32_t>(cb));
      for_each_element(shape, rows, k, rb, cb, [&](size_t, int64_t at) {
        packed.blocks.push_back(at < 0 ? zero : dense[static_cast<size_t>(at)]);
      });
    }
    packed.row_offsets.push_back(packed.count());
  }
  return packed;
}

template <class T>
std::vector<T> unpack_blocks(const BlockList<T>& packed, T zero) {
  packed.validate(zero);
  std::vector<T> dense(static_cast<size_t>(packed.rows * packed.k), zero);
  const auto area = static_cast<size_t>(packed.shape.rows * packed.shape.columns);
  for (size_t rb = 0; rb + 1 < packed.row_offsets.size(); ++rb)
    for (auto i = static_cast<size_t>(packed.row_offsets[rb]); i < static_cast<size_t>(packed.row_offsets[rb + 1]); ++i)
      for_each_element(packed.shape, packed.rows, packed.k, static_cast<int64_t>(rb), packed.columns[i],
                       [&](size_t in_block, int64_t at) {
                         if (at >= 0) dense[static_cast<size_t>(at)] = packed.blocks[i * area + in_block];
                       });
  return dense;
}

#define HALFTONE_BLOCK_LIST(T)                                                                                         \
  template struct BlockList<T>;                                                                                        \
  template BlockList<T> pack_blocks(const BlockShape&, int64_t, int64_t, std::span<const T>, std::span<const uint8_t>, \
                                    T);                                                                                \
  template std::vector<T> unpack_blocks(const BlockList<T>&, T);
HALFTONE_BLOCK_LIST(float)
HALFTONE_BLOCK_LIST(uint16_t)
HALFTONE_BLOCK_LIST(uint8_t)
#undef HALFTONE_BLOCK_LIST

}  // namespace halftone
