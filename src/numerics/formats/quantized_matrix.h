// A matrix under any combination of element format, granularity, scale format, scale rule and rounding: the reference
// of every storage and kernel, exact and plain, not fast.
//
//   v = fl(x / scale) in f32, then code = encode(v), or clamp(round(v) + zero) where the element is unsigned
//   value = fl(decode(code) * scale), or fl((code - zero) * scale)
//
// Complex codes under two scales (f16x2) are PhaseQuant of Fairy2i: the code is the sector of x as it is; the real
// scale is the mean magnitude (or what the rule says) of the real parts of the numbers that became 1 or -1, the
// imaginary one that of the imaginary parts of those that became i or -i. Per block, where the paper has one block, the
// tensor.
//
// The scale is the stored one (scale_format.h): chosen first, then divided by. A random rounding is unbiased where v is
// within the format's range, which ScaleRule::TruncationFree ensures for all of a block; for unsigned elements that
// rule therefore spreads a block over one step less than there is, and rounds the zero point up.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "numerics/formats/element_format.h"
#include "numerics/formats/rounding_source.h"
#include "numerics/formats/scale_format.h"
#include "numerics/formats/scale_grid.h"

namespace halftone {

struct MatrixFormat {
  ElementFormat element = kInt8;
  ScaleGranularity layout;
  ScaleFormat scale = kScaleFormats[0];
  ScaleRule rule = ScaleRule::AbsMax;

  /// Throws InvalidArgument naming field, value and rule where the parts do not go together or do not fit a matrix.
  void validate(int64_t rows, int64_t columns) const;
  /// Codes, scales, outer scales and zero points (one code beside each scale), without padding.
  double bits_per_element(int64_t rows, int64_t columns) const;
};

/// "e2m1 group:32 e8m0 truncation-free".
std::string to_string(const MatrixFormat& format);
/// Inverse of to_string for formats of the tables; without a rule, default_scale_rule's. Throws InvalidArgument.
MatrixFormat parse_matrix_format(std::string_view text);
/// absmean for ternary, binary and complex codes, ocp-floor under e8m0 scales, else absmax.
ScaleRule default_scale_rule(const ElementFormat& element, const ScaleFormat& scale);

struct QuantizedMatrix {
  MatrixFormat format;
  int64_t rows = 0;
  int64_t columns = 0;
  std::vector<uint32_t> codes;   ///< [rows, columns / element.dimension]
  std::vector<uint32_t> scales;  ///< [ScaleGrid::count(), scale.parts] stored codes; empty under kNoScale
  std::vector<uint32_t> outer;   ///< outer codes: one per row of blocks, one, or none, as scale.sharing says
  std::vector<uint32_t> zeros;   ///< zero points beside the scales for unsigned elements, else empty

  ScaleGrid grid() const { return ScaleGrid(format.layout, rows, columns); }
  /// The scale of every block, [ScaleGrid::count(), scale.parts]: see scale_index.
  std::vector<float> scale_values() const;
};

/// Which of the scales element (row, column) has.
inline int64_t scale_index(const MatrixFormat& format, const ScaleGrid& grid, int64_t row, int64_t column) {
  return grid.index(row, column) * format.scale.parts + column % format.scale.parts;
}

/// Quantises x [rows, columns] f32, row-major; element (r, c) takes the random bits of element r * columns + c.
/// Throws InvalidArgument as validate does, Unsupported for a rounding the element does not have, and NumericError for
/// a NaN or an infinity, naming its place.
QuantizedMatrix quantize_matrix(const MatrixFormat& format, std::span<const float> x, int64_t rows, int64_t columns,
                                const RoundingSource& source = RoundingSource());
/// The first half: scales and zero points, codes left empty. For methods that choose codes themselves.
QuantizedMatrix fit_matrix_scales(const MatrixFormat& format, std::span<const float> x, int64_t rows, int64_t columns);
/// The second half: codes of `x` under the scales of `matrix`, which may come from other data.
void encode_matrix(QuantizedMatrix& matrix, std::span<const float> x, const RoundingSource& source = RoundingSource());
/// The same for rows first_row .. end_row - 1, into `codes` as in QuantizedMatrix; `scales` are scale_values(). Rows
/// may be encoded in parallel. Checks nothing: x and codes hold the whole matrix, x is finite, the rounding fits.
void encode_rows(const QuantizedMatrix& matrix, std::span<const float> scales, std::span<const float> x,
                 const RoundingSource& source, int64_t first_row, int64_t end_row, std::span<uint32_t> codes);
/// Values, [rows, columns] f32. Throws InvalidArgument when a size does not fit.
void dequantize_matrix(const QuantizedMatrix& matrix, std::span<float> values);
/// Elements of `x` whose v lies outside the element format's range, before rounding: what saturates.
int64_t count_saturated(const QuantizedMatrix& matrix, std::span<const float> x);

}  // namespace halftone
