// Rotations of rows at run time: Hadamard transforms, whole or block-diagonal, and Kronecker pairs.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/api/table.h"

namespace halftone::kernels {

/// y = diag(after) H diag(before) x * scale, row by row; H is the Hadamard matrix of numerics/hadamard.h on every
/// `block` elements (or its transpose). A random rotation has signs as `before` and scale 1 / sqrt(block); its inverse
/// is transposed, with the signs as `after`. y may be x.
///
/// AVX2 and AVX-512 give the same bits, for any number of rows and threads: they add in the same order. Against exact
/// arithmetic |error|_2 <= (t + 3) u |y|_2 to first order, t and u as in numerics/hadamard.h (signs and powers of two
/// are exact). An element that is not finite makes its whole block not finite.
struct HadamardProblem {
  int64_t rows = 0;
  int64_t n = 0;
  int64_t block = 0;  ///< divides n; 2^k times 1, 12, 20, 28, 36 or 40
  bool transposed = false;
};
struct HadamardArgs {
  const float* x = nullptr;  ///< [rows, n], rows `x_stride` apart
  int64_t x_stride = 0;
  const float* before = nullptr;  ///< [n] signs or any diagonal, or null for ones
  const float* after = nullptr;   ///< [n], or null for ones
  float scale = 1;
  float* y = nullptr;  ///< [rows, n], rows `y_stride` apart
  int64_t y_stride = 0;
};
std::string to_string(const HadamardProblem& problem);
KernelTable<HadamardProblem, HadamardArgs> hadamard_table();
void hadamard(ExecContext& context, const HadamardProblem& problem, const HadamardArgs& args);

/// y = x (left (x) right) row by row: a row of a*b elements, read as X [a, b], becomes left^T X right (FlatQuant,
/// arXiv:2410.09426). y may be x. f32 sums in the order of the reduced index, fused multiply-add; the same bits on AVX2
/// and AVX-512. |error| <= (a + b) u * (|left|^T |X| |right|) to first order, element by element.
struct KroneckerProblem {
  int64_t rows = 0;
  int64_t a = 0;
  int64_t b = 0;
};
struct KroneckerArgs {
  const float* x = nullptr;  ///< [rows, a*b], rows `x_stride` apart
  int64_t x_stride = 0;
  const float* left = nullptr;   ///< [a, a] row-major
  const float* right = nullptr;  ///< [b, b] row-major
  float* y = nullptr;            ///< [rows, a*b], rows `y_stride` apart
  int64_t y_stride = 0;
};
std::string to_string(const KroneckerProblem& problem);
KernelTable<KroneckerProblem, KroneckerArgs> kronecker_table();
void kronecker(ExecContext& context, const KroneckerProblem& problem, const KroneckerArgs& args);

}  // namespace halftone::kernels
