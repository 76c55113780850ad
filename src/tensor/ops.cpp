// Shape checks and calls into the kernel tables; see ops.h.
#include "tensor/ops.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include "base/error.h"

namespace halftone {
namespace {

constexpr int64_t kCodeAlignment = 64;
constexpr int64_t kInlineElements = 1 << 14;  // fewer are added before another thread would have begun
constexpr int64_t kMinBf16Rows = 48;          // expanding weights to bf16 costs more than integers do for fewer

void expect_matrix(const at::Tensor& x, const char* what) {
  if (!x.defined() || x.dim() != 2 || x.scalar_type() != at::kFloat || !x.is_contiguous())
    throw InvalidArgument("{} must be a contiguous f32 matrix", what);
}

void expect_inputs(const Activation& x, int64_t k) {
  if (x.columns() != k) throw InvalidArgument("a linear layer with {} inputs got rows of {}", k, x.columns());
}

}  // namespace

Activation::Activation(ExecContext& exec, at::Tensor values) : exec_(exec), owner_(std::move(values)) {
  expect_matrix(owner_, "an activation");
  values_ = owner_.const_data_ptr<float>();
  rows_ = owner_.size(0), k_ = owner_.size(1);
}

const float* Activation::values() {
  if (values_ != nullptr) return values_;
  if (gates_.gate != nullptr) {
    auto* mid = exec_.arena.take<float>(rows_ * k_);
    kernels::gated(exec_, {.rows = rows_, .k = k_, .activation = gates_.activation},
                   {.gate = gates_.gate, .up = gates_.up, .y = mid, .stride = gates_.stride});
    return values_ = mid;
  }
  if (norm_input_ == nullptr)
    throw InvalidArgument("an activation of [{}, {}] has bf16 values only, but f32 ones are asked for", rows_, k_);
  auto* normed = exec_.arena.take<float>(rows_ * k_);
  kernels::rms_norm(exec_, {.rows = rows_, .k = k_},
                    {.x = norm_input_,
                     .x_stride = k_,
                     .weight = norm_.weight,
                     .epsilon = norm_.epsilon,
                     .y = normed,
                     .y_stride = k_});
  return values_ = normed;
}

at::Tensor Activation::tensor() {
  // from_blob takes no pointer to const; observers are given the tensor to read.
  return owner_.defined() ? owner_ : at::from_blob(const_cast<float*>(values()), {rows_, k_}, at::kFloat);
}

const kernels::PackedActivationView& Activation::int8(kernels::ActivationScales scales) {
  auto& made = int8_[static_cast<size_t>(scales)];
  if (made) return *made;
  const bool gated = values_ == nullptr && gates_.gate != nullptr;
  const bool norm = values_ == nullptr && norm_input_ != nullptr;
  const float* x = gated ? gates_.gate : norm ? norm_input_ : values();
  const int64_t stride = (k_ + kCodeAlignment - 1) / kCodeAlignment * kCodeAlignment, units = units_of(k_);
  auto* codes = exec_.arena.take<int8_t>(rows_ * stride);
  auto* steps = exec_.arena.take<float>(rows_ * (scales == kernels::ActivationScales::Unit ? units : 1));
  auto* sums = exec_.arena.take<int32_t>(rows_ * units);
  kernels::QuantizeActivationsProblem problem = {.rows = rows_, .k = k_, .scales = scales, .norm = norm};
  if (gated) problem.gated = gates_.activation;
  kernels::quantize_activations(exec_, problem,
                                {.x = x,
                                 .x_stride = gated ? gates_.stride : k_,
                                 .norm_weight = norm_.weight,
                                 .epsilon = norm_.epsilon,
                                 .up = gates_.up,
                                 .codes = codes,
                                 .code_stride = stride,
                                 .scales = steps,
                                 .sums = sums});
  made = {.codes = codes, .code_stride = stride, .scales = steps, .sums = sums};
  return *made;
}

const uint16_t* Activation::bf16() {
  if (bf16_ != nullptr) return bf16_;
  auto* tiles = exec_.arena.take<uint16_t>(kernels::bf16_tiled_size(rows_, k_));
  const bool norm = values_ == nullptr && norm_input_ != nullptr;
  kernels::round_activations(exec_, {.rows = rows_, .k = k_, .norm = norm},
                             {.x = norm ? norm_input_ : values(),
                              .x_stride = k_,
                              .norm_weight = norm_.weight,
                              .epsilon = norm_.epsilon,
                              .y = tiles});
  return bf16_ = tiles;
}

namespace {

kernels::PackedGemmProblem problem_of(const PackedWeight& weight, kernels::ActivationScales scales, int64_t rows) {
  kernels::PackedGemmProblem problem = weight.problem();
  problem.m = rows, problem.activations = scales;
  return problem;
}

}  // namespace

void linear_into(ExecContext& exec, Activation& x, const PreparedWeight& weight, const LinearOutput& out) {
  kernels::GemmProblem problem = weight.problem();
  problem.m = x.rows();
  expect_inputs(x, problem.k);
  const kernels::ActivationView input = x.float32();
  const auto multiply = [&](float* y, int64_t stride) {
    kernels::gemm(exec, problem, {.x = input, .w = weight.view(), .bias = out.bias, .y = y, .y_stride = stride});
  };
  if (!out.add) return multiply(out.y, out.stride);
  const int64_t n = problem.n;
  const Arena::Frame frame(exec.arena);
  auto* sum = exec.arena.take<float>(x.rows() * n);
  multiply(sum, n);
  exec.pool.parallel_for(x.rows(), std::max<int64_t>(1, kInlineElements / n), [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r)
      for (int64_t i = 0; i < n; ++i) out.y[r * out.stride + i] += sum[r * n + i];
  });
}

