// The oracle of the packed GEMM and of the quantisation of its activations, in double, element by element.
#pragma once

#include <cstdint>

#include "numerics/formats/element_format.h"
#include "numerics/interleaved.h"

namespace halftone::reference {

/// Interleaved weights [N, K]; see kernels/api/packed_gemm.h for the arrays.
struct PackedWeights {
  int64_t n = 0, k = 0;
  ElementType type = ElementType::Int4;
  int64_t group = 0;  ///< elements along K that share scales and zero point; K for one a row
  const uint8_t* codes = nullptr;
  bool super = false;                           ///< `scales` and `mins` are of kSuperGroup elements, and factors are i8
  const uint16_t* scales = nullptr;             ///< f16 a group (or super-group), or null
  const float* row_scales = nullptr;            ///< or null
  const uint8_t* group_scales = nullptr;        ///< or null
  const uint8_t* zeros = nullptr;               ///< or null
  const uint16_t* mins = nullptr;               ///< f16 a group (or super-group), or null
  const uint8_t* group_mins = nullptr;          ///< i8, with `super` and `mins` only
  const int8_t* values = nullptr;               ///< [16] that codes stand for, or null
  const ElementFormat* scale_format = nullptr;  ///< of group_scales, or null
};

/// The value of element (n, k), exact up to one rounding in double.
double packed_weight_value(const PackedWeights& w, int64_t n, int64_t k);

struct PackedActivations {
  const int8_t* codes = nullptr;  ///< [M, K], rows `stride` apart
  int64_t stride = 0;
  const float* scales = nullptr;  ///< [M], or [M, units] when unit_scales
  bool unit_scales = false;
};

/// y[m, n] = sum_k x[m, k] * w[n, k] + bias[n] for the rows n in [n0, n1), rounded once to f32, or added to y where
/// `accumulate`. bias may be null.
void packed_gemm(const PackedActivations& x, int64_t m, const PackedWeights& w, int64_t n0, int64_t n1,
                 const float* bias, bool accumulate, float* y, int64_t y_stride);

/// The rule of kernels/api/packed_gemm.h. Returns the first row with a NaN or an infinity, or -1; of such a row (or
/// unit, with unit_scales) codes and sums are 0 and the scale is NaN.
int64_t quantize_activations(int64_t rows, int64_t k, const float* x, int64_t x_stride, bool unit_scales, int8_t* codes,
                             int64_t code_stride, float* scales, int32_t* sums);

}  // namespace halftone::reference
