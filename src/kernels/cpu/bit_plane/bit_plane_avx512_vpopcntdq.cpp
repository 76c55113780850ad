// The bit-plane GEMM for AVX-512 with VPOPCNTDQ.
#define HALFTONE_ISA_NAMESPACE avx512_vpopcntdq
#include "kernels/cpu/bit_plane/bit_plane-inl.h"
