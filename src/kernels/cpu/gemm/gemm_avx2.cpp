// The GEMM compiled for AVX2 with FMA and F16C.
#define HALFTONE_GEMM_ISA avx2
#include "kernels/cpu/gemm/vectors_avx2-inl.h"
// The algorithms, over those vectors.
#include "kernels/cpu/gemm/gemm_float-inl.h"
#include "kernels/cpu/gemm/gemm_int8-inl.h"
