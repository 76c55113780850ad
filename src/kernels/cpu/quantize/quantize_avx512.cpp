// Run-time quantisation for AVX512.
#define HALFTONE_ISA_NAMESPACE avx512
#include "kernels/cpu/quantize/quantize-inl.h"
