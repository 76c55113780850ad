// y[m, n] = sum_k x[m, k] * w[n, k] + bias[n] with weights of p bits and activations of q bits as bit planes
// (numerics/bit_planes.h): the product of codes is sum over i < p, j < q of 2^(i+j) popcount(W_i & X_j) (ABQ-LLM,
// arXiv:2408.08554). Work grows with p q: for small products only.
//
// Codes are unsigned, value = (code - offset / 2) * scale. So an offset is twice a zero point: 2 zero for asymmetric
// codes, 2^bits for two's complement codes with their sign bit flipped, 2^bits - 1 for +-1 (one bit, scale doubled) and
// other grids symmetric about 0 that lack it. With G the elements that share a weight's scale, o offsets, c and a
// codes:
//   S[G] = 4 sum c a - 2 o_w sum a - 2 o_x sum c + |G| o_w o_x                exact in int32
//   y    = fma(float(S[G]), s_w[G], y) in the order of K, times s_x / 4, plus bias
// Every entry gives these bits, for any M and thread count.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/api/table.h"
#include "numerics/bit_planes.h"

namespace halftone::kernels {

struct BitPlaneProblem {
  int64_t m = 1;
  int64_t n = 0;
  int64_t k = 0;
  int weight_bits = 2;      ///< 1..8
  int activation_bits = 8;  ///< 1..8; 4 (2^p - 1)(2^q - 1) |G| < 2^31
  int64_t group = 0;        ///< elements that share a weight's scale: a multiple of 64, the last may be short; 0: a row
};

std::string to_string(const BitPlaneProblem& problem);

struct BitPlaneWeightView {
  const uint64_t* planes = nullptr;   ///< PlaneOrder::Weights, 64-byte aligned
  const float* scales = nullptr;      ///< [tiles][groups][8]
  const uint16_t* offsets = nullptr;  ///< [tiles][groups][8], at most 2 (2^p - 1)
  const int32_t* sums = nullptr;      ///< [tiles][groups][8] sums of codes
};

struct BitPlaneActivationView {
  const uint64_t* planes = nullptr;   ///< PlaneOrder::Activations
  const float* scales = nullptr;      ///< [M]
  const uint16_t* offsets = nullptr;  ///< [M], at most 2 (2^q - 1)
  const int32_t* sums = nullptr;      ///< [M, groups] sums of codes
};

struct BitPlaneArgs {
  BitPlaneActivationView x;
  BitPlaneWeightView w;
  const float* bias = nullptr;  ///< [N] or null
  float* y = nullptr;           ///< [M, N], rows `y_stride` apart
  int64_t y_stride = 0;
};

/// Every entry of this build, best first, the double reference last.
KernelTable<BitPlaneProblem, BitPlaneArgs> bit_plane_table();

/// Runs the first entry that supports `problem`. Throws InvalidArgument for malformed problems or missing pointers.
void bit_plane_gemm(ExecContext& context, const BitPlaneProblem& problem, const BitPlaneArgs& args);

}  // namespace halftone::kernels
