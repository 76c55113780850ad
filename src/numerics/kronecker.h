// Kronecker pairs: a K x K map kept as two small matrices, applied as two small products (FlatQuant, arXiv:2410.09426
// section 3.1). A row x of K = a*b elements is read as X [a, b]; then x (L (x) R) is L^T X R, which costs K (a + b)
// multiplications instead of K^2. Any invertible pair will do, not only rotations; inverses are formed in double.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace halftone {

struct KroneckerSplit {
  int64_t left;   ///< a, at most right
  int64_t right;  ///< b
};

/// Factors of k: with s the smallest number >= sqrt(k) for which s^2 - k is a square d^2, {s - d, s + d}; where there
/// is none (k = 2 modulo 4) the most even pair of factors. 576 -> 24 x 24, 1536 -> 32 x 48. Throws InvalidArgument for
/// k < 1.
KroneckerSplit kronecker_split(int64_t k);

/// The inverse of a row-major [n, n] matrix by Gauss-Jordan elimination with partial pivoting, in double.
/// Throws NumericError when a pivot falls below n * 2^-52 times the largest entry: singular to working precision.
std::vector<double> inverse_matrix(std::span<const double> matrix, int64_t n);

/// x -> x (left (x) right) on rows of left_size * right_size elements.
class KroneckerPair {
 public:
  /// `left` [left_size, left_size], `right` [right_size, right_size], row-major; throws InvalidArgument naming the
  /// matrix whose number of entries is another.
  KroneckerPair(std::vector<double> left, int64_t left_size, std::vector<double> right, int64_t right_size);

  int64_t left_size() const { return left_size_; }
  int64_t right_size() const { return right_size_; }
  int64_t size() const { return left_size_ * right_size_; }
  std::span<const double> left() const { return left_; }
  std::span<const double> right() const { return right_; }

  /// In place on a row of size() elements; sums in double for either type, floats are rounded once at the end.
  void apply(std::span<float> row) const;
  void apply(std::span<double> row) const;
  /// The pair of the inverse matrices; throws NumericError for a singular one.
  KroneckerPair inverse() const;
  /// The pair of the transposed matrices: the map of the other operand, y W^T = (y P) (W P^-T)^T.
  KroneckerPair transposed() const;
  /// left (x) right, [size(), size()] row-major: for tests and small sizes.
  std::vector<double> to_dense() const;

 private:
  std::vector<double> left_, right_;
  int64_t left_size_, right_size_;
};

}  // namespace halftone
