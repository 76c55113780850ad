// Rotations for AVX2.
#define HALFTONE_ISA_NAMESPACE avx2
#include "kernels/cpu/hadamard/hadamard-inl.h"
