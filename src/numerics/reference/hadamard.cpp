// Rotations, plainly; see hadamard.h.
#include "numerics/reference/hadamard.h"

#include <vector>

#include "numerics/hadamard.h"

namespace halftone::reference {

void hadamard(int64_t rows, int64_t n, int64_t block, bool transposed, const float* x, int64_t x_stride,
              const float* before, const float* after, double scale, float* y, int64_t y_stride) {
  std::vector<double> row(static_cast<size_t>(n));
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < n; ++i) row[i] = double{x[r * x_stride + i]} * (before == nullptr ? 1.0 : before[i]);
    hadamard_in_place(std::span(row), block, transposed);
    for (int64_t i = 0; i < n; ++i)
      y[r * y_stride + i] = static_cast<float>(row[i] * scale * (after == nullptr ? 1.0 : after[i]));
  }
}

void kronecker_row(int64_t a, int64_t b, const double* left, const double* right, double* row) {
  std::vector<double> half(static_cast<size_t>(a * b), 0.0);
  for (int64_t i = 0; i < a; ++i)  // left^T X
    for (int64_t j = 0; j < a; ++j)
      for (int64_t c = 0; c < b; ++c) half[j * b + c] += left[i * a + j] * row[i * b + c];
  for (int64_t j = 0; j < a; ++j)  // (left^T X) right
    for (int64_t c = 0; c < b; ++c) {
      double sum = 0;
      for (int64_t i = 0; i < b; ++i) sum += half[j * b + i] * right[i * b + c];
      row[j * b + c] = sum;
    }
}

void kronecker(int64_t rows, int64_t a, int64_t b, const float* left, const float* right, const float* x,
               int64_t x_stride, float* y, int64_t y_stride) {
  const std::vector<double> wide_left(left, left + a * a), wide_right(right, right + b * b);
  std::vector<double> row(static_cast<size_t>(a * b));
  for (int64_t r = 0; r < rows; ++r) {
    for (size_t i = 0; i < row.size(); ++i) row[i] = x[r * x_stride + static_cast<int64_t>(i)];
    kronecker_row(a, b, wide_left.data(), wide_right.data(), row.data());
    for (size_t i = 0; i < row.size(); ++i) y[r * y_stride + static_cast<int64_t>(i)] = static_cast<float>(row[i]);
  }
}

}  // namespace halftone::reference
