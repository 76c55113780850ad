// Kernels over torch tensors and step memory: shapes are checked here, once, and the tables of kernels/api choose the
// code.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

#include "base/exec_context.h"
#include "kernels/api/packed_bf16.h"
#include "tensor/packed_weight.h"
#include "tensor/storage.h"

namespace halftone {

/// RMSNorm that stands before a linear layer.
struct RowNorm {
  const float* weight = nullptr;  ///< [K], or null for ones
  float epsilon = 0;
};

/// Gated rows that stand before a linear layer: act(gate) * up, with rows of both `stride` floats apart.
struct RowGates {
  const float* gate = nullptr;
  const float* up = nullptr;
  int64_t stride = 0;
  kernels::GatedActivation activation = kernels::GatedActivation::SwiGlu;
};

/// Input of one or more linear layers: f32 rows, and their int8 and bf16 forms, each made at most once. Lives inside a
/// frame of the context's arena.
class Activation {
 public:
  /// values [rows, k] f32 without gaps, which must outlive this.
  Activation(ExecContext& exec, const float* values, int64_t rows, int64_t k)
      : exec_(exec), values_(values), rows_(rows), k_(k) {}
  /// RMSNorm of x [rows, k] f32 without gaps, which must stay as it is as long as this lives.
  Activation(ExecContext& exec, const float* x, int64_t rows, int64_t k, const RowNorm& norm)
      : exec_(exec), norm_input_(x), norm_(norm), rows_(rows), k_(k) {}
  /// act(gate) * up, [rows, k], which must stay as they are as long as this lives.
  Activation(ExecContext& exec, int64_t rows, int64_t k, const RowGates& gates)
      : exec_(exec), gates_(gates), rows_(rows), k_(k) {}
  /// bf16 tiles [rows, k] alone, for layers that runs_in_bf16 names.
  Activation(ExecContext& exec, const uint16_t* tiles, int64_t rows, int64_t k)
      : exec_(exec), rows_(rows), k_(k), bf16_(tiles) {}
  /// values [T, K] f32 contiguous.
  Activation(ExecContext& exec, at::Tensor values);

  int64_t rows() const { return rows_; }
  int64_t columns() const { return k_; }
  kernels::ActivationView float32() { return {.values = values(), .stride = k_}; }
  /// int8 codes (kernels/api/packed_gemm.h), computed on first use.
  const kernels::PackedActivationView& int8(kernels::ActivationScales scales);
  /// bf16 tiles (kernels/api/packed_bf16.h), computed on first use.
  const uint16_t* bf16();
  /// The values as a tensor that shares their memory.
  at::Tensor tensor();

 private:
  /// f32 rows; throws InvalidArgument where there are bf16 tiles alone.
  const float* values();

  ExecContext& exec_;
  at::Tensor owner_;
  const float* values_ = nullptr;
  const float* norm_input_ = nullptr;  // what has not been computed yet
  RowNorm norm_;
  RowGates gates_;
  int64_t rows_, k_;
  std::optional<kernels::PackedActivationView> int8_[2];
  const uint16_t* bf16_ = nullptr;
};

/// Where a linear layer's outputs go: [T, N] f32, rows `stride` apart.
struct LinearOutput {
  float* y = nullptr;
  int64_t stride = 0;
  const float* bias = nullptr;  ///< [N] or null
  bool add = false;             ///< y += instead of y =; without bias
};

/// y = x w^T + bias in floating point.
void linear_into(ExecContext& exec, Activation& x, const PreparedWeight& weight, const LinearOutput& out);
/// The same in integers, with x as int8 under `scales`; or in bf16, where the context's ProductPrecision allows it, the
/// int8 rounding is no part of the model (ActivationScales::Unit) and x has enough rows for matrix instructions.
void linear_into(ExecContext& exec, Activation& x, const PackedWeight& weight, kernels::ActivationScales scales,
                 const LinearOutput& out);

/// The bf16 product that the above runs instead of `problem`; nothing where it stays with integers.
std::optional<kernels::PackedBf16Problem> bf16_in_place_of(const kernels::PackedGemmProblem& problem,
                                                           ProductPrecision products, Isa isa);
/// Whether the above would multiply `rows` rows by `weight` in bf16.
bool runs_in_bf16(const ExecContext& exec, const PackedWeight& weight, kernels::ActivationScales scales, int64_t rows);
/// act(gate) * up, where `gate_up` has the rows of the gates and then those of the ups, as bf16 tiles for a layer that
/// runs so; nothing where `gate_up` does not.
std::optional<Activation> gated_in_bf16(ExecContext& exec, Activation& x, const PackedWeight& gate_up,
                                        kernels::ActivationScales scales, kernels::GatedActivation activation);

/// gram += x^T x for x [T, K] f32 and gram [K, K] f64, with the same bits for any number of threads.
void accumulate_gram(ExecContext& exec, const at::Tensor& x, at::Tensor& gram);

}  // namespace halftone
