// The GEMM compiled for AVX2 with FMA and F16C.
#define HALFTONE_ISA_NAMESPACE avx2
#include "kernels/cpu/gemm/gemm-inl.h"
