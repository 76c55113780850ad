// The packed GEMM of ternary weights for AVX-512 with VBMI, whose byte permutation looks a code up among all 27 numbers
// of three.
#define HALFTONE_ISA_NAMESPACE avx512_vbmi
#include "kernels/cpu/packed_gemm/packed_gemm-inl.h"
