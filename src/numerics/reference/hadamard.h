// Rotations of rows in double precision, each result rounded once: the oracle of the kernels in kernels/api/hadamard.h,
// whose layouts these functions share.
#pragma once

#include <cstdint>

namespace halftone::reference {

/// y = diag(after) H diag(before) x * scale, with H applied to every `block` elements of the n, or H^T; null diagonals
/// mean ones; y may be x.
void hadamard(int64_t rows, int64_t n, int64_t block, bool transposed, const float* x, int64_t x_stride,
              const float* before, const float* after, double scale, float* y, int64_t y_stride);

/// row = row (left (x) right), in place: X [a, b] becomes left^T X right. left [a, a], right [b, b], row-major.
void kronecker_row(int64_t a, int64_t b, const double* left, const double* right, double* row);

/// The same for rows of floats; y may be x.
void kronecker(int64_t rows, int64_t a, int64_t b, const float* left, const float* right, const float* x,
               int64_t x_stride, float* y, int64_t y_stride);

}  // namespace halftone::reference
