// Row-wise and element-wise operations in double precision, each result rounded once: the oracle of the kernels in
// kernels/api/elementwise.h, whose layouts these functions share.
#pragma once

#include <cstdint>

namespace halftone::reference {

/// y = x / sqrt(mean(x^2) + epsilon) * weight; a null weight means ones; y may be x.
void rms_norm(int64_t rows, int64_t k, const float* x, int64_t x_stride, const float* weight, float epsilon, float* y,
              int64_t y_stride);

/// x  [tokens, heads, head_dim], rotated in place; `adjacent` pairs (2i, 2i+1), otherwise (i, i + rotary_dim/2).
void rope(int64_t tokens, int64_t heads, int64_t head_dim, int64_t rotary_dim, bool adjacent, float* x,
          int64_t x_stride, int64_t start, const double* inverse_frequency);

/// The angles that kernels/api/elementwise.h describes, each rounded once.
void rope_angles(int64_t tokens, int64_t rotary_dim, bool adjacent, int64_t start, const double* inverse_frequency,
                 float* rows, int64_t row_floats);

double silu(double x);
/// The tanh approximation of GELU, written as x * sigmoid(2 z) with z = sqrt(2/pi) (x + 0.044715 x^3).
double gelu_tanh(double x);
/// y = gelu_tanh(gate) * up, or silu(gate) * up; n elements; y may be gate.
void gated(int64_t n, bool gelu, const float* gate, const float* up, float* y);

/// Per row: first index of the maximum, natural log of the sum of exponentials, and, with a reference row,
/// KL(softmax(reference) || softmax(x)).
void softmax_stats(int64_t rows, int64_t k, const float* x, const float* reference, int32_t* argmax,
                   double* log_sum_exp, double* kl);

}  // namespace halftone::reference
