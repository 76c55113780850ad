// Kernels over torch tensors: shapes are checked here, once, and the tables of kernels/api choose the code.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "base/exec_context.h"
#include "kernels/api/elementwise.h"
#include "tensor/storage.h"

namespace halftone {

/// Input of one or more linear layers: f32 values, and their per-token int8 form, made at most once.
class Activation {
 public:
  explicit Activation(at::Tensor values);
  const at::Tensor& values() const { return values_; }  ///< [T, K] f32
  /// Per-token symmetric int8 of the values (kernels/api/quantize.h), computed on first use.
  const kernels::ActivationView& int8(ExecContext& exec);
  kernels::ActivationView float32() const;

 private:
  at::Tensor values_;
  at::Tensor codes_, scales_;
  std::optional<kernels::ActivationView> int8_;
};

/// x w^T + bias -> [T, N] f32. `int8_activations` quantises x per token first. `bias` [N] f32 or undefined.
at::Tensor linear(ExecContext& exec, Activation& x, const PreparedWeight& weight, bool int8_activations,
                  const at::Tensor& bias = {});

/// RMSNorm of x [rows, K] with weight [K].
at::Tensor rms_norm(ExecContext& exec, const at::Tensor& x, const at::Tensor& weight, double epsilon);

/// act(gate) * up, both [T, K] f32.
at::Tensor gated(ExecContext& exec, const at::Tensor& gate, const at::Tensor& up, kernels::GatedActivation activation);

/// gram += x^T x for x [T, K] f32 and gram [K, K] f64, with the same bits for any number of threads.
void accumulate_gram(ExecContext& exec, const at::Tensor& x, at::Tensor& gram);

}  // namespace halftone
