// Matrices in any number format of the catalogue as storages: made by rounding or from codes, read row by row, and laid
// out for the GEMM with f32 activations (kernels/api/gemm.h) or, where a code is a small integer times a power of two,
// for the one with int8 activations (kernels/api/packed_gemm.h).
//
// Kernels read codes of 1 and 2, 3 and 4, or 5 to 8 bits as the layouts Int2, Int4 and Int8 of numerics/formats.h:
// codes of 1, 3, 5 and 6 bits take 2, 4 and 8 bits in a running model. Formats that no kernel reads (codes of more than
// 8 bits or of several numbers, a scale a column, groups that are no multiple of 16) run as f32, with the same values.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/exec_context.h"
#include "kernels/api/packed_gemm.h"
#include "numerics/formats/rounding_source.h"
#include "tensor/storage.h"

namespace halftone {

/// `weight` [N, K] f32 under `format`: its codes in a QuantizedStorage where scheme_of(format) has one, otherwise in a
/// FormatStorage. Element (n, k) takes the random bits of (n, k); the result does not depend on the number of threads.
/// Throws InvalidArgument for a format that cannot hold this matrix, Unsupported for a rounding that its elements do
/// not have, and NumericError for a weight that is not finite.
Storage quantize_to_format(ExecContext& exec, const at::Tensor& weight, const MatrixFormat& format,
                           const RoundingSource& source = RoundingSource());
/// The same for a matrix that is quantised already.
Storage store_matrix(const QuantizedMatrix& matrix);

/// The codes, scales, outer scales and zero points of `matrix`, packed; its element may be a codebook of one's own.
FormatStorage pack_matrix(const QuantizedMatrix& matrix);

/// Throws InvalidArgument naming the tensor or the value that contradicts the format: shapes, a scale that is not
/// positive and finite, a code that stands for no finite number.
void validate(const FormatStorage& storage);
/// The same for tensors alone: for formats that a scheme expresses and codebooks of one's own too.
void validate_parts(const FormatStorage& storage);
int64_t bytes_of(const FormatStorage& storage);

/// Rows of a FormatStorage, unpacked one at a time. The storage must outlive this; spans last until the next call.
class FormatReader {
 public:
  explicit FormatReader(const FormatStorage& storage);
  const ScaleGrid& grid() const { return grid_; }
  /// [K / D] codes of row `row`.
  std::span<const uint32_t> codes(int64_t row);
  /// Of row `row`'s blocks: stored scale codes (empty under kNoScale) and scales, [grid columns, scale.parts]; zero
  /// points [grid columns] (empty where there are none).
  std::span<const uint32_t> scale_codes(int64_t row);
  std::span<const float> scales(int64_t row);
  std::span<const uint32_t> zeros(int64_t row);
  /// Stored outer code `index`; 0 where scales have one level.
  uint32_t outer_code(int64_t index) const { return outer_.empty() ? 0 : outer_[static_cast<size_t>(index)]; }
  /// The row's values, [K] f32.
  void values(int64_t row, float* out);

 private:
  float value(uint32_t code, int component) const;

  const FormatStorage& storage_;
  ScaleGrid grid_;
  std::vector<float> table_;  ///< values of all codes, where they are few
  std::vector<uint32_t> codes_, scale_codes_, outer_, zeros_;
  std::vector<float> scales_;
};

/// What the GEMM reads of a FormatStorage.
struct FormatOperands {
  kernels::GemmProblem problem;
  at::Tensor codes;        ///< u8 [N, row_bytes(problem.weight, K)]
  at::Tensor scales;       ///< f32 [N, groups] or [N, 1], or the [256] values of scale_codes
  at::Tensor scale_codes;  ///< u8 [N, groups], or undefined
  at::Tensor zeros;        ///< u8 [N, groups], or undefined
};
/// Nothing where no kernel reads the format.
std::optional<FormatOperands> kernel_operands(const FormatStorage& storage);
/// The same for an `element` that outlives the operands, in the place of the one of that name.
std::optional<FormatOperands> kernel_operands(const FormatStorage& storage, const ElementFormat& element);

/// What the packed GEMM reads of a FormatStorage, row by row: values are integers times a step that row_scales hold, as
/// they hold a tensor's outer scale.
struct ListedOperands {
  at::Tensor values;      ///< i8 [16]
  at::Tensor codes;       ///< u8 [N, row_bytes(Int4, K)]
  at::Tensor scales;      ///< [N, groups], u8 of problem.scale_format or f16; undefined with a scale a row
  at::Tensor row_scales;  ///< f32 [N, 1]
};
/// Why integer kernels cannot read `storage`; empty when they can: codes of 3 or 4 bits without zero points whose
/// values are integers times a power of two (E2M1, not NF4), and scales a row or a tensor, or in groups of a multiple
/// of 32 in f16, E8M0 or E4M3 (groups of 16 too).
std::string why_not_listed(const FormatStorage& storage);
/// The key of `storage` in the packed table; throws Unsupported with that reason.
kernels::PackedGemmProblem listed_problem(const FormatStorage& storage);
/// Its operands; throws as listed_problem.
ListedOperands listed_operands(const FormatStorage& storage);

}  // namespace halftone
