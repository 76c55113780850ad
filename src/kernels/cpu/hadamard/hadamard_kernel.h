// The plain interface between the rotation launchers and their per-ISA kernels, one row a call. Only POD types and no
// inline functions: this header is compiled with wide instruction sets too.
#pragma once

#include <cstdint>

namespace halftone::kernels {

/// How the base of H = base (x) Sylvester(segment) is applied to its `order` segments.
enum class BaseKind : uint8_t {
  None,        ///< order 1
  Matrix,      ///< the product with the base's +1 and -1
  Conference,  ///< [1 1; 1 -1] (x) C + [1 -1; -1 -1] (x) I, symmetric: half the additions (Paley's construction II)
};

struct HadamardRow {
  int64_t n;        ///< elements of the row
  int64_t segment;  ///< power of two
  int64_t order;    ///< segments in a block: 1, 12, 20, 28 or 36
  BaseKind kind;
  const float* base;  ///< Matrix: [order, order], Conference: C [order / 2, order / 2]; column-major
  float scale;
  const float* before;  ///< [n] or null
  const float* after;   ///< [n] or null
};

struct HadamardKernel {
  void (*transform)(const HadamardRow& row, const float* x, float* y);
  /// y [a, b] = left^T x right; `scratch` [a * b] floats, overlapping neither; y may be x.
  void (*kronecker)(int64_t a, int64_t b, const float* left, const float* right, const float* x, float* scratch,
                    float* y);
};

namespace avx2 {
extern const HadamardKernel kHadamard;
}
namespace avx512 {
extern const HadamardKernel kHadamard;
}

}  // namespace halftone::kernels
