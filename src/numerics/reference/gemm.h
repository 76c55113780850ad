// The oracle of the GEMM family: plain loops in double over values decoded one at a time. Products of f32 numbers and
// of codes with scales are exact or nearly so in double, so its result stands for the exact one in tests.
#pragma once

#include <cstdint>

#include "numerics/formats.h"
#include "numerics/formats/element_format.h"

namespace halftone::reference {

/// Stored weights, in the layouts of numerics/formats.h.
struct GemmWeights {
  int64_t n = 0, k = 0;
  ElementType type = ElementType::Float32;
  const void* codes = nullptr;   ///< [N, row_bytes(type, K)]
  int64_t group = 0;             ///< elements along K that share a zero point and a scale; K for one a row
  bool scale_per_group = false;  ///< scales [N, groups], else [N]; unused for floating-point types
  const float* scales = nullptr;
  const uint8_t* group_scales = nullptr;  ///< [N, groups] integer factors, or null
  const uint8_t* zeros = nullptr;         ///< [N, groups], or null when symmetric
  const float* mins = nullptr;            ///< [N, groups], added to code * scale, or null
  const ElementFormat* format = nullptr;  ///< what codes are worth instead of integers (kernels/api/gemm.h), or null
  const uint8_t* scale_codes = nullptr;   ///< [N, groups], indices into scales [256], or null
};

/// The integer (code - zero) * group_scale of element (n, k) of an integer type.
int integer_value(const GemmWeights& w, int64_t n, int64_t k);
/// The value of element (n, k), exact up to one rounding in double.
double weight_value(const GemmWeights& w, int64_t n, int64_t k);

/// y[m, n] = sum_k x[m, k] * w[n, k] + bias[n] for the rows n in [n0, n1), rounded once to f32. x [M, K], rows
/// `x_stride` apart; bias may be null.
void gemm(const float* x, int64_t x_stride, int64_t m, const GemmWeights& w, int64_t n0, int64_t n1, const float* bias,
          float* y, int64_t y_stride);

}  // namespace halftone::reference
