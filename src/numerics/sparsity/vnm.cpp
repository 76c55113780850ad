// Column choice, and the condensed matrix; see vnm.h.
#include "numerics/sparsity/vnm.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "base/error.h"

namespace halftone {
namespace {

using Columns = std::array<uint8_t, VnmPattern::kColumns>;

/// One block of magnitudes, [v, m]; columns past k are zeros.
struct Block {
  std::vector<float> magnitudes;
  int rows;
  int m;
  const float* row(int r) const { return magnitudes.data() + static_cast<size_t>(r) * static_cast<size_t>(m); }
};

Block block_of(const VnmPattern& p, int64_t rows, int64_t k, std::span<const float> scores, int64_t rb, int64_t cb) {
  Block block{{}, static_cast<int>(std::min<int64_t>(p.v, rows - rb * p.v)), p.m};
  block.magnitudes.assign(static_cast<size_t>(block.rows) * static_cast<size_t>(p.m), 0.0f);
  for (int r = 0; r < block.rows; ++r)
    for (int c = 0; c < p.m && cb * p.m + c < k; ++c) {
      const int64_t row = rb * p.v + r, column = cb * p.m + c;
      const float score = scores[static_cast<size_t>(row * k + column)];
      if (std::isnan(score)) throw NumericError("magnitude mask: NaN in row {}, column {}", row, column);
      block.magnitudes[static_cast<size_t>(r) * static_cast<size_t>(p.m) + static_cast<size_t>(c)] = std::fabs(score);
    }
  return block;
}

/// Sum over the rows of their n largest magnitudes within the four columns; a sorting network, not std::sort, because
/// this is the inner loop of C(M,4) choices.
double kept_sum(const Block& block, const Columns& columns, int n) {
  double sum = 0;
  for (int r = 0; r < block.rows; ++r) {
    const float* row = block.row(r);
    const auto [low1, high1] = std::minmax(row[columns[0]], row[columns[1]]);
    const auto [low2, high2] = std::minmax(row[columns[2]], row[columns[3]]);
    const auto [middle1, first] = std::minmax(high1, high2);
    const auto [last, middle2] = std::minmax(low1, low2);
    const float sorted[] = {first, std::max(middle1, middle2), std::min(middle1, middle2), last};
    for (int i = 0; i < n; ++i) sum += sorted[i];
  }
  return sum;
}

Columns best_columns(const Block& block, int n) {
  Columns best{}, c{};
  double best_sum = -1;
  for (int a = 0; a < block.m; ++a)
    for (int b = a + 1; b < block.m; ++b)
      for (int d = b + 1; d < block.m; ++d)
        for (int e = d + 1; e < block.m; ++e) {
          c = {static_cast<uint8_t>(a), static_cast<uint8_t>(b), static_cast<uint8_t>(d), static_cast<uint8_t>(e)};
          if (const double sum = kept_sum(block, c, n); sum > best_sum) {
            best_sum = sum;
            best = c;
          }
        }
  return best;
}

Columns largest_columns(const Block& block) {
  std::vector<double> norms(static_cast<size_t>(block.m), 0.0);
  for (int r = 0; r < block.rows; ++r)
    for (int c = 0; c < block.m; ++c) norms[static_cast<size_t>(c)] += block.row(r)[c];
  std::vector<uint8_t> order(norms.size());
  std::iota(order.begin(), order.end(), uint8_t{0});
  std::stable_sort(order.begin(), order.end(), [&](uint8_t a, uint8_t b) { return norms[a] > norms[b]; });
  Columns columns;
  std::copy_n(order.begin(), columns.size(), columns.begin());
  std::sort(columns.begin(), columns.end());
  return columns;
}

void check_size(const char* what, size_t found, int64_t wanted) {
  if (static_cast<int64_t>(found) != wanted)
    throw InvalidArgument("V:N:M packing: {} has {} entries, not {}; the matrix is damaged or of another shape", what,
                          found, wanted);
}

void check_column_ids(const VnmPattern& p, int64_t rows, int64_t k, std::span<const uint8_t> ids) {
  check_size("the list of columns", ids.size(), p.row_blocks(rows) * p.condensed_k(k));
  for (size_t i = 0; i < ids.size(); ++i)
    if (ids[i] >= p.m || (i % VnmPattern::kColumns != 0 && ids[i] <= ids[i - 1]))
      throw InvalidArgument("{} packing: column id {} of block {} is {}; ids must rise and stay below {}: damaged",
                            to_string(p), i % VnmPattern::kColumns, i / VnmPattern::kColumns, ids[i], p.m);
}

/// Calls body(row, condensed column, column) for every element of the condensed matrix; column >= k where there is
/// none.
template <class Body>
void for_each_condensed(const VnmPattern& p, int64_t rows, int64_t k, std::span<const uint8_t> ids, Body&& body) {
  const int64_t condensed = p.condensed_k(k);
  for (int64_t r = 0; r < rows; ++r) {
    const uint8_t* row_ids = ids.data() + r / p.v * condensed;
    for (int64_t c = 0; c < condensed; ++c) body(r, c, c / VnmPattern::kColumns * p.m + row_ids[c]);
  }
}

/// Throws for what the condensed matrix would lose: kept elements outside of the block's columns.
void check_nothing_lost(const VnmPattern& p, int64_t rows, int64_t k, const VnmMask& mask) {
  std::vector<uint8_t> left(mask.mask);
  for_each_condensed(p, rows, k, mask.column_ids, [&](int64_t r, int64_t, int64_t column) {
    if (column < k) left[static_cast<size_t>(r * k + column)] = 0;
  });
  const auto lost = std::find_if(left.begin(), left.end(), [](uint8_t kept) { return kept != 0; });
  if (lost != left.end())
    throw InvalidArgument("{} packing: the mask keeps row {}, column {}, which is not among its block's four columns",
                          to_string(p), (lost - left.begin()) / k, (lost - left.begin()) % k);
}

}  // namespace

void VnmPattern::validate() const {
  if (v < 1 || n < 1 || n > kColumns || m < kColumns || m > 256)
    throw InvalidArgument("no {}:{}:{} sparsity: V >= 1, 1 <= N <= 4 <= M <= 256", v, n, m);
}

double VnmPattern::log_diversity() const {
  const auto log_choose = [](double a, double b) {
    return std::lgamma(a + 1) - std::lgamma(b + 1) - std::lgamma(a - b + 1);
  };
  return (log_choose(m, kColumns) + v * log_choose(kColumns, n)) / (static_cast<double>(v) * m);
}

std::string to_string(const VnmPattern& p) { return fmt::format("{}:{}:{}", p.v, p.n, p.m); }

VnmMask magnitude_mask(const VnmPattern& p, int64_t rows, int64_t k, std::span<const float> scores,
                       VnmSelection selection) {
  p.validate();
  check_size("scores", scores.size(), rows * k);
  VnmMask result;
  for (int64_t rb = 0; rb < p.row_blocks(rows); ++rb)
    for (int64_t cb = 0; cb < p.column_blocks(k); ++cb) {
      const Block block = block_of(p, rows, k, scores, rb, cb);
      const Columns columns = selection == VnmSelection::Exhaustive ? best_columns(block, p.n) : largest_columns(block);
      result.column_ids.insert(result.column_ids.end(), columns.begin(), columns.end());
    }
  std::vector<float> condensed(static_cast<size_t>(rows * p.condensed_k(k)), 0.0f);
  for_each_condensed(p, rows, k, result.column_ids, [&](int64_t r, int64_t c, int64_t column) {
    if (column < k)
      condensed[static_cast<size_t>(r * p.condensed_k(k) + c)] = scores[static_cast<size_t>(r * k + column)];
  });
  const auto kept = magnitude_mask(p.condensed(), rows, p.condensed_k(k), condensed);
  result.mask.assign(scores.size(), 0);
  for_each_condensed(p, rows, k, result.column_ids, [&](int64_t r, int64_t c, int64_t column) {
    if (column < k)
      result.mask[static_cast<size_t>(r * k + column)] = kept[static_cast<size_t>(r * p.condensed_k(k) + c)];
  });
  return result;
}

template <class T>
void VnmMatrix<T>::validate(T zero) const {
  pattern.validate();
  if (rows < 0 || k < 0) throw InvalidArgument("V:N:M packing: a matrix of {} x {}", rows, k);
  check_column_ids(pattern, rows, k, column_ids);
  if (condensed.pattern != pattern.condensed() || condensed.rows != rows || condensed.k != pattern.condensed_k(k))
    throw InvalidArgument("{} packing: the condensed matrix is {} of {} x {}, not {} of {} x {}", to_string(pattern),
                          to_string(condensed.pattern), condensed.rows, condensed.k, to_string(pattern.condensed()),
                          rows, pattern.condensed_k(k));
  const auto values = unpack_nm(condensed, zero);  // validates
  for_each_condensed(pattern, rows, k, column_ids, [&](int64_t r, int64_t c, int64_t column) {
    if (column >= k && values[static_cast<size_t>(r * condensed.k + c)] != zero)
      throw InvalidArgument("{} packing: row {} holds a value past column {}; it is damaged", to_string(pattern), r,
                            k - 1);
  });
}

template <class T>
VnmMatrix<T> pack_vnm(const VnmPattern& p, int64_t rows, int64_t k, std::span<const T> dense, const VnmMask& mask,
                      T zero) {
  p.validate();
  check_size("the dense matrix", dense.size(), rows * k);
  check_size("the mask", mask.mask.size(), rows * k);
  check_column_ids(p, rows, k, mask.column_ids);
  check_nothing_lost(p, rows, k, mask);
  std::vector<T> values(static_cast<size_t>(rows * p.condensed_k(k)), zero);
  std::vector<uint8_t> kept(values.size(), 0);
  for_each_condensed(p, rows, k, mask.column_ids, [&](int64_t r, int64_t c, int64_t column) {
    if (column >= k) return;
    values[static_cast<size_t>(r * p.condensed_k(k) + c)] = dense[static_cast<size_t>(r * k + column)];
    kept[static_cast<size_t>(r * p.condensed_k(k) + c)] = mask.mask[static_cast<size_t>(r * k + column)];
  });
  return {p, rows, k, pack_nm<T>(p.condensed(), rows, p.condensed_k(k), values, kept, zero), mask.column_ids};
}

template <class T>
std::vector<T> unpack_vnm(const VnmMatrix<T>& packed, T zero) {
  packed.validate(zero);
  const auto values = unpack_nm(packed.condensed, zero);
  std::vector<T> dense(static_cast<size_t>(packed.rows * packed.k), zero);
  for_each_condensed(
      packed.pattern, packed.rows, packed.k, packed.column_ids, [&](int64_t r, int64_t c, int64_t column) {
        if (column < packed.k)
          dense[static_cast<size_t>(r * packed.k + column)] = values[static_cast<size_t>(r * packed.condensed.k + c)];
      });
  return dense;
}

#define HALFTONE_VNM(T)                                                                                       \
  template struct VnmMatrix<T>;                                                                               \
  template VnmMatrix<T> pack_vnm(const VnmPattern&, int64_t, int64_t, std::span<const T>, const VnmMask&, T); \
  template std::vector<T> unpack_vnm(const VnmMatrix<T>&, T);
HALFTONE_VNM(float)
HALFTONE_VNM(uint16_t)
HALFTONE_VNM(uint8_t)
#undef HALFTONE_VNM

}  // namespace halftone
