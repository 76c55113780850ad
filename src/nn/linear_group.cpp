// Stacking, and noticing that a member changed; see linear_group.h.
#include "nn/linear_group.h"

#include <atomic>
#include <mutex>
#include <optional>
#include <vector>

namespace halftone::nn {
namespace {

std::vector<const Storage*> storages_of(std::span<const Linear* const> members) {
  std::vector<const Storage*> parts;
  for (const Linear* member : members) parts.push_back(&member->weight());
  return parts;
}

/// The part of can_stack that does not depend on weights.
bool run_alike(std::span<const Linear* const> members) {
  for (const Linear* member : members)
    if (member->has_op() || member->activations() == ActivationFormat::Float32 ||
        member->activations() != members.front()->activations())
      return false;
  return true;
}

}  // namespace

struct LinearGroup::Stack {
  std::atomic<uint64_t> seen = 0;  ///< Linear::changes() when members were last looked at, plus 1
  std::atomic<bool> usable = false;
  std::mutex mutex;
  std::vector<std::shared_ptr<const Storage>> made_from;  ///< kept, so that an address cannot return as another weight
  std::vector<const void*> biases;
  std::optional<PackedWeight> packed;
  std::vector<float> bias;

  /// Whether what was made is for these weights and biases.
  bool current(std::span<const Linear* const> members) const {
    if (made_from.size() != members.size()) return false;
    for (size_t i = 0; i < members.size(); ++i)
      if (made_from[i] != members[i]->shared_weight() || biases[i] != members[i]->bias().unsafeGetTensorImpl())
        return false;
    return true;
  }

  void make(std::span<const Linear* const> members) {
    made_from.clear(), biases.clear(), bias.clear(), packed.reset();
    const auto parts = storages_of(members);
    if (why_not_packed(parts).empty()) packed.emplace(parts);
    bool any_bias = false;
    for (const Linear* member : members) {
      made_from.push_back(member->shared_weight());
      biases.push_back(member->bias().unsafeGetTensorImpl());
      any_bias = any_bias || member->bias().defined();
    }
    if (!any_bias) return;
    for (const Linear* member : members) {
      const float* values = member->bias().defined() ? member->bias().const_data_ptr<float>() : nullptr;
      for (int64_t n = 0; n < member->outputs(); ++n) bias.push_back(values != nullptr ? values[n] : 0);
    }
  }
};

LinearGroup::LinearGroup() : stack_(std::make_unique<Stack>()) {}
LinearGroup::~LinearGroup() = default;
LinearGroup::LinearGroup(LinearGroup&&) noexcept = default;
LinearGroup& LinearGroup::operator=(LinearGroup&&) noexcept = default;

bool can_stack(std::span<const Linear* const> members) {
  return run_alike(members) && why_not_packed(storages_of(members)).empty();
}

const LinearGroup::Stack* LinearGroup::stacked(std::span<const Linear* const> members) const {
  Stack& stack = *stack_;
  const uint64_t now = Linear::changes() + 1;
  if (stack.seen.load(std::memory_order_acquire) != now) {
    const std::lock_guard lock(stack.mutex);
    const bool alike = run_alike(members);
    if (alike && !stack.current(members)) stack.make(members);
    stack.usable = alike && stack.packed;
    stack.seen.store(now, std::memory_order_release);
  }
  return stack.usable.load(std::memory_order_relaxed) ? &stack : nullptr;
}

void LinearGroup::run_only(std::span<Linear* const> members) {
  if (stacked(std::vector<const Linear*>(members.begin(), members.end())) == nullptr) {
    for (Linear* member : members) member->run_only();
    return;
  }
  for (size_t i = 0; i < members.size(); ++i) {
    members[i]->give_up_numbers();
    stack_->made_from[i] = members[i]->shared_weight();
  }
}

std::optional<Activation> LinearGroup::gated(StepContext& step, std::span<const Linear* const> members, Activation& x,
                                             kernels::GatedActivation activation) const {
  const Stack* stack = step.observer == nullptr ? stacked(members) : nullptr;
  if (stack == nullptr || !stack->bias.empty()) return std::nullopt;
  return gated_in_bf16(step.exec, x, *stack->packed, scales_of(members.front()->activations()), activation);
}

void LinearGroup::forward_into(StepContext& step, std::span<const Linear* const> members, Activation& x,
                               float* y) const {
  int64_t outputs = 0;
  for (const Linear* member : members) outputs += member->outputs();
  const Stack* stack = stacked(members);
  if (stack == nullptr) {
    for (const Linear* member : members) {
      member->forward_into(step, x, y, outputs);
      y += member->outputs();
    }
    return;
  }
  if (step.observer != nullptr)
    for (const Linear* member : members) step.observer->linear_input(member->site(), x.tensor());
  linear_into(step.exec, x, *stack->packed, scales_of(members.front()->activations()),
              {.y = y, .stride = outputs, .bias = stack->bias.empty() ? nullptr : stack->bias.data()});
}

}  // namespace halftone::nn
