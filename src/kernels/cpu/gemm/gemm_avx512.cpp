// The GEMM compiled for AVX-512.
#define HALFTONE_ISA_NAMESPACE avx512
#include "kernels/cpu/gemm/gemm-inl.h"