void linear_into(ExecContext& exec, Activation& x, const PackedWeight& weight, kernels::ActivationScales scales,
                 const LinearOutput& out) {
  const kernels::PackedGemmProblem problem = problem_of(weight, scales, x.rows());
  expect_inputs(x, problem.k);
  if (auto bf16 = bf16_in_place_of(problem, exec.products, exec.isa)) {
    bf16->accumulate = out.add;
    return kernels::packed_bf16(
        exec, *bf16, {.x = x.bf16(), .w = weight.view(), .bias = out.bias, .y = out.y, .y_stride = out.stride});
  }
  kernels::packed_gemm(exec, problem,
                       {.x = x.int8(scales),
                        .w = weight.view(),
                        .bias = out.bias,
                        .y = out.y,
                        .y_stride = out.stride,
                        .accumulate = out.add});
}

std::optional<kernels::PackedBf16Problem> bf16_in_place_of(const kernels::PackedGemmProblem& problem,
                                                           ProductPrecision products, Isa isa) {
  if (products != ProductPrecision::BFloat16 || problem.activations != kernels::ActivationScales::Unit ||
      problem.m < kMinBf16Rows)
    return std::nullopt;
  const kernels::PackedBf16Problem bf16 = {.gemm = problem};
  if (!rejection(kernels::packed_bf16_table().front(), bf16, isa).empty()) return std::nullopt;
  return bf16;
}

bool runs_in_bf16(const ExecContext& exec, const PackedWeight& weight, kernels::ActivationScales scales, int64_t rows) {
  return bf16_in_place_of(problem_of(weight, scales, rows), exec.products, exec.isa).has_value();
}

std::optional<Activation> gated_in_bf16(ExecContext& exec, Activation& x, const PackedWeight& gate_up,
                                        kernels::ActivationScales scales, kernels::GatedActivation activation) {
  expect_inputs(x, gate_up.problem().k);
  auto problem = bf16_in_place_of(problem_of(gate_up, scales, x.rows()), exec.products, exec.isa);
  if (!problem) return std::nullopt;
  problem->gated = activation;
  if (!rejection(kernels::packed_bf16_table().front(), *problem, exec.isa).empty()) return std::nullopt;
  const int64_t outputs = problem->gemm.n / 2;
  auto* tiles = exec.arena.take<uint16_t>(kernels::bf16_tiled_size(x.rows(), outputs));
  kernels::packed_bf16(exec, *problem, {.x = x.bf16(), .w = gate_up.view(), .gated_y = tiles});
  return Activation(exec, tiles, x.rows(), outputs);
}

void accumulate_gram(ExecContext& exec, const at::Tensor& x, at::Tensor& gram) {
  expect_matrix(x, "the input of a Gram matrix");
  const int64_t k = x.size(1);
  const at::Tensor columns = x.t().contiguous();  // [K, T]: both operands of the product are rows of it
  at::Tensor product = at::empty({k, k}, at::kFloat);
  kernels::gemm(exec, {.m = k, .n = k, .k = x.size(0)},
                {.x = {.values = columns.const_data_ptr<float>(), .stride = x.size(0)},
                 .w = {.codes = columns.const_data_ptr<float>()},
                 .y = product.data_ptr<float>(),
                 .y_stride = k});
  const float* from = product.const_data_ptr<float>();
  double* to = gram.data_ptr<double>();
  exec.pool.parallel_for(k, 16, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin * k; i < end * k; ++i) to[i] += static_cast<double>(from[i]);
  });
}

}  // namespace halftone
