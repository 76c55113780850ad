// The bit-plane GEMM for AVX2.
#define HALFTONE_ISA_NAMESPACE avx2
#include "kernels/cpu/bit_plane/bit_plane-inl.h"
