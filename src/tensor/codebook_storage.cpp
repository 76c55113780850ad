// Tables, indices and their checks; see codebook_storage.h.
#include "tensor/codebook_storage.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "numerics/formats/element_array.h"
#include "numerics/formats/kmeans.h"
#include "tensor/quantize.h"

namespace halftone {
namespace {

std::span<const float> span_of(const at::Tensor& values) {
  return {values.const_data_ptr<float>(), static_cast<size_t>(values.numel())};
}

void expect_table(const at::Tensor& table) {
  const bool right = table.defined() && table.dim() == 2 && table.is_contiguous() &&
                     (table.scalar_type() == at::kHalf || table.scalar_type() == at::kFloat);
  if (!right) throw InvalidArgument("storage tensor 'table' must be a contiguous Half or Float [entries, numbers]");
}

/// Numbers [entries, dimension] as a table of `type`.
at::Tensor to_table(std::span<const float> values, int dimension, ElementType type) {
  at::Tensor table = at::empty({static_cast<int64_t>(values.size()) / dimension, dimension}, at::kFloat);
  std::copy(values.begin(), values.end(), table.data_ptr<float>());
  if (type == ElementType::Float32) return table;
  const float largest =
      *std::max_element(values.begin(), values.end(), [](float a, float b) { return std::abs(a) < std::abs(b); });
  table = table.to(at::kHalf);
  if (std::abs(largest) >= 65520.0f)  // what f16 rounds to infinity
    throw NumericError("entry {} of the codebook exceeds the range of f16 (65504); keep the table as f32", largest);
  return table;
}

/// Scales for numbers that reach 1, whatever table will hold them.
MatrixFormat unit_format(const CodebookSpec& spec) {
  static constexpr std::array<float, 2 * Codebook::kMaxDimension> kEnds = [] {
    std::array<float, 2 * Codebook::kMaxDimension> ends{};
    for (size_t i = 0; i < ends.size(); ++i) ends[i] = i < ends.size() / 2 ? -1.0f : 1.0f;
    return ends;
  }();
  // Entries of D numbers, -1 and 1: the last D of the first half and the first D of the second.
  const auto dimension = static_cast<size_t>(spec.dimension);
  MatrixFormat format = spec.scaling;
  format.element = codebook_format(
      "codebook", 1, std::span(kEnds).subspan(Codebook::kMaxDimension - dimension, 2 * dimension), spec.dimension);
  return format;
}

/// The table that k-means finds for `values` [rows, columns] under `scales`.
std::vector<float> found_table(ExecContext& exec, const QuantizedMatrix& matrix, std::span<const float> values,
                               std::span<const float> scales, const CodebookSpec& spec, const RandomKey& key) {
  const ScaleGrid grid = matrix.grid();
  std::vector<float> scaled(values.begin(), values.end());
  for (int64_t row = 0; row < matrix.rows; ++row)
    for (int64_t column = 0; column < matrix.columns; ++column)
      scaled[static_cast<size_t>(row * matrix.columns + column)] /=
          scales[static_cast<size_t>(grid.index(row, column))];
  return find_codebook(exec.pool, scaled, {.entries = spec.entries, .dimension = spec.dimension, .key = key});
}

}  // namespace

CodebookStorage make_codebook_storage(at::Tensor table, const MatrixFormat& scaling, int64_t rows, int64_t columns) {
  expect_table(table);
  if (table.size(0) > Codebook::kMaxEntries || table.size(1) > Codebook::kMaxDimension)
    throw InvalidArgument("storage tensor 'table' has {} entries of {} numbers; up to {} of {} can be", table.size(0),
                          table.size(1), Codebook::kMaxEntries, Codebook::kMaxDimension);
  const at::Tensor values = table.to(at::kFloat);
  const std::span<const float> numbers = span_of(values);
  CodebookStorage storage{
      .book = Codebook("codebook", {numbers.begin(), numbers.end()}, static_cast<int>(table.size(1))),
      .table = std::move(table),
      .indexed = {.format = scaling, .rows = rows, .columns = columns}};
  storage.indexed.format.element = storage.book.format();
  return storage;
}

Storage quantize_to_codebook(ExecContext& exec, const at::Tensor& weight, const CodebookSpec& spec,
                             const RandomKey& key, const RoundingSource& source) {
  const at::Tensor dense = weight.to(at::kFloat).contiguous();
  check_finite(dense);
  const std::span<const float> values = span_of(dense);
  const int64_t rows = dense.size(0), columns = dense.size(1);
  MatrixFormat fitted = unit_format(spec);
  if (spec.given) fitted.element = spec.given->format();
  QuantizedMatrix matrix = fit_matrix_scales(fitted, values, rows, columns);
  const std::vector<float> scales = matrix.scale_values();
  const std::vector<float> found =
      spec.given ? std::vector<float>() : found_table(exec, matrix, values, scales, spec, key);
  CodebookStorage storage = make_codebook_storage(
      to_table(spec.given ? spec.given->values() : found, spec.dimension, spec.table), spec.scaling, rows, columns);
  matrix.format = storage.indexed.format;
  require_rounding(matrix.format.element, source.rounding());
  matrix.codes.resize(values.size() / static_cast<size_t>(spec.dimension));
  exec.pool.parallel_for(rows, 1, [&](int64_t begin, int64_t end, int) {
    encode_rows(matrix, scales, values, source, begin, end, matrix.codes);
  });
  storage.indexed = pack_matrix(matrix);
  return storage;
}

std::string describe(const CodebookStorage& storage) {
  const MatrixFormat& format = storage.indexed.format;
  std::string text = fmt::format("codebook {}", storage.table.size(0));
  if (storage.table.size(1) > 1) text += fmt::format("x{}", storage.table.size(1));
  text += storage.table.scalar_type() == at::kHalf ? " f16" : " f32";
  return format.scale.stored() ? text + " " + scaling_words(format) : text;
}

void validate(const CodebookStorage& storage) {
  expect_table(storage.table);
  const ElementFormat& element = storage.indexed.format.element;
  const at::Tensor values = storage.table.to(at::kFloat);
  const bool same = element.codebook == storage.book.format().codebook && element.bits == storage.book.format().bits &&
                    storage.table.size(1) == element.dimension &&
                    std::ranges::equal(span_of(values), storage.book.values());
  if (!same)
    throw InvalidArgument("storage tensor 'table' differs from the codebook; make it with make_codebook_storage");
  validate_parts(storage.indexed);
  if (element.codebook_size == 1u << element.bits) return;  // every index has an entry
  FormatReader reader(storage.indexed);
  for (int64_t row = 0; row < storage.indexed.rows; ++row) {
    const std::span<const uint32_t> codes = reader.codes(row);
    for (size_t i = 0; i < codes.size(); ++i)
      if (codes[i] >= element.codebook_size)
        throw InvalidArgument(
            "index {} at place {} of row {} of storage tensor 'codes' is past the table of {} entries", codes[i], i,
            row, element.codebook_size);
  }
}

int64_t bytes_of(const CodebookStorage& storage) {
  return bytes_of(storage.indexed) + static_cast<int64_t>(storage.table.nbytes());
}

std::optional<FormatOperands> kernel_operands(const CodebookStorage& storage) {
  return kernel_operands(storage.indexed, storage.book.format());
}

}  // namespace halftone
