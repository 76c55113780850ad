// The plain interface between the quantisation launchers and their per-ISA kernels, one row a call. Only POD types and
// no inline functions: this header is compiled with wide instruction sets too.
#pragma once

#include <cstdint>

namespace halftone::kernels {

struct QuantizeKernel {
  /// False, with codes 0 and scale NaN, when x holds a NaN or an infinity.
  bool (*quantize_row)(const float* x, int64_t k, int8_t* codes, int64_t code_stride, float* scale);
  void (*store_half)(const float* x, int64_t dim, uint16_t* out);
  /// scale [2] f16 {scale, zero} by the rule of numerics/reference/quantize.h; dim % 16 == 0.
  void (*store_int8)(const float* x, int64_t dim, unsigned char* out, uint16_t* scale);
  void (*store_int4)(const float* x, int64_t dim, unsigned char* out, uint16_t* scale);
};

namespace avx2 {
extern const QuantizeKernel kQuantize;
}
namespace avx512 {
extern const QuantizeKernel kQuantize;
}

}  // namespace halftone::kernels
