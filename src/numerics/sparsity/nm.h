// N:M sparsity: of every M consecutive elements of a row, N are stored, with their positions.
//
//   values    [rows, groups * N]  groups = ceil(k / M); the kept elements of a group by rising position
//   metadata  [rows, metadata_row_bytes]  positions of b = ceil(log2 M) bits each, in the order of the values, packed
//   from
//             the low bits up into little-endian 16-bit words; what pads the last word is 0
//
// For 2:4 that is the order of mma.sp and wgmma.sp: bits 4g .. 4g+3 of a word describe the g-th group of four of 16
// elements, the lower position in the lower two bits, so that a group is one of 0100, 1000, 1100, 1001, 1101, 1110
// (PTX ISA, "Sparse matrix storage"). Which lane holds which word is the kernel's affair. cuSPARSELt takes the dense
// matrix and keeps its own order to itself.
//
// A group always stores N values. Where a mask keeps fewer, or the last group is short, positions that were not kept
// fill up with the value of zero; such positions may lie past k, within the group. Unpacking is exact.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace halftone {

struct NmPattern {
  int n = 2;  ///< kept of each group
  int m = 4;  ///< group, consecutive elements along a row

  /// Throws InvalidArgument unless 1 <= n <= m <= 256.
  void validate() const;
  int position_bits() const;
  int64_t groups(int64_t k) const { return (k + m - 1) / m; }
  /// Stored values of a row.
  int64_t kept(int64_t k) const { return groups(k) * n; }
  int64_t metadata_row_bytes(int64_t k) const { return (kept(k) * position_bits() + 15) / 16 * 2; }
  /// Bytes of a packed matrix whose values take `value_bits` each, rows padded to whole bytes.
  int64_t bytes(int64_t rows, int64_t k, int value_bits) const {
    return rows * ((kept(k) * value_bits + 7) / 8 + metadata_row_bytes(k));
  }
  bool operator==(const NmPattern&) const = default;
};

/// "2:4".
std::string to_string(const NmPattern& pattern);
/// Inverse of to_string; throws InvalidArgument.
NmPattern parse_nm_pattern(const std::string& text);

/// Keeps the n elements of largest magnitude of each group, the first of equals; short last groups keep as many.
/// `scores`  [rows, k]; result [rows, k] of 0 and 1. Throws NumericError for a NaN, naming its place.
std::vector<uint8_t> magnitude_mask(const NmPattern& pattern, int64_t rows, int64_t k, std::span<const float> scores);

/// A packed matrix. T: float, or codes in uint16_t or uint8_t.
template <class T>
struct NmMatrix {
  NmPattern pattern;
  int64_t rows = 0;
  int64_t k = 0;
  std::vector<T> values;
  std::vector<uint8_t> metadata;

  /// Positions of a group's n values.
  void positions(int64_t row, int64_t group, std::span<uint8_t> out) const;
  /// The 16-bit word `word` of a row's metadata; for 2:4 it describes elements 16 * word .. 16 * word + 15.
  uint16_t metadata_word(int64_t row, int64_t word) const {
    const size_t at = static_cast<size_t>(row * pattern.metadata_row_bytes(k) + 2 * word);
    return static_cast<uint16_t>(metadata[at] | metadata[at + 1] << 8);
  }
  int64_t bytes(int value_bits = 8 * sizeof(T)) const { return pattern.bytes(rows, k, value_bits); }
  /// Throws InvalidArgument naming row and group where sizes, positions (rising, below m), values past k or padding
  /// break the layout; `zero` is what fills up.
  void validate(T zero = {}) const;
};

/// Packs what `mask` [rows, k] keeps of `dense` [rows, k]. Throws InvalidArgument for wrong sizes and for a group of
/// which the mask keeps more than n.
template <class T>
NmMatrix<T> pack_nm(const NmPattern& pattern, int64_t rows, int64_t k, std::span<const T> dense,
                    std::span<const uint8_t> mask, T zero = {});

/// The dense matrix [rows, k], `zero` where nothing is stored. Validates first.
template <class T>
std::vector<T> unpack_nm(const NmMatrix<T>& packed, T zero = {});

}  // namespace halftone
