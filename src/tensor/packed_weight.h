// Quantised weights laid out for integer kernels (kernels/api/packed_gemm.h): interleaved once, when a model is first
// run, and kept.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <span>

#include "kernels/api/packed_gemm.h"
#include "tensor/storage.h"

namespace halftone {

/// Why `parts`, stacked into one matrix, cannot be packed; empty when they can. Packed weights are quantised, in groups
/// of a multiple of 32, or super-groups of 16 or 32 without minimums in groups of 16, or have a format of
/// why_not_listed(); stacked ones share scheme or format and columns, and all but the last have a multiple of 16 rows.
std::string why_not_packed(std::span<const Storage* const> parts);
/// The same for a matrix alone.
std::string why_not_packed(const Storage& storage);

class PackedWeight {
 public:
  /// Stacks `parts` [N_i, K] along N. Throws Unsupported with the reason of why_not_packed.
  explicit PackedWeight(std::span<const Storage* const> parts);

  /// Key and view for the table; `m` and `activations` are filled in by the caller.
  const kernels::PackedGemmProblem& problem() const { return problem_; }
  const kernels::PackedWeightView& view() const { return view_; }
  /// Rows `ids` of a quantised weight that is not stacked, as they were stored: [ids.size(), K]. Throws InvalidArgument
  /// for an id outside [0, N) and Unsupported for a format of why_not_listed.
  QuantizedStorage rows(std::span<const int32_t> ids) const;

 private:
  void stack_quantized(std::span<const Storage* const> parts);
  void stack_listed(std::span<const Storage* const> parts);

  std::optional<QuantScheme> scheme_;  ///< none for formats
  at::Tensor values_, codes_, scales_, row_scales_, group_scales_, zeros_, mins_, group_mins_;
  kernels::PackedGemmProblem problem_;
  kernels::PackedWeightView view_;
};

/// The key of `storage` alone in the packed table, without packing it; throws as PackedWeight.
kernels::PackedGemmProblem packed_problem(const Storage& storage);

}  // namespace halftone
