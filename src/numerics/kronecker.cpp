// Small products and Gauss-Jordan elimination; see kronecker.h.
#include "numerics/kronecker.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "numerics/reference/hadamard.h"

namespace halftone {
namespace {

int64_t square_root(int64_t value) {
  auto root = static_cast<int64_t>(std::sqrt(static_cast<double>(value)));
  while (root * root > value) --root;
  while ((root + 1) * (root + 1) <= value) ++root;
  return root;
}

std::vector<double> transpose(std::span<const double> matrix, int64_t n) {
  std::vector<double> result(matrix.size());
  for (int64_t r = 0; r < n; ++r)
    for (int64_t c = 0; c < n; ++c) result[c * n + r] = matrix[r * n + c];
  return result;
}

/// Row of the largest magnitude in `column`, from `column` down.
int64_t pivot_row(const std::vector<double>& work, int64_t n, int64_t column) {
  int64_t best = column;
  for (int64_t r = column + 1; r < n; ++r)
    if (std::fabs(work[r * n + column]) > std::fabs(work[best * n + column])) best = r;
  return best;
}

}  // namespace

KroneckerSplit kronecker_split(int64_t k) {
  if (k < 1) throw InvalidArgument("a Kronecker pair needs a length of at least 1, not {}", k);
  const int64_t root = square_root(k);
  for (int64_t low = root; low >= 1; --low)  // largest factor below the root whose partner has its parity
    if (k % low == 0 && (k / low - low) % 2 == 0) return {low, k / low};
  for (int64_t low = root; low > 1; --low)
    if (k % low == 0) return {low, k / low};
  return {1, k};
}

std::vector<double> inverse_matrix(std::span<const double> matrix, int64_t n) {
  if (n < 1 || static_cast<int64_t>(matrix.size()) != n * n)
    throw InvalidArgument("a matrix of {} entries is not [{}, {}]", matrix.size(), n, n);
  std::vector<double> work(matrix.begin(), matrix.end()), result(matrix.size(), 0.0);
  for (int64_t i = 0; i < n; ++i) result[i * n + i] = 1;
  double largest = 0;
  for (const double value : work) largest = std::max(largest, std::fabs(value));
  for (int64_t c = 0; c < n; ++c) {
    const int64_t best = pivot_row(work, n, c);
    const double pivot = work[best * n + c];
    if (!(std::fabs(pivot) > static_cast<double>(n) * 0x1p-52 * largest))
      throw NumericError("matrix [{0}, {0}] is singular: pivot {1} is {2:g}, its largest entry is {3:g}", n, c, pivot,
                         largest);
    for (auto* m : {&work, &result}) {
      if (best != c) std::swap_ranges(m->begin() + best * n, m->begin() + best * n + n, m->begin() + c * n);
      for (int64_t j = 0; j < n; ++j) (*m)[c * n + j] /= pivot;
    }
    for (int64_t r = 0; r < n; ++r) {
      const double factor = work[r * n + c];
      if (r == c || factor == 0) continue;
      for (auto* m : {&work, &result})
        for (int64_t j = 0; j < n; ++j) (*m)[r * n + j] -= factor * (*m)[c * n + j];
    }
  }
  return result;
}

KroneckerPair::KroneckerPair(std::vector<double> left, int64_t left_size, std::vector<double> right, int64_t right_size)
    : left_(std::move(left)), right_(std::move(right)), left_size_(left_size), right_size_(right_size) {
  const auto check = [](const char* name, const std::vector<double>& m, int64_t n) {
    if (n < 1 || static_cast<int64_t>(m.size()) != n * n)
      throw InvalidArgument("Kronecker pair: the {} matrix has {} entries, not {} x {}", name, m.size(), n, n);
  };
  check("left", left_, left_size_);
  check("right", right_, right_size_);
}

void KroneckerPair::apply(std::span<float> row) const {
  std::vector<double> wide(row.begin(), row.end());
  apply(std::span(wide));
  for (size_t i = 0; i < row.size(); ++i) row[i] = static_cast<float>(wide[i]);
}

void KroneckerPair::apply(std::span<double> row) const {
  if (static_cast<int64_t>(row.size()) != size())
    throw InvalidArgument("a Kronecker pair {} x {} got a row of {}", left_size_, right_size_, row.size());
  reference::kronecker_row(left_size_, right_size_, left_.data(), right_.data(), row.data());
}

KroneckerPair KroneckerPair::inverse() const {
  return {inverse_matrix(left_, left_size_), left_size_, inverse_matrix(right_, right_size_), right_size_};
}

KroneckerPair KroneckerPair::transposed() const {
  return {transpose(left_, left_size_), left_size_, transpose(right_, right_size_), right_size_};
}

std::vector<double> KroneckerPair::to_dense() const {
  const int64_t n = size();
  std::vector<double> dense(n * n);
  for (int64_t r = 0; r < n; ++r)
    for (int64_t c = 0; c < n; ++c)
      dense[r * n + c] = left_[r / right_size_ * left_size_ + c / right_size_] *
                         right_[r % right_size_ * right_size_ + c % right_size_];
  return dense;
}

}  // namespace halftone
