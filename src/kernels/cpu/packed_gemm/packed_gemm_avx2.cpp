// The packed GEMM and the quantisation of its activations, for AVX2.
#define HALFTONE_ISA_NAMESPACE avx2
#include "kernels/cpu/packed_gemm/packed_gemm-inl.h"
#include "kernels/cpu/packed_gemm/quantize_activations-inl.h"
