// Storages: the closed set of ways in which halftone keeps a weight matrix [N, K]. Methods produce storages, kernels
// serve them, artifacts save them. A new storage needs a design note; a new method needs none.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <span>
#include <string>
#include <variant>

#include "kernels/api/gemm.h"
#include "numerics/formats/codebook.h"
#include "numerics/formats/quantized_matrix.h"
#include "numerics/quant_scheme.h"

namespace halftone {

struct FormatOperands;  // format_storage.h

/// Plain floating-point weights.
struct DenseStorage {
  at::Tensor values;  ///< [N, K] f32, f16 or bf16, contiguous
};

/// Integer codes with scales: the layouts of numerics/formats.h under a QuantScheme.
struct QuantizedStorage {
  QuantScheme scheme;
  int64_t rows = 0;
  int64_t columns = 0;
  at::Tensor codes;         ///< u8 [N, row_bytes(element, K)]
  at::Tensor scales;        ///< f16 [N, groups]; [N, 1] for Row and TwoLevel, [N, super-groups] for SuperGroup
  at::Tensor group_scales;  ///< [N, groups], u8 for TwoLevel, i8 for SuperGroup
  at::Tensor zeros;         ///< u8 [N, groups], with zero points only
  at::Tensor mins;          ///< f16 as scales, with minimums only
  at::Tensor group_mins;    ///< i8 [N, groups], SuperGroup with minimums only: minimum = mins * group_mins
};

/// Codes of any format of the catalogue that QuantScheme does not express (numerics/formats/weight_format.h): each
/// tensor is rows of codes packed without gaps (pack_bits), every row beginning at a byte. D: numbers a code stands
/// for; the grid is ScaleGrid(format.layout, N, K); scales of two parts (f16x2) lie side by side, real part first.
struct FormatStorage {
  MatrixFormat format;
  int64_t rows = 0;
  int64_t columns = 0;
  at::Tensor codes;   ///< u8 [N, packed_bytes(element.bits, K / D)]
  at::Tensor scales;  ///< u8 [grid rows, packed_bytes(scale.inner.bits, grid columns * scale.parts)]
  at::Tensor outer;   ///< u8 [1, packed_bytes(scale.outer.bits, 1 or grid rows)], two-level scales only
  at::Tensor zeros;   ///< u8 [grid rows, packed_bytes(element.bits, grid columns)], unsigned elements only
};

/// Indices into a table that the matrix brings along, of numbers or of vectors along K; with scales of any kind, or
/// none.
struct CodebookStorage {
  Codebook book;          ///< the table's values: what `indexed.format.element` is
  at::Tensor table;       ///< f16 or f32 [entries, D]
  FormatStorage indexed;  ///< codes are indices; scales as there, undefined under kNoScale
};

using Storage = std::variant<DenseStorage, QuantizedStorage, FormatStorage, CodebookStorage>;

int64_t rows_of(const Storage& storage);
int64_t columns_of(const Storage& storage);
/// Exact bytes of everything the storage keeps: codes with padding, scales, zero points.
int64_t bytes_of(const Storage& storage);
/// "f16", "int4 group 64 asymmetric", "mxfp4", "nf4 group:64 f16 absmax", "codebook 256x4 f16".
std::string describe(const Storage& storage);
/// Throws InvalidArgument when a tensor's shape or dtype contradicts the scheme, naming it.
void validate(const Storage& storage);
/// What is left of a quantised or formatted storage whose numbers a kernel keeps in a layout of its own: describe(),
/// rows_of(), columns_of() and keys of kernels stay what they were; whatever needs the numbers throws InvalidArgument.
Storage without_numbers(const Storage& storage);
bool has_numbers(const Storage& storage);

/// Dense storage of `weight` [N, K] in `type` (Float32, Float16 or BFloat16). Throws NumericError when a weight is not
/// finite in f16.
Storage make_dense(const at::Tensor& weight, ElementType type);
/// The values that the storage stands for, [N, K] f32.
at::Tensor dequantize(const Storage& storage);
/// Rows `ids` of the dequantised matrix, [ids.size(), K] f32; throws InvalidArgument for an id outside [0, N).
at::Tensor dequantize_rows(const Storage& storage, std::span<const int32_t> ids);

/// A storage made ready for the kernels: f32 scales and minimums are derived once, codes are shared with the storage.
/// Super-groups become groups: an f16 times an i8 fits f32. Codes of a FormatStorage or CodebookStorage are laid out
/// anew where kernels want them wider (format_storage.h), or become f32 where no kernel reads them.
class PreparedWeight {
 public:
  explicit PreparedWeight(const Storage& storage);
  /// Key and view for the GEMM table; `m` is filled in by the caller.
  const kernels::GemmProblem& problem() const { return problem_; }
  const kernels::WeightView& view() const { return view_; }

 private:
  /// `storage` where `operands` are nothing.
  void prepare(const Storage& storage, const std::optional<FormatOperands>& operands);

  std::optional<Codebook> book_;  // what problem_.format points into
  at::Tensor codes_, group_scales_, zeros_, scales_f32_, mins_f32_, scale_codes_;
  kernels::GemmProblem problem_;
  kernels::WeightView view_;
};

}  // namespace halftone
