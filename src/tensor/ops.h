// Kernels over torch tensors and step memory: shapes are checked here, once, and the tables of kernels/api choose the
// code.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "base/exec_context.h"
#include "tensor/packed_weight.h"
#include "tensor/storage.h"

namespace halftone {

/// Input of one or more linear layers: f32 rows, and their int8 forms, each made at most once. Lives inside a frame of
/// the context's arena.
class Activation {
 public:
  /// values [rows, k] f32 without gaps, which must outlive this.
  Activation(ExecContext& exec, const float* values, int64_t rows, int64_t k)
      : exec_(exec), values_(values), rows_(rows), k_(k) {}
  /// values [T, K] f32 contiguous.
  Activation(ExecContext& exec, at::Tensor values);

  int64_t rows() const { return rows_; }
  int64_t columns() const { return k_; }
  kernels::ActivationView float32() const { return {.values = values_, .stride = k_}; }
  /// int8 codes (kernels/api/packed_gemm.h), computed on first use.
  const kernels::PackedActivationView& int8(kernels::ActivationScales scales);
  /// The values as a tensor that shares their memory.
  at::Tensor tensor() const;

 private:
  ExecContext& exec_;
  at::Tensor owner_;
  const float* values_;
  int64_t rows_, k_;
  std::optional<kernels::PackedActivationView> int8_[2];
};

/// y = x w^T + bias in floating point: y [T, N] f32, rows `y_stride` apart; bias [N] f32 or null.
void linear_into(ExecContext& exec, const Activation& x, const PreparedWeight& weight, const float* bias, float* y,
                 int64_t y_stride);
/// The same in integers, with x as int8 under `scales`.
void linear_into(ExecContext& exec, Activation& x, const PackedWeight& weight, kernels::ActivationScales scales,
                 const float* bias, float* y, int64_t y_stride);

/// gram += x^T x for x [T, K] f32 and gram [K, K] f64, with the same bits for any number of threads.
void accumulate_gram(ExecContext& exec, const at::Tensor& x, at::Tensor& gram);

}  // namespace halftone
