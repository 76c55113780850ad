// y[m, n] = sum_k bf16(x[m, k]) * bf16(w[n, k]) + bias[n] for prompts: the quantised weights of packed_gemm.h against
// bf16 activations, on matrix instructions.
//
// Where groups have scales, integer matrix products must stop at every group to become floats; products in bf16 run
// through. A weight is (code - zero) * scale + minimum rounded to bf16 once, an activation likewise, sums are f32 in
// the order of K: with u = 2^-8 an output is off by at most about (2u + 2^-24 K) sum_k |x w|. An output depends on its
// own row of x and of w alone, for any M, thread count and position; but its bits are not those of packed_gemm.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "kernels/api/elementwise.h"
#include "kernels/api/packed_gemm.h"

namespace halftone::kernels {

/// Tokens and elements of a tile of activations; tiles follow each other along K, then along the tokens.
inline constexpr int64_t kBf16TileTokens = 16, kBf16TileLength = 32;
/// bf16 values of [rows, k] in tiles: tokens are padded to 32, elements to 32.
constexpr int64_t bf16_tiled_size(int64_t rows, int64_t k) { return (rows + 31) / 32 * 32 * ((k + 31) / 32 * 32); }
/// Where element k of row m is.
constexpr int64_t bf16_tiled_index(int64_t k_total, int64_t m, int64_t k) {
  return (m / 16 * units_of(k_total) + k / 32) * 512 + m % 16 * 32 + k % 32;
}

struct PackedBf16Problem {
  PackedGemmProblem gemm;   ///< sizes and weights, in groups of at least 32; `activations` plays no part
  bool accumulate = false;  ///< y += instead of y =, without bias
  /// The first N/2 outputs of a token are gates and the others ups (SwiGLU, GeGLU): the result is act(gate) * up
  /// rounded to bf16, [M, N/2] in tiles, which a next product reads as it is. N a multiple of 64, without bias or
  /// accumulate.
  std::optional<GatedActivation> gated = std::nullopt;
};
struct PackedBf16Args {
  const uint16_t* x = nullptr;  ///< bf16 [M, K] in tiles, zero past M and K; 64-byte aligned
  PackedWeightView w;
  const float* bias = nullptr;  ///< [N] or null
  float* y = nullptr;           ///< [M, N], rows `y_stride` apart; not with `gated`
  int64_t y_stride = 0;
  uint16_t* gated_y = nullptr;  ///< bf16_tiled_size(M, N/2) values, 64-byte aligned; with `gated` only
};
std::string to_string(const PackedBf16Problem& problem);
KernelTable<PackedBf16Problem, PackedBf16Args> packed_bf16_table();
/// Runs the first entry that supports `problem`. Throws InvalidArgument for malformed problems or missing pointers.
void packed_bf16(ExecContext& context, const PackedBf16Problem& problem, const PackedBf16Args& args);

/// x, or with `norm` its RMSNorm as rms_norm computes it, to bf16 in tiles, to nearest even; a denormal result becomes
/// zero, NaN and infinities stay what they are.
struct RoundActivationsProblem {
  int64_t rows = 0;
  int64_t k = 0;
  bool norm = false;
};
struct RoundActivationsArgs {
  const float* x = nullptr;  ///< [rows, k], rows `x_stride` apart
  int64_t x_stride = 0;
  const float* norm_weight = nullptr;  ///< [k], or null for ones; with `norm` only
  float epsilon = 0;                   ///< with `norm` only
  uint16_t* y = nullptr;               ///< bf16_tiled_size(rows, k) values, all of them written
};
std::string to_string(const RoundActivationsProblem& problem);
KernelTable<RoundActivationsProblem, RoundActivationsArgs> round_activations_table();
void round_activations(ExecContext& context, const RoundActivationsProblem& problem, const RoundActivationsArgs& args);

}  // namespace halftone::kernels
