// Masks, bit streams of positions, checks; see nm.h.
#include "numerics/sparsity/nm.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <numeric>

#include "base/error.h"

namespace halftone {
namespace {

constexpr int kLargestGroup = 256;

uint32_t read_bits(const uint8_t* row, int64_t at, int bits) {
  uint32_t value = 0;
  for (int i = 0; i < bits; ++i) value |= static_cast<uint32_t>(row[(at + i) / 8] >> ((at + i) % 8) & 1) << i;
  return value;
}

void write_bits(uint8_t* row, int64_t at, int bits, uint32_t value) {
  for (int i = 0; i < bits; ++i)
    row[(at + i) / 8] = static_cast<uint8_t>(row[(at + i) / 8] | (value >> i & 1u) << ((at + i) % 8));
}

/// The positions that a group stores, rising: those kept, then the first others.
void choose_positions(const NmPattern& p, int64_t row, int64_t group, const uint8_t* mask, int64_t length,
                      std::span<uint8_t> out) {
  std::array<bool, kLargestGroup> stored{};
  int count = 0;
  for (int64_t i = 0; i < length; ++i)
    if (mask[i] != 0) stored[i] = true, ++count;
  if (count > p.n)
    throw InvalidArgument("{} packing: the mask keeps {} elements of group {} of row {}; at most {} fit", to_string(p),
                          count, group, row, p.n);
  for (int i = 0; i < p.m && count < p.n; ++i)
    if (!stored[i]) stored[i] = true, ++count;
  for (int i = 0, at = 0; i < p.m; ++i)
    if (stored[i]) out[at++] = static_cast<uint8_t>(i);
}

void check_size(const char* what, size_t found, int64_t wanted) {
  if (static_cast<int64_t>(found) != wanted)
    throw InvalidArgument("N:M packing: {} has {} entries, not {}; the matrix is damaged or of another shape", what,
                          found, wanted);
}

}  // namespace

void NmPattern::validate() const {
  if (n < 1 || n > m || m > kLargestGroup)
    throw InvalidArgument("no {}:{} sparsity: 1 <= N <= M <= {}", n, m, kLargestGroup);
}

int NmPattern::position_bits() const { return std::bit_width(static_cast<unsigned>(m - 1)); }

std::string to_string(const NmPattern& pattern) { return fmt::format("{}:{}", pattern.n, pattern.m); }

NmPattern parse_nm_pattern(const std::string& text) {
  NmPattern pattern;
  const char* end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), end, pattern.n);
  const bool colon = first.ec == std::errc() && first.ptr != end && *first.ptr == ':';
  const auto second = std::from_chars(colon ? first.ptr + 1 : end, end, pattern.m);
  if (!colon || second.ec != std::errc() || second.ptr != end)
    throw InvalidArgument("'{}' is no N:M pattern; write it like 2:4", text);
  pattern.validate();
  return pattern;
}

std::vector<uint8_t> magnitude_mask(const NmPattern& pattern, int64_t rows, int64_t k, std::span<const float> scores) {
  pattern.validate();
  check_size("scores", scores.size(), rows * k);
  std::vector<uint8_t> mask(scores.size(), 0);
  std::array<int, kLargestGroup> order;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t start = 0; start < k; start += pattern.m) {
      const float* group = scores.data() + r * k + start;
      const auto length = static_cast<int>(std::min<int64_t>(pattern.m, k - start));
      for (int i = 0; i < length; ++i)
        if (std::isnan(group[i])) throw NumericError("magnitude mask: NaN in row {}, column {}", r, start + i);
      std::iota(order.begin(), order.begin() + length, 0);
      std::stable_sort(order.begin(), order.begin() + length,
                       [&](int a, int b) { return std::fabs(group[a]) > std::fabs(group[b]); });
      for (int i = 0; i < std::min(pattern.n, length); ++i) mask[static_cast<size_t>(r * k + start + order[i])] = 1;
    }
  return mask;
}

template <class T>
void NmMatrix<T>::positions(int64_t row, int64_t group, std::span<uint8_t> out) const {
  const int bits = pattern.position_bits();
  const uint8_t* stream = metadata.data() + row * pattern.metadata_row_bytes(k);
  for (int i = 0; i < pattern.n; ++i)
    out[static_cast<size_t>(i)] = static_cast<uint8_t>(read_bits(stream, (group * pattern.n + i) * bits, bits));
}

