// What the per-ISA translation units of the bit-plane GEMM see: plain data and function pointers only.
#pragma once

#include <cstdint>

namespace halftone::kernels {

/// A bit-plane GEMM with all defaults resolved; see kernels/api/bit_plane.h for the arrays.
struct BitPlaneTask {
  int64_t m, n, k;
  int p, q;  ///< bits of weights and activations
  int64_t words, groups, group_words;
  const uint64_t* w;
  const float* w_scales;
  const uint16_t* w_offsets;
  const int32_t* w_sums;
  const uint64_t* x;
  const float* x_scales;
  const uint16_t* x_offsets;
  const int32_t* x_sums;
  const float* bias;
  float* y;
  int64_t y_stride;
};

/// Tokens [m0, m1) against the tiles [tile0, tile1) of eight weight rows.
using BitPlaneRange = void (*)(const BitPlaneTask& task, int64_t m0, int64_t m1, int64_t tile0, int64_t tile1);

namespace avx2 {
void bit_plane(const BitPlaneTask& task, int64_t m0, int64_t m1, int64_t tile0, int64_t tile1);
}
namespace avx512 {
void bit_plane(const BitPlaneTask& task, int64_t m0, int64_t m1, int64_t tile0, int64_t tile1);
}
namespace avx512_vpopcntdq {
void bit_plane(const BitPlaneTask& task, int64_t m0, int64_t m1, int64_t tile0, int64_t tile1);
}

}  // namespace halftone::kernels
