// The oracle of the bit-plane GEMM, in double, code by code.
#pragma once

#include <cstdint>

#include "numerics/bit_planes.h"

namespace halftone::reference {

/// See kernels/api/bit_plane.h for the arrays; a row has one group where `group` is k.
struct BitPlaneWeights {
  BitPlanes planes;
  int64_t group = 0;
  const uint64_t* words = nullptr;
  const float* scales = nullptr;      ///< [tiles][groups][8]
  const uint16_t* offsets = nullptr;  ///< [tiles][groups][8]
};
struct BitPlaneActivations {
  BitPlanes planes;
  const uint64_t* words = nullptr;
  const float* scales = nullptr;      ///< [M]
  const uint16_t* offsets = nullptr;  ///< [M]
};

/// y[m, n] = sum_k x[m, k] * w[n, k] + bias[n] for the rows n in [n0, n1), rounded once to f32. bias may be null.
void bit_plane_gemm(const BitPlaneActivations& x, const BitPlaneWeights& w, int64_t n0, int64_t n1, const float* bias,
                    float* y, int64_t y_stride);

}  // namespace halftone::reference
