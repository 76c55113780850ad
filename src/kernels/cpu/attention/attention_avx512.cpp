// Attention for AVX512.
#define HALFTONE_ISA_NAMESPACE avx512
#include "kernels/cpu/attention/attention-inl.h"
