// The row-wise and element-wise operations of a transformer block: RMSNorm, RoPE, gated activations, softmax
// statistics.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/api/table.h"

namespace halftone::kernels {

/// y = x / sqrt(mean(x^2) + epsilon) * weight, row by row (Zhang & Sennrich, arXiv:1910.07467). y may be x.
struct RmsNormProblem {
  int64_t rows = 0;
  int64_t k = 0;
};
struct RmsNormArgs {
  const float* x = nullptr;  ///< [rows, k], rows `x_stride` apart
  int64_t x_stride = 0;
  const float* weight = nullptr;  ///< [k], or null for ones
  float epsilon = 1e-5f;
  float* y = nullptr;  ///< [rows, k], rows `y_stride` apart
  int64_t y_stride = 0;
};
std::string to_string(const RmsNormProblem& problem);
KernelTable<RmsNormProblem, RmsNormArgs> rms_norm_table();
void rms_norm(ExecContext& context, const RmsNormProblem& problem, const RmsNormArgs& args);

/// Which elements of a head RoPE rotates together (Su et al., arXiv:2104.09864).
enum class RopeStyle : uint8_t {
  Adjacent,   ///< (2i, 2i+1): GGUF "llama" files, whose q/k rows were permuted at conversion
  HalfSplit,  ///< (i, i + rotary_dim/2): Hugging Face, gemma3, qwen2
};

/// Rotates x in place: pair i of the token at position p turns by p * inverse_frequency[i].
struct RopeProblem {
  int64_t tokens = 0;
  int64_t heads = 0;
  int64_t head_dim = 0;
  int64_t rotary_dim = 0;  ///< even, <= head_dim; elements past it stay
  RopeStyle style = RopeStyle::Adjacent;
};
struct RopeArgs {
  float* x = nullptr;  ///< [tokens, heads, head_dim], rows `x_stride` apart
  int64_t x_stride = 0;
  int64_t start = 0;                          ///< position of the first token
  const double* inverse_frequency = nullptr;  ///< [rotary_dim / 2]; angles are formed in double
};
std::string to_string(const RopeProblem& problem);
KernelTable<RopeProblem, RopeArgs> rope_table();
void rope(ExecContext& context, const RopeProblem& problem, const RopeArgs& args);

/// RoPE's angles of neighbouring tokens, for the layers that share them. A token's row holds rope_row_floats: cosines,
/// then at rotary_dim + 16 sines; HalfSplit: one a pair; Adjacent: one an element, the sine of a pair's first negated.
struct RopeAnglesProblem {
  int64_t tokens = 0;
  int64_t rotary_dim = 0;  ///< even
  RopeStyle style = RopeStyle::Adjacent;
};
struct RopeAnglesArgs {
  int64_t start = 0;                          ///< position of the first token
  const double* inverse_frequency = nullptr;  ///< [rotary_dim / 2]
  float* rows = nullptr;                      ///< [tokens, rope_row_floats(rotary_dim)]
};
constexpr int64_t rope_row_floats(int64_t rotary_dim) { return 2 * (rotary_dim + 16); }
std::string to_string(const RopeAnglesProblem& problem);
KernelTable<RopeAnglesProblem, RopeAnglesArgs> rope_angles_table();
void rope_angles(ExecContext& context, const RopeAnglesProblem& problem, const RopeAnglesArgs& args);

/// y = act(gate) * up with act = SiLU (SwiGLU) or tanh-approximated GELU (GeGLU); Shazeer, arXiv:2002.05202. y may be
/// gate where that is contiguous.
enum class GatedActivation : uint8_t { SwiGlu, GeGlu };
struct GatedProblem {
  int64_t rows = 0;
  int64_t k = 0;
  GatedActivation activation = GatedActivation::SwiGlu;
};
struct GatedArgs {
  const float* gate = nullptr;  ///< [rows, k]
  const float* up = nullptr;    ///< [rows, k]
  float* y = nullptr;           ///< [rows, k], contiguous
  int64_t stride = 0;           ///< between rows of gate and of up; 0 for k
};
std::string to_string(const GatedProblem& problem);
KernelTable<GatedProblem, GatedArgs> gated_table();
void gated(ExecContext& context, const GatedProblem& problem, const GatedArgs& args);

/// Row statistics of logits, all in natural logarithms: max, index of the first maximum, log-sum-exp; and, when a
/// reference row is given, the divergence KL(softmax(reference) || softmax(x)).
struct SoftmaxStatsProblem {
  int64_t rows = 0;
  int64_t k = 0;
};
struct SoftmaxStatsArgs {
  const float* x = nullptr;          ///< [rows, k], contiguous
  const float* reference = nullptr;  ///< [rows, k], contiguous, or null
  int32_t* argmax = nullptr;         ///< [rows]
  double* log_sum_exp = nullptr;     ///< [rows]
  double* kl = nullptr;              ///< [rows], with `reference` only
};
std::string to_string(const SoftmaxStatsProblem& problem);
KernelTable<SoftmaxStatsProblem, SoftmaxStatsArgs> softmax_stats_table();
void softmax_stats(ExecContext& context, const SoftmaxStatsProblem& problem, const SoftmaxStatsArgs& args);

}  // namespace halftone::kernels
