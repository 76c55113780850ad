// What RMSNorm multiplies a row by.
#pragma once

#include "kernels/cpu/simd-inl.h"

namespace halftone::kernels::HALFTONE_ISA_NAMESPACE {

/// 1 / sqrt(mean(x^2) + epsilon) in all lanes. The sum of squares is taken in double, so rows of 1e20 or 1e-20 are as
/// exact as any; a norm's two products cost two roundings more.
static F inverse_rms(const float* x, int64_t k, float epsilon) {
  D squares = zero_d();
  for (int64_t i = 0; i < k; i += kLanes) {
    const F v = k - i < kLanes ? load(x + i, k - i) : load(x + i);
    squares = fma_halves(v, v, squares);
  }
  const __m128d mean = _mm_set_sd(sum(squares) / static_cast<double>(k) + static_cast<double>(epsilon));
  return set(static_cast<float>(1 / _mm_cvtsd_f64(_mm_sqrt_sd(mean, mean))));
}

}  // namespace halftone::kernels::HALFTONE_ISA_NAMESPACE
