// Shape checks and calls into the kernel tables; see ops.h.
#include "tensor/ops.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include "base/error.h"
#include "kernels/api/quantize.h"

namespace halftone {
namespace {

constexpr int64_t kCodeAlignment = 64;

void expect_matrix(const at::Tensor& x, const char* what) {
  if (!x.defined() || x.dim() != 2 || x.scalar_type() != at::kFloat || !x.is_contiguous())
    throw InvalidArgument("{} must be a contiguous f32 matrix", what);
}

}  // namespace

Activation::Activation(at::Tensor values) : values_(std::move(values)) { expect_matrix(values_, "an activation"); }

kernels::ActivationView Activation::float32() const {
  return {.values = values_.const_data_ptr<float>(), .stride = values_.size(1)};
}

const kernels::ActivationView& Activation::int8(ExecContext& exec) {
  if (int8_) return *int8_;
  const int64_t rows = values_.size(0), k = values_.size(1);
  const int64_t stride = (k + kCodeAlignment - 1) / kCodeAlignment * kCodeAlignment;
  codes_ = at::empty({rows, stride}, at::kChar);
  scales_ = at::empty({rows}, at::kFloat);
  kernels::quantize_rows(exec, {.rows = rows, .k = k},
                         {.x = values_.const_data_ptr<float>(),
                          .x_stride = k,
                          .codes = codes_.data_ptr<int8_t>(),
                          .code_stride = stride,
                          .scales = scales_.data_ptr<float>()});
  int8_ = {.codes = codes_.const_data_ptr<int8_t>(), .code_stride = stride, .scales = scales_.const_data_ptr<float>()};
  return *int8_;
}

at::Tensor linear(ExecContext& exec, Activation& x, const PreparedWeight& weight, bool int8_activations,
                  const at::Tensor& bias) {
  kernels::GemmProblem problem = weight.problem();
  problem.m = x.values().size(0);
  problem.int8_activations = int8_activations;
  if (x.values().size(1) != problem.k)
    throw InvalidArgument("a linear layer with {} inputs got rows of {}", problem.k, x.values().size(1));
  at::Tensor y = at::empty({problem.m, problem.n}, at::kFloat);
  kernels::gemm(exec, problem,
                {.x = int8_activations ? x.int8(exec) : x.float32(),
                 .w = weight.view(),
                 .bias = bias.defined() ? bias.const_data_ptr<float>() : nullptr,
                 .y = y.data_ptr<float>(),
                 .y_stride = problem.n});
  return y;
}

at::Tensor rms_norm(ExecContext& exec, const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  expect_matrix(x, "the input of RMSNorm");
  if (weight.numel() != x.size(1))
    throw InvalidArgument("RMSNorm with {} weights got rows of {}", weight.numel(), x.size(1));
  at::Tensor y = at::empty_like(x);
  kernels::rms_norm(exec, {.rows = x.size(0), .k = x.size(1)},
                    {.x = x.const_data_ptr<float>(),
                     .x_stride = x.size(1),
                     .weight = weight.const_data_ptr<float>(),
                     .epsilon = static_cast<float>(epsilon),
                     .y = y.data_ptr<float>(),
                     .y_stride = x.size(1)});
  return y;
}

at::Tensor gated(ExecContext& exec, const at::Tensor& gate, const at::Tensor& up, kernels::GatedActivation activation) {
  expect_matrix(gate, "the gate of a gated activation");
  expect_matrix(up, "the value of a gated activation");
  if (gate.sizes() != up.sizes()) throw InvalidArgument("gate and up differ in shape");
  at::Tensor y = at::empty_like(gate);
  kernels::gated(exec, {.rows = gate.size(0), .k = gate.size(1), .activation = activation},
                 {.gate = gate.const_data_ptr<float>(), .up = up.const_data_ptr<float>(), .y = y.data_ptr<float>()});
  return y;
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
