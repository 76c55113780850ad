// The plain interface between the quantisation launchers and their per-ISA kernels, one row a call. Only POD types and
// no inline functions: this header is compiled with wide instruction sets too.
#pragma once

#include <cstdint>

namespace halftone::kernels {

/// A row of keys or values on its way into the cache of its head, laid out as numerics/kv_layout.h draws it.
struct KvRow {
  const float* x;  ///< [dim], dim % 16 == 0
  int64_t dim;
  int bits;  ///< of an element: 32 or 16 (floats), 8 or 4
  bool keys;
  int64_t position;
  unsigned char* head;
  uint16_t* scales;  ///< null for floats
};

struct QuantizeKernel {
  /// By the rule of numerics/reference/quantize.h.
  void (*store_kv_row)(const KvRow& row);
};

namespace avx2 {
extern const QuantizeKernel kQuantize;
}
namespace avx512 {
extern const QuantizeKernel kQuantize;
}

}  // namespace halftone::kernels
