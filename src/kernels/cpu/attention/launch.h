// What the launchers of attention share: the plain parameters of a problem, and the loops over threads.
#pragma once

#include <span>

#include "kernels/api/attention.h"
#include "kernels/cpu/attention/attention_kernel.h"

namespace halftone::kernels {

inline constexpr int64_t kSplitTokens = 8;  ///< up to here keys are split over threads

AttentionParams params_of(const AttentionProblem& problem, const AttentionArgs& args);

/// The kernel of an instruction set.
struct IsaKernel {
  Isa isa;
  const AttentionKernel& attention;
};

/// Hands out pieces of the workspace, each on a cache line of its own; without memory it only counts.
struct WorkspaceCarver {
  unsigned char* memory;
  size_t used = 0;
  template <class T>
  T* take(int64_t count) {
    auto* at = memory == nullptr ? nullptr : reinterpret_cast<T*>(memory + used);
    used += (static_cast<size_t>(count) * sizeof(T) + 63) / 64 * 64;
    return at;
  }
};

/// The sequences of at most kSplitTokens tokens, their appends included; others are left alone.
void attend_few_tokens(ExecContext& context, const IsaKernel& kernel, std::span<const AttentionProblem> problems,
                       std::span<const AttentionArgs> args);
/// One sequence of any length whose tokens are in the cache.
void attend_tiles(ExecContext& context, const AttentionKernel& kernel, const AttentionParams& p, int64_t kv_heads);
/// The same with bf16 products on matrix instructions. False, with some of the output written, where a value is too
/// large or not finite: see PromptKernel::pack.
bool attend_prompt(ExecContext& context, const AttentionParams& p, int64_t kv_heads);

}  // namespace halftone::kernels
