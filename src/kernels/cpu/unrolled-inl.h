// Loops that the front end unrolls; included only by per-ISA files, after HALFTONE_ISA_NAMESPACE is defined.
#pragma once

namespace halftone::kernels::HALFTONE_ISA_NAMESPACE {

#ifndef HALFTONE_INLINE
#define HALFTONE_INLINE __attribute__((always_inline))
#endif

/// body(0), ..., body(kCount - 1): g++ 12 unrolls loops over an array of accumulators too late to keep them in
/// registers.
template <int kCount, class Body>
[[gnu::always_inline]] static inline void unrolled(const Body& body) {
  if constexpr (kCount > 0) {
    unrolled<kCount - 1>(body);
    body(kCount - 1);
  }
}

}  // namespace halftone::kernels::HALFTONE_ISA_NAMESPACE
