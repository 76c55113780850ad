// Hadamard transforms of the sizes that transformers have: 2^k and 2^k times 12, 20, 28, 36 or 40.
//
// The base matrices come from Paley's constructions I and II (R. Paley, J. Math. Phys. 12, 1933) rather than from
// tables; 576 = 16*36, 640 = 32*20, 1536 = 128*12. A transform of length K costs K*(log2(K/base) + base) additions.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace halftone {

/// The base order used for length `k`: 1, 12, 20, 28, 36 or 40 with k / base a power of two; 0 when there is none.
int64_t hadamard_base_order(int64_t k);

/// Rows of a Hadamard matrix of order `base` (entries +1 and -1): 1, 12, 20, 28, 36 or 40.
/// Throws InvalidArgument for other orders.
std::vector<int8_t> hadamard_base(int64_t base);

/// row = H row, or H^T row, in place, for every `block` elements of the row; not normalised. H = base (x) Sylvester.
/// Throws InvalidArgument when there is no Hadamard matrix of order `block` or the row is no multiple of it.
/// |error|_2 <= t u |H row|_2 to first order, with u = 2^-24 for f32, 2^-53 for f64, and t = log2(block / base), plus
/// base^1.5 where base > 1: a butterfly rounds each element once and keeps directions; a base's sum of m terms rounds
/// partial sums of norm at most sqrt(k) |x|, k = 2 .. m.
void hadamard_in_place(std::span<float> row, int64_t block, bool transposed = false);
void hadamard_in_place(std::span<double> row, int64_t block, bool transposed = false);

/// An orthogonal map x -> H diag(signs) x / sqrt(K), random in its signs (QuaRot, arXiv:2404.00456 section 3), or, with
/// blocks, diag(H, ..., H) diag(signs) x / sqrt(block). With seed 0 all signs are +1.
///
/// The inverse is exact to rounding: |apply_inverse(apply(x)) - x|_2 <= 2 (t + 2) u |x|_2 to first order, with t and u
/// of hadamard_in_place; for f32 and 2048 that is 1.6e-6 |x|, for 576 = 16 * 36 it is 2.7e-5 |x| (errors met are far
/// less).
class RandomHadamard {
 public:
  /// `block` 0 means one block of k. Throws Unsupported when no Hadamard matrix of order `block` can be built here,
  /// naming the sizes that can, and InvalidArgument when block does not divide k.
  RandomHadamard(int64_t k, uint64_t seed, int64_t block = 0);

  int64_t size() const { return size_; }
  int64_t block() const { return block_; }
  uint64_t seed() const { return seed_; }
  /// +1 or -1 for each of the size() elements.
  std::span<const int8_t> signs() const { return signs_; }
  /// y = H diag(signs) x / sqrt(block), in place on a row of size() elements.
  void apply(std::span<float> row) const;
  void apply(std::span<double> row) const;
  /// The inverse, diag(signs) H^T x / sqrt(block).
  void apply_inverse(std::span<float> row) const;
  void apply_inverse(std::span<double> row) const;

 private:
  template <class T>
  void transform(std::span<T> row, bool inverse) const;

  int64_t size_;
  int64_t block_;
  uint64_t seed_;
  std::vector<int8_t> signs_;
};

}  // namespace halftone
