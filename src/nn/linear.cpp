// A linear layer's kernel, prepared when it is first used, and its weight's life; see linear.h.
#include "nn/linear.h"

#include <ATen/ops/empty.h>

#include <atomic>
#include <mutex>
#include <optional>

#include "base/error.h"

namespace halftone::nn {

/// The weight as its kernel wants it. Made at the first forward pass, so that layers which are only read, transformed
/// or run as a part of a LinearGroup cost no second copy.
struct Linear::Kernel {
  std::atomic<bool> made = false;  ///< spares std::call_once, which is slower
  std::once_flag once;
  std::optional<PreparedWeight> dense;  ///< f32 activations
  std::optional<PackedWeight> packed;   ///< int8 activations
};

namespace {

std::atomic<uint64_t> change_count = 0;

void changed() { change_count.fetch_add(1, std::memory_order_release); }

}  // namespace

uint64_t Linear::changes() { return change_count.load(std::memory_order_acquire); }

std::string_view to_string(ActivationFormat format) {
  switch (format) {
    case ActivationFormat::Float32:
      return "f32";
    case ActivationFormat::Int8PerToken:
      return "int8";
    case ActivationFormat::Int8PerGroup:
      return "int8-group32";
  }
  return "?";
}

ActivationFormat parse_activation_format(std::string_view name) {
  for (const auto format : {ActivationFormat::Float32, ActivationFormat::Int8PerToken, ActivationFormat::Int8PerGroup})
    if (to_string(format) == name) return format;
  throw InvalidArgument("activation format '{}' is unknown; it is f32, int8 or int8-group32", name);
}

kernels::ActivationScales scales_of(ActivationFormat format) {
  return format == ActivationFormat::Int8PerGroup ? kernels::ActivationScales::Unit : kernels::ActivationScales::Row;
}

Linear::Linear(std::string site, Storage weight, at::Tensor bias) : site_(std::move(site)), bias_(std::move(bias)) {
  set_weight(std::move(weight));
}

Linear::~Linear() = default;
Linear::Linear(Linear&&) noexcept = default;
Linear& Linear::operator=(Linear&& other) noexcept {
  outputs_ = other.outputs_, inputs_ = other.inputs_;
  site_ = std::move(other.site_);
  weight_ = std::move(other.weight_);
  activations_ = other.activations_;
  bias_ = std::move(other.bias_);
  op_ = std::move(other.op_);
  kernel_ = std::move(other.kernel_);
  changed();
  return *this;
}

void Linear::set_weight(Storage weight, ActivationFormat activations) {
  set_weight(std::make_shared<const Storage>(std::move(weight)), activations);
}

void Linear::set_weight(std::shared_ptr<const Storage> weight, ActivationFormat activations) {
  const int64_t rows = rows_of(*weight), columns = columns_of(*weight);
  if (weight_ && (rows != outputs() || columns != inputs()))
    throw InvalidArgument("{}: a weight of [{}, {}] cannot replace one of [{}, {}]", site_, rows, columns, outputs(),
                          inputs());
  if (bias_.defined() && bias_.numel() != rows)
    throw InvalidArgument("{}: {} bias values for {} outputs", site_, bias_.numel(), rows);
  validate(*weight);
  if (activations != ActivationFormat::Float32) {
    if (const std::string why = why_not_packed(*weight); !why.empty())
      throw Unsupported("{}: int8 activations do not fit its weights: {}; use f32 activations or another group size",
                        site_, why);
  }
  weight_ = std::move(weight);
  outputs_ = rows, inputs_ = columns;
  activations_ = activations;
  op_.reset();
  kernel_ = std::make_unique<Kernel>();
  changed();
}

void Linear::set_bias(at::Tensor bias) {
  bias_ = std::move(bias);
  changed();
}

void Linear::set_op(std::unique_ptr<LinearOp> op) {
  op_ = std::move(op);
  changed();
}

void Linear::forward_into(StepContext& step, Activation& x, float* y, int64_t y_stride) const {
  run(step, x, y, y_stride, false);
}

void Linear::add_into(StepContext& step, Activation& x, float* y, int64_t y_stride) const {
  if (op_ == nullptr && !bias_.defined()) return run(step, x, y, y_stride, true);
  const Arena::Frame frame(step.exec.arena);
  const int64_t n = outputs();
  auto* sum = step.exec.arena.take<float>(x.rows() * n);
  run(step, x, sum, n, false);
  for (int64_t t = 0; t < x.rows(); ++t)
    for (int64_t i = 0; i < n; ++i) y[t * y_stride + i] += sum[t * n + i];
}

void Linear::run(StepContext& step, Activation& x, float* y, int64_t y_stride, bool add) const {
  if (step.observer != nullptr) step.observer->linear_input(site_, x.tensor());
  const float* bias = bias_.defined() ? bias_.const_data_ptr<float>() : nullptr;
  if (op_ != nullptr) {
    op_->forward_into(step.exec, x, y, y_stride);
    for (int64_t t = 0; bias != nullptr && t < x.rows(); ++t)
      for (int64_t n = 0; n < outputs(); ++n) y[t * y_stride + n] += bias[n];
    return;
  }
  const LinearOutput out = {.y = y, .stride = y_stride, .bias = bias, .add = add};
  if (kernel().packed)
    linear_into(step.exec, x, *kernel_->packed, scales_of(activations_), out);
  else
    linear_into(step.exec, x, *kernel_->dense, out);
}

const Linear::Kernel& Linear::kernel() const {
  if (kernel_->made.load(std::memory_order_acquire)) return *kernel_;
  std::call_once(kernel_->once, [&] {
    const Storage* part = weight_.get();
    if (activations_ != ActivationFormat::Float32)
      kernel_->packed.emplace(std::span(&part, 1));
    else
      kernel_->dense.emplace(*weight_);
    kernel_->made.store(true, std::memory_order_release);
  });
  return *kernel_;
}

void Linear::prepare() const {
  if (op_ == nullptr) kernel();
}

void Linear::run_only() {
  if (op_ == nullptr && kernel().packed) give_up_numbers();
}

at::Tensor Linear::rows(std::span<const int32_t> ids) const {
  if (has_numbers(*weight_)) return dequantize_rows(*weight_, ids);
  return dequantize(kernel().packed->rows(ids));
}

bool Linear::takes_bf16(const StepContext& step, int64_t rows) const {
  return step.observer == nullptr && op_ == nullptr && activations_ != ActivationFormat::Float32 &&
         runs_in_bf16(step.exec, *kernel().packed, scales_of(activations_), rows);
}

at::Tensor Linear::forward(StepContext& step, Activation& x) const {
  at::Tensor y = at::empty({x.rows(), outputs()}, at::kFloat);
  forward_into(step, x, y.data_ptr<float>(), outputs());
  return y;
}

at::Tensor Linear::dense_weight() const {
  if (const auto* dense = std::get_if<DenseStorage>(weight_.get())) return dense->values.to(at::kFloat);
  throw Unsupported("{} is stored as {}; this transform needs the original weights, so start from the original model",
                    site_, describe(*weight_));
}

}  // namespace halftone::nn
