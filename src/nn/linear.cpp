// The default op of a linear layer, and its weight's life; see linear.h.
#include "nn/linear.h"

#include <ATen/ops/add.h>

#include "base/error.h"

namespace halftone::nn {
namespace {

/// Multiplies with the storage's own kernel.
class StorageOp final : public LinearOp {
 public:
  StorageOp(const Storage& storage, ActivationFormat activations) : weight_(storage), activations_(activations) {}
  at::Tensor forward(ExecContext& exec, Activation& x) const override {
    return linear(exec, x, weight_, activations_ == ActivationFormat::Int8PerToken);
  }

 private:
  PreparedWeight weight_;
  ActivationFormat activations_;
};

}  // namespace

std::string_view to_string(ActivationFormat format) {
  return format == ActivationFormat::Int8PerToken ? "int8" : "f32";
}

ActivationFormat parse_activation_format(std::string_view name) {
  if (name == "f32") return ActivationFormat::Float32;
  if (name == "int8") return ActivationFormat::Int8PerToken;
  throw InvalidArgument("activation format '{}' is unknown; it is f32 or int8", name);
}

Linear::Linear(std::string site, Storage weight, at::Tensor bias) : site_(std::move(site)), bias_(std::move(bias)) {
  set_weight(std::move(weight));
}

void Linear::set_weight(Storage weight, ActivationFormat activations) {
  set_weight(std::make_shared<const Storage>(std::move(weight)), activations);
}

void Linear::set_weight(std::shared_ptr<const Storage> weight, ActivationFormat activations) {
  if (weight_ && (rows_of(*weight) != outputs() || columns_of(*weight) != inputs()))
    throw InvalidArgument("{}: a weight of [{}, {}] cannot replace one of [{}, {}]", site_, rows_of(*weight),
                          columns_of(*weight), outputs(), inputs());
  if (bias_.defined() && bias_.numel() != rows_of(*weight))
    throw InvalidArgument("{}: {} bias values for {} outputs", site_, bias_.numel(), rows_of(*weight));
  weight_ = std::move(weight);
  activations_ = activations;
  op_ = std::make_unique<StorageOp>(*weight_, activations);
}

at::Tensor Linear::forward(StepContext& step, Activation& x) const {
  if (step.observer != nullptr) step.observer->linear_input(site_, x.values());
  at::Tensor y = op_->forward(step.exec, x);
  if (bias_.defined()) y.add_(bias_);
  return y;
}

at::Tensor Linear::dense_weight() const {
  if (const auto* dense = std::get_if<DenseStorage>(weight_.get())) return dense->values.to(at::kFloat);
  throw Unsupported("{} is stored as {}; this transform needs the original weights, so start from the original model",
                    site_, describe(*weight_));
}

}  // namespace halftone::nn
