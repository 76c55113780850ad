// What one forward step knows beyond its tensors, passed down instead of hidden in modules.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "base/exec_context.h"

namespace halftone::nn {

/// Watches a forward pass: calibration statistics come from here.
class Observer {
 public:
  virtual ~Observer() = default;
  /// Input [T, K] f32 of the linear layer `site`, before any quantisation.
  virtual void linear_input(const std::string& site, const at::Tensor& x) = 0;
  /// Queries [T, Hq, D] and keys [T, Hkv, D] f32 of block `block`, after RoPE.
  virtual void queries_and_keys(int64_t block, const at::Tensor& q, const at::Tensor& k) = 0;
};

struct StepContext {
  ExecContext& exec;
  Observer* observer = nullptr;
};

}  // namespace halftone::nn
