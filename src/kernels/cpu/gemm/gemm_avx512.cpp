// The GEMM compiled for AVX-512 with VNNI.
#define HALFTONE_GEMM_ISA avx512
#include "kernels/cpu/gemm/vectors_avx512-inl.h"
// The algorithms, over those vectors.
#include "kernels/cpu/gemm/gemm_float-inl.h"
#include "kernels/cpu/gemm/gemm_int8-inl.h"
