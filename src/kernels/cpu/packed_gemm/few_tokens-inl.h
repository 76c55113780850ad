// What the kernels for few tokens share, after dot-inl.h.
#pragma once

#include "kernels/cpu/packed_gemm/dot-inl.h"
#include "kernels/cpu/packed_gemm/packed_task.h"

namespace halftone::kernels::HALFTONE_ISA_NAMESPACE {

/// The finished sums of a tile's 16 rows, bias added, for all tokens.
template <int kRows>
[[gnu::always_inline]] static inline void write_tile(const PackedTask& t, int64_t tile, const F* real) {
  const int64_t n = tile * 16, left = t.n - n;
  const F bias = t.bias != nullptr ? load(t.bias + n, left) : zero();
  unrolled<kRows>([&](int r) HALFTONE_INLINE {  // in a loop the sums would have to live in memory
    if (r < t.m) store(t.y + r * t.y_stride + n, t.bias != nullptr ? add(real[r], bias) : real[r], left);
  });
}

}  // namespace halftone::kernels::HALFTONE_ISA_NAMESPACE
