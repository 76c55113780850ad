// The bit-plane GEMM for AVX-512.
#define HALFTONE_ISA_NAMESPACE avx512
#include "kernels/cpu/bit_plane/bit_plane-inl.h"
