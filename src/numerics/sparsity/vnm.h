// V:N:M sparsity (Castro et al., SC 2023, "VENOM"): in every block of V rows x M columns the same four columns are kept
// for all rows, and every row keeps N of those four. Sparse tensor cores take it as 2:4 after a gather of columns.
//
//   column_ids  [ceil(rows/V), ceil(k/M), 4]  rising, below M; ids past k (in a short last block) hold zeros only
//   condensed   N:4 packing (nm.h) of the matrix [rows, 4 * ceil(k/M)] of the kept columns
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "numerics/sparsity/nm.h"

namespace halftone {

struct VnmPattern {
  static constexpr int kColumns = 4;  ///< kept of each block
  int v = 64;                         ///< rows that share columns; the last block may have fewer
  int n = 2;                          ///< kept of the four by each row
  int m = 8;                          ///< columns of a block

  /// Throws InvalidArgument unless v >= 1, 1 <= n <= 4 <= m <= 256.
  void validate() const;
  int64_t row_blocks(int64_t rows) const { return (rows + v - 1) / v; }
  int64_t column_blocks(int64_t k) const { return (k + m - 1) / m; }
  int64_t condensed_k(int64_t k) const { return kColumns * column_blocks(k); }
  NmPattern condensed() const { return {n, kColumns}; }
  /// Values, metadata and column ids of one byte each.
  int64_t bytes(int64_t rows, int64_t k, int value_bits) const {
    return condensed().bytes(rows, condensed_k(k), value_bits) + row_blocks(rows) * condensed_k(k);
  }
  /// Choices per weight, ( ln C(M,4) + V ln C(4,N) ) / (V M): of patterns that are fast enough, take the largest.
  double log_diversity() const;
  bool operator==(const VnmPattern&) const = default;
};

/// "64:2:8".
std::string to_string(const VnmPattern& pattern);

/// How the four columns of a block are found.
enum class VnmSelection : uint8_t {
  Exhaustive,   ///< all C(M,4) sets; the one that keeps the largest sum of magnitudes; costs V C(M,4) a block
  ColumnNorms,  ///< the four columns of the largest sum of magnitudes
};

struct VnmMask {
  std::vector<uint8_t> column_ids;  ///< [row_blocks, column_blocks, 4]
  std::vector<uint8_t> mask;        ///< [rows, k] of 0 and 1
};

/// Keeps large magnitudes; the first of equals. `scores`  [rows, k]. Throws InvalidArgument for wrong sizes and
/// NumericError for a NaN, naming its place.
VnmMask magnitude_mask(const VnmPattern& pattern, int64_t rows, int64_t k, std::span<const float> scores,
                       VnmSelection selection = VnmSelection::Exhaustive);

/// A packed matrix. T: float, or codes in uint16_t or uint8_t.
template <class T>
struct VnmMatrix {
  VnmPattern pattern;
  int64_t rows = 0;
  int64_t k = 0;
  NmMatrix<T> condensed;
  std::vector<uint8_t> column_ids;

  int64_t bytes(int value_bits = 8 * sizeof(T)) const { return pattern.bytes(rows, k, value_bits); }
  /// Throws InvalidArgument naming the block or row where the layout is broken.
  void validate(T zero = {}) const;
};

/// Packs what the mask keeps of `dense` [rows, k]. Throws InvalidArgument for wrong sizes, ids that do not rise below
/// M, an element kept outside of its block's columns, and rows that keep more than n of a block.
template <class T>
VnmMatrix<T> pack_vnm(const VnmPattern& pattern, int64_t rows, int64_t k, std::span<const T> dense, const VnmMask& mask,
                      T zero = {});

/// The dense matrix [rows, k], `zero` where nothing is stored. Validates first.
template <class T>
std::vector<T> unpack_vnm(const VnmMatrix<T>& packed, T zero = {});

}  // namespace halftone
