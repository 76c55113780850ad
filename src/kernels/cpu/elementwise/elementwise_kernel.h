// The plain interface between the element-wise launchers and their per-ISA kernels: one row, or one token, a call. Only
// POD types and no inline functions: this header is compiled with wide instruction sets too.
#pragma once

#include <cstdint>

namespace halftone::kernels {

/// Cosines and sines of one token; `cosines` and `sines` hold rotary_dim + kRopePad floats each.
struct RopeRow {
  float* cosines;
  float* sines;
  int64_t rotary_dim;
  bool adjacent;
};
inline constexpr int kRopePad = 16;

/// What one sweep over a row of logits finds; log-sum-exp = maximum + log(sum).
struct SoftmaxSum {
  int64_t argmax;
  float maximum;
  double sum;
};

struct ElementwiseKernel {
  void (*rms_norm)(const float* x, const float* weight, int64_t k, float epsilon, float* y);
  /// Fills `row` for `position`, in the order in which `rope_rotate` reads it.
  void (*rope_angles)(const RopeRow& row, int64_t position, const double* inverse_frequency);
  void (*rope_rotate)(const RopeRow& row, int64_t heads, int64_t head_dim, float* x);
  void (*swiglu)(int64_t n, const float* gate, const float* up, float* y);
  void (*geglu)(int64_t n, const float* gate, const float* up, float* y);
  SoftmaxSum (*softmax_sum)(int64_t k, const float* x);
  /// KL(softmax(r) || softmax(x)) given both log-sum-exps.
  double (*softmax_kl)(int64_t k, const float* x, double x_log_sum, const float* r, double r_log_sum);
};

namespace avx2 {
extern const ElementwiseKernel kElementwise;
}
namespace avx512 {
extern const ElementwiseKernel kElementwise;
}

}  // namespace halftone::kernels
