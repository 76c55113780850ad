// Rotations for AVX-512.
#define HALFTONE_ISA_NAMESPACE avx512
#include "kernels/cpu/hadamard/hadamard-inl.h"
