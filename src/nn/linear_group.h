// Linear layers that read the same input (q, k, v; gate, up), run as one matrix where their storages allow it: one pass
// over the input, one hand-over to the threads.
#pragma once

#include <memory>
#include <optional>
#include <span>

#include "nn/linear.h"

namespace halftone::nn {

class LinearGroup {
 public:
  LinearGroup();
  ~LinearGroup();
  LinearGroup(LinearGroup&&) noexcept;
  LinearGroup& operator=(LinearGroup&&) noexcept;

  /// The outputs of all `members` on x [T, K], one after another in each row of y [T, sum N]. Equal to calling them one
  /// by one in every bit. Weights are stacked at the first call and again when a member's weight was replaced; all
  /// calls of a group name the same members.
  void forward_into(StepContext& step, std::span<const Linear* const> members, Activation& x, float* y) const;
  /// act(gate(x)) * up(x) for the members gate and up, as bf16 tiles for a layer that takes them; nothing where that is
  /// not how they run.
  std::optional<Activation> gated(StepContext& step, std::span<const Linear* const> members, Activation& x,
                                  kernels::GatedActivation activation) const;
  /// Stacks the weights now; members give theirs up (Linear::run_only). Where they cannot be stacked each is prepared
  /// alone.
  void run_only(std::span<Linear* const> members);

 private:
  struct Stack;
  /// The members as one matrix, made where needed; null where they cannot be one.
  const Stack* stacked(std::span<const Linear* const> members) const;
  std::unique_ptr<Stack> stack_;
};

/// Whether `members` run as one matrix: quantised alike, int8 activations, no op of a method.
bool can_stack(std::span<const Linear* const> members);

}  // namespace halftone::nn
