// The packed GEMM and the quantisation of its activations, for AVX512.
#define HALFTONE_ISA_NAMESPACE avx512
#include "kernels/cpu/packed_gemm/packed_gemm-inl.h"
#include "kernels/cpu/packed_gemm/quantize_activations-inl.h"
