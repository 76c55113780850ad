// Rounding to formats, packing, checks, and operands of kernels; see format_storage.h.
#include "tensor/format_storage.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "numerics/formats/element_array.h"
#include "numerics/formats/weight_format.h"
#include "numerics/packing.h"
#include "tensor/quantize.h"

namespace halftone {
namespace {

constexpr int kTableBits = 8;  // codes of at most this width have their values listed

std::span<uint8_t> row_of(at::Tensor& bytes, int64_t row) {
  return {bytes.data_ptr<uint8_t>() + row * bytes.size(1), static_cast<size_t>(bytes.size(1))};
}
std::span<const uint8_t> row_of(const at::Tensor& bytes, int64_t row) {
  return {bytes.const_data_ptr<uint8_t>() + row * bytes.size(1), static_cast<size_t>(bytes.size(1))};
}

/// Rows of equal length as packed bytes.
at::Tensor pack_rows(int bits, std::span<const uint32_t> codes, int64_t rows) {
  const int64_t columns = static_cast<int64_t>(codes.size()) / rows;
  at::Tensor packed = at::empty({rows, packed_bytes(bits, columns)}, at::kByte);
  for (int64_t row = 0; row < rows; ++row)
    pack_bits(bits, codes.subspan(static_cast<size_t>(row * columns), static_cast<size_t>(columns)),
              row_of(packed, row));
  return packed;
}

int64_t outer_count(const ScaleFormat& scale, const ScaleGrid& grid) {
  return scale.sharing == OuterSharing::BlockRow ? grid.grid_rows() : scale.sharing == OuterSharing::Tensor ? 1 : 0;
}

void expect_bytes(const at::Tensor& tensor, const char* name, int64_t rows, int64_t columns) {
  const bool right = tensor.defined() && tensor.scalar_type() == at::kByte && tensor.dim() == 2 &&
                     tensor.size(0) == rows && tensor.size(1) == columns && tensor.is_contiguous();
  if (!right) throw InvalidArgument("storage tensor '{}' must be a contiguous Byte [{}, {}]", name, rows, columns);
}

/// Throws where a decoded code is not finite, or is not positive where it must be.
void expect_values(const ElementFormat& format, std::span<const uint32_t> codes, const char* name, bool positive) {
  for (size_t i = 0; i < codes.size(); ++i) {
    const float value = decode(format, codes[i]);
    if (!std::isfinite(value) || (positive && !(value > 0)))
      throw InvalidArgument("code {:#x} at place {} of storage tensor '{}' is {} in {}; it must be finite{}", codes[i],
                            i, name, value, format.name, positive ? " and positive" : "");
  }
}

/// A format's codes by its scheme: the same values in the layouts of numerics/formats.h.
QuantizedStorage store_scheme(const QuantizedMatrix& matrix, const QuantScheme& scheme) {
  const int64_t groups = scheme.groups(matrix.columns), bytes = row_bytes(scheme.element, matrix.columns);
  QuantizedStorage q{.scheme = scheme, .rows = matrix.rows, .columns = matrix.columns};
  q.codes = at::empty({q.rows, bytes}, at::kByte);
  q.scales = at::empty({q.rows, groups}, at::kHalf);
  auto* scales = reinterpret_cast<uint16_t*>(q.scales.data_ptr<at::Half>());
  std::transform(matrix.scales.begin(), matrix.scales.end(), scales,
                 [](uint32_t code) { return static_cast<uint16_t>(code); });
  if (scheme.zero_points) {
    q.zeros = at::empty({q.rows, groups}, at::kByte);
    std::transform(matrix.zeros.begin(), matrix.zeros.end(), q.zeros.data_ptr<uint8_t>(),
                   [](uint32_t code) { return static_cast<uint8_t>(code); });
  }
  const bool int8 = scheme.element == ElementType::Int8;  // signed where others count from their zero code
  const int shift = scheme.zero_points ? (int8 ? -128 : 0) : int8 ? 0 : symmetric_zero(scheme.element);
  std::vector<uint8_t> codes(static_cast<size_t>(q.columns));
  for (int64_t row = 0; row < q.rows; ++row) {
    for (int64_t k = 0; k < q.columns; ++k) {
      const float code = decode(matrix.format.element, matrix.codes[static_cast<size_t>(row * q.columns + k)]);
      codes[static_cast<size_t>(k)] = static_cast<uint8_t>(static_cast<int>(code) + shift);
    }
    pack_codes(scheme.element, codes, q.codes.data_ptr<uint8_t>() + row * bytes);
  }
  return q;
}

}  // namespace

Storage quantize_to_format(ExecContext& exec, const at::Tensor& weight, const MatrixFormat& format,
                           const RoundingSource& source) {
  require_weight_format(format);
  require_rounding(format.element, source.rounding());
  const at::Tensor dense = weight.to(at::kFloat).contiguous();
  check_finite(dense);
  const std::span<const float> values(dense.const_data_ptr<float>(), static_cast<size_t>(dense.numel()));
  QuantizedMatrix matrix = fit_matrix_scales(format, values, dense.size(0), dense.size(1));
  matrix.codes.resize(values.size() / static_cast<size_t>(format.element.dimension));
  const std::vector<float> scales = matrix.scale_values();
  exec.pool.parallel_for(matrix.rows, 1, [&](int64_t begin, int64_t end, int) {
    encode_rows(matrix, scales, values, source, begin, end, matrix.codes);
  });
  return store_matrix(matrix);
}

Storage store_matrix(const QuantizedMatrix& matrix) {
  require_weight_format(matrix.format);
  if (const auto scheme = scheme_of(matrix.format)) return store_scheme(matrix, *scheme);
  return pack_matrix(matrix);
}

FormatStorage pack_matrix(const QuantizedMatrix& matrix) {
  const MatrixFormat& format = matrix.format;
  const ScaleGrid grid = matrix.grid();
  FormatStorage storage{.format = format, .rows = matrix.rows, .columns = matrix.columns};
  storage.codes = pack_rows(format.element.bits, matrix.codes, matrix.rows);
  if (format.scale.stored()) storage.scales = pack_rows(format.scale.inner.bits, matrix.scales, grid.grid_rows());
  if (format.scale.two_level()) storage.outer = pack_rows(format.scale.outer.bits, matrix.outer, 1);
  if (format.element.is_unsigned_integer())
    storage.zeros = pack_rows(format.element.bits, matrix.zeros, grid.grid_rows());
  return storage;
}

void validate(const FormatStorage& storage) {
  const MatrixFormat& format = storage.format;
  require_weight_format(format);
  if (const auto scheme = scheme_of(format))
    throw InvalidArgument("{} is stored as {}; make it with quantize_to_format", to_string(format), to_string(*scheme));
  validate_parts(storage);
}

void validate_parts(const FormatStorage& storage) {
  const MatrixFormat& format = storage.format;
  format.validate(storage.rows, storage.columns);
  const ScaleGrid grid(format.layout, storage.rows, storage.columns);
  const auto row_bytes_of = [](const ElementFormat& codes, int64_t count) { return packed_bytes(codes.bits, count); };
  expect_bytes(storage.codes, "codes", storage.rows,
               row_bytes_of(format.element, storage.columns / format.element.dimension));
  if (format.scale.stored())
    expect_bytes(storage.scales, "scales", grid.grid_rows(),
                 row_bytes_of(format.scale.inner, grid.grid_columns() * format.scale.parts));
  if (format.scale.two_level())
    expect_bytes(storage.outer, "outer", 1, row_bytes_of(format.scale.outer, outer_count(format.scale, grid)));
  if (format.element.is_unsigned_integer())
    expect_bytes(storage.zeros, "zeros", grid.grid_rows(), row_bytes_of(format.element, grid.grid_columns()));
  FormatReader reader(storage);
  for (int64_t row = 0; row < storage.rows; row += grid.block_rows())
    expect_values(format.scale.inner, reader.scale_codes(row), "scales", true);
  if (format.element.specials == SpecialValues::None) return;
  for (int64_t row = 0; row < storage.rows; ++row) expect_values(format.element, reader.codes(row), "codes", false);
}

int64_t bytes_of(const FormatStorage& storage) {
  int64_t bytes = 0;
  for (const at::Tensor* part : {&storage.codes, &storage.scales, &storage.outer, &storage.zeros})
    if (part->defined()) bytes += static_cast<int64_t>(part->nbytes());
  return bytes;
}

FormatReader::FormatReader(const FormatStorage& storage)
    : storage_(storage), grid_(storage.format.layout, storage.rows, storage.columns) {
  const ElementFormat& element = storage.format.element;
  codes_.resize(static_cast<size_t>(storage.columns / element.dimension));
  scales_.resize(static_cast<size_t>(grid_.grid_columns() * storage.format.scale.parts), 1.0f);
  if (storage.format.scale.stored()) scale_codes_.resize(scales_.size());
  if (element.is_unsigned_integer()) zeros_.resize(static_cast<size_t>(grid_.grid_columns()));
  if (element.bits <= kTableBits)
    for (uint32_t code = 0; code < uint32_t{1} << element.bits; ++code)
      for (int i = 0; i < element.dimension; ++i) table_.push_back(decode(element, code, i));
  if (!storage.format.scale.two_level()) return;
  outer_.resize(static_cast<size_t>(outer_count(storage.format.scale, grid_)));
  unpack_bits(storage.format.scale.outer.bits, row_of(storage.outer, 0), outer_);
  expect_values(storage.format.scale.outer, outer_, "outer", true);
}

std::span<const uint32_t> FormatReader::codes(int64_t row) {
  unpack_bits(storage_.format.element.bits, row_of(storage_.codes, row), codes_);
  return codes_;
}

std::span<const uint32_t> FormatReader::scale_codes(int64_t row) {
  if (!scale_codes_.empty())
    unpack_bits(storage_.format.scale.inner.bits, row_of(storage_.scales, row / grid_.block_rows()), scale_codes_);
  return scale_codes_;
}

std::span<const float> FormatReader::scales(int64_t row) {
  const bool by_row = storage_.format.scale.sharing == OuterSharing::BlockRow;
  const uint32_t outer = outer_code(by_row ? row / grid_.block_rows() : 0);
  scale_codes(row);
  for (size_t i = 0; i < scale_codes_.size(); ++i)
    scales_[i] = scale_value(storage_.format.scale, scale_codes_[i], outer);
  return scales_;
}

std::span<const uint32_t> FormatReader::zeros(int64_t row) {
  if (!zeros_.empty())
    unpack_bits(storage_.format.element.bits, row_of(storage_.zeros, row / grid_.block_rows()), zeros_);
  return zeros_;
}

float FormatReader::value(uint32_t code, int component) const {
  const ElementFormat& element = storage_.format.element;
  return table_.empty() ? decode(element, code, component)
                        : table_[code * static_cast<uint32_t>(element.dimension) + static_cast<uint32_t>(component)];
}

void FormatReader::values(int64_t row, float* out) {
  const int dimension = storage_.format.element.dimension, parts = storage_.format.scale.parts;
  codes(row), scales(row), zeros(row);
  for (int64_t block = 0; block < grid_.grid_columns(); ++block) {
    const float zero = zeros_.empty() ? 0.0f : static_cast<float>(zeros_[static_cast<size_t>(block)]);
    const float* scale = &scales_[static_cast<size_t>(block * parts)];
    const int64_t end = std::min((block + 1) * grid_.block_columns(), storage_.columns);
    for (int64_t k = block * grid_.block_columns(); k < end; ++k)
      out[k] = (value(codes_[static_cast<size_t>(k / dimension)], static_cast<int>(k % dimension)) - zero) *
               scale[k % parts];
  }
}

}  // namespace halftone
