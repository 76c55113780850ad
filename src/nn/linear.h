// A linear layer: a named site whose op slot says how y = x W^T + b is computed.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "nn/step_context.h"
#include "tensor/ops.h"
#include "tensor/storage.h"

namespace halftone::nn {

/// How a linear layer's inputs are represented while it multiplies.
enum class ActivationFormat : uint8_t {
  Float32,       ///< as they are
  Int8PerToken,  ///< symmetric int8, one dynamic scale a token
  Int8PerGroup,  ///< symmetric int8, one dynamic f16 scale every 32 inputs: how ggml runs Q4_0 and Q8_0 files
};

std::string_view to_string(ActivationFormat format);
/// "f32", "int8" or "int8-group32"; throws InvalidArgument for others.
ActivationFormat parse_activation_format(std::string_view name);

/// How the integer kernels scale activations of `format`, which must not be Float32.
kernels::ActivationScales scales_of(ActivationFormat format);

/// The LinearOp slot. Methods that need another computation than a storage's own kernel implement it.
class LinearOp {
 public:
  virtual ~LinearOp() = default;
  /// x [T, K] -> y [T, N] f32, rows `y_stride` apart, bias excluded.
  virtual void forward_into(ExecContext& exec, Activation& x, float* y, int64_t y_stride) const = 0;
};

class Linear {
 public:
  /// `site` is the layer's name ("blocks.3.attn.q_proj"); `bias` is [N] f32 or undefined.
  Linear(std::string site, Storage weight, at::Tensor bias = {});
  ~Linear();
  Linear(Linear&&) noexcept;
  Linear& operator=(Linear&&) noexcept;

  const std::string& site() const { return site_; }
  int64_t inputs() const { return inputs_; }
  int64_t outputs() const { return outputs_; }

  /// x [T, K] -> y [T, N] f32, rows `y_stride` apart. The first call lays the weights out for the kernels.
  void forward_into(StepContext& step, Activation& x, float* y, int64_t y_stride) const;
  /// y += forward(x), as residual branches want it.
  void add_into(StepContext& step, Activation& x, float* y, int64_t y_stride) const;
  /// The same into a new tensor [T, N].
  at::Tensor forward(StepContext& step, Activation& x) const;

  /// Whether `rows` rows may come as bf16 tiles alone: nobody asks for them in f32.
  bool takes_bf16(const StepContext& step, int64_t rows) const;

  const Storage& weight() const { return *weight_; }
  /// Rows `ids` of the weight, [ids.size(), K] f32, also of a QuantizedStorage after run_only(): what an embedding that
  /// shares it reads. Throws InvalidArgument for an id outside [0, N).
  at::Tensor rows(std::span<const int32_t> ids) const;
  /// The storage itself, so that tied layers can be recognised and share it.
  const std::shared_ptr<const Storage>& shared_weight() const { return weight_; }
  ActivationFormat activations() const { return activations_; }
  const at::Tensor& bias() const { return bias_; }

  /// Replaces the weight (same [N, K]) and how inputs are represented, and puts the storage's own kernel in the slot.
  /// Throws Unsupported when no integer kernel serves the weight with int8 activations.
  void set_weight(Storage weight, ActivationFormat activations = ActivationFormat::Float32);
  void set_weight(std::shared_ptr<const Storage> weight, ActivationFormat activations = ActivationFormat::Float32);
  void set_bias(at::Tensor bias);
  /// Lays the weight out for its kernel now rather than at the first forward pass.
  void prepare() const;
  /// prepare(), and gives up the stored weight if the kernel has a copy of its own: from here on weight() is
  /// without_numbers(), and rows() needs a QuantizedStorage. For models that are run and never changed or saved.
  void run_only();
  void set_op(std::unique_ptr<LinearOp> op);
  /// Whether a method's op computes this layer instead of the storage's own kernel.
  bool has_op() const { return op_ != nullptr; }

  /// How often any layer has got another weight, bias or op so far: a group that finds the number it knows need not
  /// look at its members, which lie apart in memory and are not in a cache when a token comes to them.
  static uint64_t changes();

  /// The dense weight as f32 [N, K], for transforms; throws Unsupported when the layer is quantised already.
  at::Tensor dense_weight() const;

 private:
  friend class LinearGroup;  // lays members out as one, so that none needs its own numbers
  struct Kernel;
  const Kernel& kernel() const;
  void give_up_numbers() { weight_ = std::make_shared<const Storage>(without_numbers(*weight_)); }
  void run(StepContext& step, Activation& x, float* y, int64_t y_stride, bool add) const;

  int64_t outputs_ = 0, inputs_ = 0;
  std::string site_;
  std::shared_ptr<const Storage> weight_;
  ActivationFormat activations_ = ActivationFormat::Float32;
  at::Tensor bias_;
  std::unique_ptr<LinearOp> op_;
  std::unique_ptr<Kernel> kernel_;
};

}  // namespace halftone::nn
