// Scales, codes and values of matrices; see quantized_matrix.h.
#include "numerics/formats/quantized_matrix.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "base/error.h"
#include "numerics/formats/element_array.h"

namespace halftone {
namespace {

constexpr int32_t kUnclamped = 1 << 30;

/// The steps between the lowest and the highest code of an unsigned element that a block is spread over.
int32_t usable_steps(const MatrixFormat& format) {
  return format.element.max_integer - (format.rule == ScaleRule::TruncationFree ? 1 : 0);
}

/// Running extremes and mean of one block.
struct BlockStatistics {
  double low = 0, high = 0, sum = 0;  // the range always holds 0
  int64_t count = 0;

  void add(float value) {
    low = std::min(low, double{value});
    high = std::max(high, double{value});
    sum += std::abs(value);
    ++count;
  }
  /// One complex number, whose code has the magnitude of its larger component.
  void add(float re, float im) {
    add(std::max(std::abs(re), std::abs(im)));
    low = std::min({low, double{re}, double{im}});
  }

  /// `common`: what all blocks of the format share.
  BlockExtent extent(const MatrixFormat& format, const BlockExtent& common) const {
    BlockExtent block = common;
    block.mean = count > 0 ? sum / static_cast<double>(count) : 0;
    block.extent = format.element.is_unsigned_integer() ? high - low : std::max(high, -low);
    return block;
  }
};

BlockExtent common_extent(const MatrixFormat& format) {
  const bool unsigned_codes = format.element.is_unsigned_integer();
  return {.limit = unsigned_codes ? usable_steps(format) : double{symmetric_limit(format.element)},
          .mantissa_bits = format.element.mantissa_bits,
          .has_zero = has_zero(format.element)};
}

void require_finite(std::span<const float> x, int64_t columns) {
  for (size_t i = 0; i < x.size(); ++i)
    if (!std::isfinite(x[i]))
      throw NumericError("row {}, column {} of the matrix is {}; quantisation needs finite numbers",
                         static_cast<int64_t>(i) / columns, static_cast<int64_t>(i) % columns, x[i]);
}

void require_size(std::string_view what, size_t size, int64_t rows, int64_t columns) {
  if (static_cast<int64_t>(size) != rows * columns)
    throw InvalidArgument("{} has {} numbers; a matrix of {} x {} has {}", what, size, rows, columns, rows * columns);
}

/// Statistics of what each scale is made for, in the order of QuantizedMatrix::scales.
std::vector<BlockStatistics> block_statistics(const MatrixFormat& format, const ScaleGrid& grid,
                                              std::span<const float> x) {
  std::vector<BlockStatistics> blocks(static_cast<size_t>(grid.count() * format.scale.parts));
  const int64_t step = format.element.kind == ElementKind::Phase ? 2 : 1;
  for (int64_t row = 0; row < grid.rows(); ++row)
    for (int64_t column = 0; column < grid.columns(); column += step) {
      const float* at = &x[static_cast<size_t>(row * grid.columns() + column)];
      // Of two scales the one of the axis that the number falls on, and that coordinate alone.
      const int axis = format.scale.parts == 2 ? static_cast<int>(encode_vector(format.element, at) & 1u) : 0;
      BlockStatistics& block = blocks[static_cast<size_t>(scale_index(format, grid, row, column + axis))];
      if (format.scale.parts == 2)
        block.add(at[axis]);
      else if (step == 2)
        block.add(at[0], at[1]);
      else
        block.add(at[0]);
    }
  return blocks;
}

/// Which outer scale block `index` has.
int64_t outer_index(const ScaleFormat& scale, const ScaleGrid& grid, int64_t index) {
  return scale.sharing == OuterSharing::BlockRow ? index / grid.grid_columns() : 0;
}

std::vector<uint32_t> fit_outer_scales(const MatrixFormat& format, const ScaleGrid& grid,
                                       const std::vector<BlockExtent>& blocks) {
  if (!format.scale.two_level()) return {};
  const int64_t count = format.scale.sharing == OuterSharing::BlockRow ? grid.grid_rows() : 1;
  std::vector<BlockExtent> widest(static_cast<size_t>(count));
  for (int64_t index = 0; index < grid.count(); ++index) {
    BlockExtent& share = widest[static_cast<size_t>(outer_index(format.scale, grid, index))];
    const BlockExtent& block = blocks[static_cast<size_t>(index)];
    const double mean = std::max(share.mean, block.mean), extent = std::max(share.extent, block.extent);
    share = block;
    share.mean = mean;
    share.extent = extent;
  }
  std::vector<uint32_t> codes;
  for (const BlockExtent& share : widest) codes.push_back(fit_outer_scale(format.scale, format.rule, share));
  return codes;
}

uint32_t fit_zero(const MatrixFormat& format, double low, float scale) {
  const double steps = -low / scale;
  const double zero = format.rule == ScaleRule::TruncationFree ? std::ceil(steps) : std::nearbyint(steps);
  return static_cast<uint32_t>(std::clamp(zero, 0.0, static_cast<double>(format.element.max_integer)));
}

}  // namespace

void MatrixFormat::validate(int64_t rows, int64_t columns) const {
  const ScaleGrid grid(layout, rows, columns);
  if (scale.parts > 1 && element.kind != ElementKind::Phase)
    throw InvalidArgument("{} has a scale for real and one for imaginary parts; {} has no such parts, so take {}",
                          scale.name, element.name, scale.inner.name);
  if (!scale.stored() && (element.kind != ElementKind::Codebook || layout.sharing != ScaleSharing::Tensor))
    throw InvalidArgument("{} {} needs a scale; only a codebook of one's own goes without, for the whole tensor",
                          element.name, to_string(layout));
  if (element.kind == ElementKind::PowerOfTwo)
    throw InvalidArgument("{} holds scales and has neither 0 nor a sign; take another element format", element.name);
  if (is_power_of_two(rule) && (scale.two_level() || scale.inner.kind == ElementKind::Integer))
    throw InvalidArgument(
        "rule {} yields powers of two, which {} scales need not hold; use e8m0, f32, f16, bf16 or e4m3",
        to_string(rule), scale.name);
  if (rule == ScaleRule::Even && !element.is_float())
    throw InvalidArgument("rule even rounds to the element's mantissa, which {} has not; use another rule",
                          element.name);
  if (rule == ScaleRule::AbsMean && (element.is_unsigned_integer() || symmetric_limit(element) != 1))
    throw InvalidArgument("rule absmean needs codes of magnitude 1 such as ternary; the largest of {} is {}",
                          element.name, largest_value(element));
  const int64_t last = columns % grid.block_columns();
  for (const int64_t width : {columns, grid.block_columns(), last})
    if (width % element.dimension != 0)
      throw InvalidArgument("{} codes {} numbers at a time, which do not divide {} columns in blocks of {}",
                            element.name, element.dimension, columns, grid.block_columns());
}

double MatrixFormat::bits_per_element(int64_t rows, int64_t columns) const {
  validate(rows, columns);
  const ScaleGrid grid(layout, rows, columns);
  const double elements = static_cast<double>(rows) * static_cast<double>(columns);
  int bits = scale.inner.bits * scale.parts + (element.is_unsigned_integer() ? element.bits : 0);
  double total = element.bits_per_element() * elements + static_cast<double>(bits) * static_cast<double>(grid.count());
  if (scale.sharing == OuterSharing::BlockRow) total += static_cast<double>(scale.outer.bits * grid.grid_rows());
  if (scale.sharing == OuterSharing::Tensor) total += scale.outer.bits;
  return total / elements;
}

std::string to_string(const MatrixFormat& format) {
  return fmt::format("{} {} {} {}", format.element.name, to_string(format.layout), format.scale.name,
                     to_string(format.rule));
}

MatrixFormat parse_matrix_format(std::string_view text) {
  std::istringstream words{std::string(text)};
  std::string element, layout, scale, rule, rest;
  const bool enough = static_cast<bool>(words >> element >> layout >> scale);
  if (!enough || (words >> rule && words >> rest))
    throw InvalidArgument(
        "matrix format '{}' is not 'ELEMENT GRANULARITY SCALE [RULE]', as in 'int4 group:128 f16 absmax'", text);
  MatrixFormat format{find_element_format(element), parse_scale_granularity(layout), find_scale_format(scale)};
  format.rule = rule.empty() ? default_scale_rule(format.element, format.scale) : parse_scale_rule(rule);
  return format;
}

ScaleRule default_scale_rule(const ElementFormat& element, const ScaleFormat& scale) {
  for (const ElementFormat& mean : {kTernary, kBinary, kComplex})
    if (std::string_view(element.name) == mean.name) return ScaleRule::AbsMean;
  return scale.inner.kind == ElementKind::PowerOfTwo ? ScaleRule::OcpFloor : ScaleRule::AbsMax;
}

std::vector<float> QuantizedMatrix::scale_values() const {
  const ScaleGrid blocks = grid();
  if (!format.scale.stored()) return std::vector<float>(static_cast<size_t>(blocks.count()), 1.0f);
  const int parts = format.scale.parts;
  std::vector<float> values;
  for (int64_t index = 0; index < blocks.count() * parts; ++index) {
    const int64_t above = outer_index(format.scale, blocks, index / parts);
    const uint32_t shared = outer.empty() ? 0 : outer[static_cast<size_t>(above)];
    values.push_back(scale_value(format.scale, scales[static_cast<size_t>(index)], shared));
  }
  return values;
}

QuantizedMatrix fit_matrix_scales(const MatrixFormat& format, std::span<const float> x, int64_t rows, int64_t columns) {
  format.validate(rows, columns);
  require_size("the input", x.size(), rows, columns);
  require_finite(x, columns);
  QuantizedMatrix matrix{.format = format, .rows = rows, .columns = columns};
  if (!format.scale.stored()) return matrix;
  const ScaleGrid grid = matrix.grid();
  const std::vector<BlockStatistics> statistics = block_statistics(format, grid, x);
  std::vector<BlockExtent> blocks;
  const BlockExtent common = common_extent(format);
  for (const BlockStatistics& block : statistics) blocks.push_back(block.extent(format, common));
  matrix.outer = fit_outer_scales(format, grid, blocks);
  for (int64_t index = 0; index < grid.count() * format.scale.parts; ++index) {
    const int64_t above = outer_index(format.scale, grid, index / format.scale.parts);
    const float outer =
        matrix.outer.empty() ? 1.0f : decode(format.scale.outer, matrix.outer[static_cast<size_t>(above)]);
    matrix.scales.push_back(fit_scale(format.scale.inner, format.rule, blocks[static_cast<size_t>(index)], outer));
  }
  if (!format.element.is_unsigned_integer()) return matrix;
  const std::vector<float> scales = matrix.scale_values();
  for (size_t index = 0; index < scales.size(); ++index)
    matrix.zeros.push_back(fit_zero(format, statistics[index].low, scales[index]));
  return matrix;
}

void encode_matrix(QuantizedMatrix& matrix, std::span<const float> x, const RoundingSource& source) {
  const ElementFormat& element = matrix.format.element;
  require_size("the input", x.size(), matrix.rows, matrix.columns);
  require_finite(x, matrix.columns);
  require_rounding(element, source.rounding());
  matrix.codes.assign(static_cast<size_t>(matrix.rows * matrix.columns / element.dimension), 0);
  encode_rows(matrix, matrix.scale_values(), x, source, 0, matrix.rows, matrix.codes);
}

void encode_rows(const QuantizedMatrix& matrix, std::span<const float> scales, std::span<const float> x,
                 const RoundingSource& source, int64_t first_row, int64_t end_row, std::span<uint32_t> codes) {
  const ElementFormat& element = matrix.format.element;
  const ScaleGrid grid = matrix.grid();
  const int64_t step = element.dimension;
  const bool by_sector = matrix.format.scale.parts == 2;  // of the numbers as they are
  std::vector<float> scaled(static_cast<size_t>(step));
  for (int64_t row = first_row; row < end_row; ++row)
    for (int64_t column = 0; column < matrix.columns; column += step) {
      const int64_t block = grid.index(row, column), at = row * matrix.columns + column;
      const float scale = by_sector ? 1.0f : scales[static_cast<size_t>(block)];
      for (int64_t i = 0; i < step; ++i) scaled[static_cast<size_t>(i)] = x[static_cast<size_t>(at + i)] / scale;
      uint32_t& code = codes[static_cast<size_t>(at / step)];
      const uint32_t bits = source.bits(row, column, matrix.columns);
      if (step > 1) {
        code = encode_vector(element, scaled.data());
      } else if (matrix.zeros.empty()) {
        code = encode(element, scaled[0], source.rounding(), bits);
      } else {
        const int32_t zero = static_cast<int32_t>(matrix.zeros[static_cast<size_t>(block)]);
        const int32_t rounded = round_to_integer(scaled[0], -kUnclamped, kUnclamped, source.rounding(), bits) + zero;
        code = static_cast<uint32_t>(std::clamp(rounded, 0, element.max_integer));
      }
    }
}

QuantizedMatrix quantize_matrix(const MatrixFormat& format, std::span<const float> x, int64_t rows, int64_t columns,
                                const RoundingSource& source) {
  QuantizedMatrix matrix = fit_matrix_scales(format, x, rows, columns);
  encode_matrix(matrix, x, source);
  return matrix;
}

void dequantize_matrix(const QuantizedMatrix& matrix, std::span<float> values) {
  const ElementFormat& element = matrix.format.element;
  require_size("the output", values.size(), matrix.rows, matrix.columns);
  require_size("the code array", matrix.codes.size(), matrix.rows, matrix.columns / element.dimension);
  const ScaleGrid grid = matrix.grid();
  const std::vector<float> scales = matrix.scale_values();
  for (int64_t row = 0; row < matrix.rows; ++row)
    for (int64_t column = 0; column < matrix.columns; ++column) {
      const int64_t at = row * matrix.columns + column, block = grid.index(row, column);
      const uint32_t code = matrix.codes[static_cast<size_t>(at / element.dimension)];
      const float zero = matrix.zeros.empty() ? 0.0f : static_cast<float>(matrix.zeros[static_cast<size_t>(block)]);
      const float value = decode(element, code, static_cast<int>(at % element.dimension)) - zero;
      values[static_cast<size_t>(at)] =
          value * scales[static_cast<size_t>(scale_index(matrix.format, grid, row, column))];
    }
}

int64_t count_saturated(const QuantizedMatrix& matrix, std::span<const float> x) {
  require_size("the input", x.size(), matrix.rows, matrix.columns);
  const ScaleGrid grid = matrix.grid();
  const std::vector<float> scales = matrix.scale_values();
  const float low = lowest_value(matrix.format.element), high = largest_value(matrix.format.element);
  int64_t count = 0;
  for (int64_t at = 0; at < matrix.rows * matrix.columns; ++at) {
    const int64_t block = grid.index(at / matrix.columns, at % matrix.columns);
    const float zero = matrix.zeros.empty() ? 0.0f : static_cast<float>(matrix.zeros[static_cast<size_t>(block)]);
    const int64_t scale = scale_index(matrix.format, grid, at / matrix.columns, at % matrix.columns);
    const float scaled = x[static_cast<size_t>(at)] / scales[static_cast<size_t>(scale)];
    if (scaled < low - zero || scaled > high - zero) ++count;
  }
  return count;
}

}  // namespace halftone