template <class T>
void NmMatrix<T>::validate(T zero) const {
  pattern.validate();
  if (rows < 0 || k < 0) throw InvalidArgument("N:M packing: a matrix of {} x {}", rows, k);
  check_size("values", values.size(), rows * pattern.kept(k));
  check_size("metadata", metadata.size(), rows * pattern.metadata_row_bytes(k));
  std::array<uint8_t, kLargestGroup> at;
  const int64_t used_bits = pattern.kept(k) * pattern.position_bits(), row_bytes = pattern.metadata_row_bytes(k);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t g = 0; g < pattern.groups(k); ++g) {
      positions(r, g, at);
      const T* stored = values.data() + r * pattern.kept(k) + g * pattern.n;
      for (int i = 0; i < pattern.n; ++i) {
        if (at[i] >= pattern.m || (i > 0 && at[i] <= at[i - 1]))
          throw InvalidArgument("{} metadata of row {}, group {}: position {} {}; it is damaged, pack the matrix again",
                                to_string(pattern), r, g, at[i],
                                at[i] >= pattern.m ? fmt::format("is not below {}", pattern.m)
                                                   : fmt::format("follows {}, positions must rise", at[i - 1]));
        if (g * pattern.m + at[i] >= k && stored[i] != zero)
          throw InvalidArgument("{} metadata of row {}, group {}: a value stands past column {}; it is damaged",
                                to_string(pattern), r, g, k - 1);
      }
    }
    for (int64_t bit = used_bits; bit < 8 * row_bytes; ++bit)
      if (read_bits(metadata.data() + r * row_bytes, bit, 1) != 0)
        throw InvalidArgument("{} metadata of row {}: padding bit {} is set; it is damaged", to_string(pattern), r,
                              bit);
  }
}

template <class T>
NmMatrix<T> pack_nm(const NmPattern& pattern, int64_t rows, int64_t k, std::span<const T> dense,
                    std::span<const uint8_t> mask, T zero) {
  pattern.validate();
  check_size("the dense matrix", dense.size(), rows * k);
  check_size("the mask", mask.size(), rows * k);
  NmMatrix<T> packed{pattern, rows, k, {}, {}};
  packed.values.assign(static_cast<size_t>(rows * pattern.kept(k)), zero);
  packed.metadata.assign(static_cast<size_t>(rows * pattern.metadata_row_bytes(k)), 0);
  const int bits = pattern.position_bits();
  std::array<uint8_t, kLargestGroup> at;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t g = 0; g < pattern.groups(k); ++g) {
      const int64_t start = r * k + g * pattern.m;
      const int64_t length = std::min<int64_t>(pattern.m, k - g * pattern.m);
      choose_positions(pattern, r, g, mask.data() + start, length, at);
      for (int i = 0; i < pattern.n; ++i) {
        const int64_t index = g * pattern.n + i;
        if (at[i] < length && mask[static_cast<size_t>(start + at[i])] != 0)
          packed.values[static_cast<size_t>(r * pattern.kept(k) + index)] = dense[static_cast<size_t>(start + at[i])];
        write_bits(packed.metadata.data() + r * pattern.metadata_row_bytes(k), index * bits, bits, at[i]);
      }
    }
  return packed;
}

template <class T>
std::vector<T> unpack_nm(const NmMatrix<T>& packed, T zero) {
  packed.validate(zero);
  const NmPattern& p = packed.pattern;
  std::vector<T> dense(static_cast<size_t>(packed.rows * packed.k), zero);
  std::array<uint8_t, kLargestGroup> at;
  for (int64_t r = 0; r < packed.rows; ++r)
    for (int64_t g = 0; g < p.groups(packed.k); ++g) {
      packed.positions(r, g, at);
      for (int i = 0; i < p.n; ++i)
        if (const int64_t column = g * p.m + at[i]; column < packed.k)
          dense[static_cast<size_t>(r * packed.k + column)] =
              packed.values[static_cast<size_t>(r * p.kept(packed.k) + g * p.n + i)];
    }
  return dense;
}

#define HALFTONE_NM(T)                                                                                               \
  template struct NmMatrix<T>;                                                                                       \
  template NmMatrix<T> pack_nm(const NmPattern&, int64_t, int64_t, std::span<const T>, std::span<const uint8_t>, T); \
  template std::vector<T> unpack_nm(const NmMatrix<T>&, T);
HALFTONE_NM(float)
HALFTONE_NM(uint16_t)
HALFTONE_NM(uint8_t)
#undef HALFTONE_NM

}  // namespace halftone
