// The oracle of the packed GEMM with bf16 activations: operands rounded as the contract says, products in double.
#pragma once

#include <cstdint>

#include "numerics/reference/packed_gemm.h"

namespace halftone::reference {

/// y[m, n] = sum_k x[m, k] * bf16(w[n, k]) + bias[n], or y += without bias where `accumulate`, for the rows n in
/// [n0, n1), rounded once to f32. x: bf16 in tiles (kernels/api/packed_bf16.h); bias may be null.
void packed_bf16(const uint16_t* x, int64_t m, const PackedWeights& w, int64_t n0, int64_t n1, const float* bias,
                 bool accumulate, float* y, int64_t y_stride);

/// The same for rows of w that are gates, then as many ups: y = act(gate) * up, SwiGLU or tanh-approximated GeGLU, in
/// double and rounded once to bf16, tiles of [m, w.n / 2] padded with zeros.
void packed_bf16_gated(const uint16_t* x, int64_t m, const PackedWeights& w, bool gelu, uint16_t* y);

/// f32 rows to bf16 in tiles, padded to 32 rows and 32 elements with zeros.
void round_activations(const float* x, int64_t x_stride, int64_t rows, int64_t k, uint16_t* y);

}  // namespace halftone::reference
