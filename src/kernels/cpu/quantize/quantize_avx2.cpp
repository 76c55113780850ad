// Run-time quantisation for AVX2.
#define HALFTONE_ISA_NAMESPACE avx2
#include "kernels/cpu/quantize/quantize-inl.h"
