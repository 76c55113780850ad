// A linear layer: a named site whose op slot says how y = x W^T + b is computed.
#pragma once

#include <memory>
#include <string>

#include "nn/step_context.h"
#include "tensor/ops.h"
#include "tensor/storage.h"

namespace halftone::nn {

/// How a linear layer's inputs are represented while it multiplies.
enum class ActivationFormat : uint8_t {
  Float32,       ///< as they are
  Int8PerToken,  ///< symmetric int8, one dynamic scale a token
};

std::string_view to_string(ActivationFormat format);
/// "f32" or "int8"; throws InvalidArgument for others.
ActivationFormat parse_activation_format(std::string_view name);

/// The LinearOp slot. Methods that need another computation than a storage's own kernel implement it.
class LinearOp {
 public:
  virtual ~LinearOp() = default;
  /// x [T, K] -> [T, N] f32, bias excluded.
  virtual at::Tensor forward(ExecContext& exec, Activation& x) const = 0;
};

class Linear {
 public:
  /// `site` is the layer's name ("blocks.3.attn.q_proj"); `bias` is [N] f32 or undefined.
  Linear(std::string site, Storage weight, at::Tensor bias = {});

  const std::string& site() const { return site_; }
  int64_t inputs() const { return columns_of(*weight_); }
  int64_t outputs() const { return rows_of(*weight_); }

  /// x [T, K] -> [T, N] f32.
  at::Tensor forward(StepContext& step, Activation& x) const;

  const Storage& weight() const { return *weight_; }
  /// The storage itself, so that tied layers can be recognised and share it.
  const std::shared_ptr<const Storage>& shared_weight() const { return weight_; }
  ActivationFormat activations() const { return activations_; }
  const at::Tensor& bias() const { return bias_; }

  /// Replaces the weight (same [N, K]) and how inputs are represented, and puts the storage's own kernel in the slot.
  void set_weight(Storage weight, ActivationFormat activations = ActivationFormat::Float32);
  void set_weight(std::shared_ptr<const Storage> weight, ActivationFormat activations = ActivationFormat::Float32);
  void set_bias(at::Tensor bias) { bias_ = std::move(bias); }
  void set_op(std::unique_ptr<LinearOp> op) { op_ = std::move(op); }

  /// The dense weight as f32 [N, K], for transforms; throws Unsupported when the layer is quantised already.
  at::Tensor dense_weight() const;

 private:
  std::string site_;
  std::shared_ptr<const Storage> weight_;
  ActivationFormat activations_ = ActivationFormat::Float32;
  at::Tensor bias_;
  std::unique_ptr<LinearOp> op_;
};

}  // namespace halftone::nn
