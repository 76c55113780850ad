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

/// An orthogonal map x -> H diag(signs) x / sqrt(K), random in its signs (QuaRot, arXiv:2404.00456 section 3).
/// With seed 0 all signs are +1.
class RandomHadamard {
 public:
  /// Throws Unsupported when no Hadamard matrix of order k can be built here, naming the sizes that can.
  RandomHadamard(int64_t k, uint64_t seed);

  int64_t size() const { return size_; }
  uint64_t seed() const { return seed_; }
  /// y = H diag(signs) x / sqrt(K), in place on a row of size() elements.
  void apply(std::span<float> row) const;
  void apply(std::span<double> row) const;
  /// The inverse, diag(signs) H^T x / sqrt(K).
  void apply_inverse(std::span<float> row) const;
  void apply_inverse(std::span<double> row) const;

 private:
  template <class T>
  void transform(std::span<T> row, bool inverse) const;

  int64_t size_;
  int64_t base_order_;
  uint64_t seed_;
  std::vector<int8_t> base_;
  std::vector<int8_t> signs_;
};

}  // namespace halftone
