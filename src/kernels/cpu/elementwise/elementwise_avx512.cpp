// Element-wise kernels for AVX512.
#define HALFTONE_ISA_NAMESPACE avx512
#include "kernels/cpu/elementwise/rows-inl.h"
#include "kernels/cpu/elementwise/softmax_stats-inl.h"

namespace halftone::kernels::avx512 {

const ElementwiseKernel kElementwise = {rms_norm,        rope_angles, rope_rotate, gated<Silu>,
                                        gated<GeluTanh>, softmax_sum, softmax_kl};

}  // namespace halftone::kernels::avx512
