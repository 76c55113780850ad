// Shapes, sizes and dequantisation of storages; see storage.h.
#include "tensor/storage.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "base/error.h"
#include "numerics/formats/weight_format.h"
#include "numerics/group_code.h"
#include "numerics/packing.h"
#include "tensor/codebook_storage.h"
#include "tensor/format_storage.h"

namespace halftone {
namespace {

template <class... Fs>
struct Overloaded : Fs... {
  using Fs::operator()...;
};

ElementType element_of(const at::Tensor& values) {
  switch (values.scalar_type()) {
    case at::kFloat:
      return ElementType::Float32;
    case at::kHalf:
      return ElementType::Float16;
    case at::kBFloat16:
      return ElementType::BFloat16;
    default:
      throw InvalidArgument("a dense storage holds f32, f16 or bf16, not {}", c10::toString(values.scalar_type()));
  }
}

void expect(const at::Tensor& tensor, const char* name, at::ScalarType type, int64_t rows, int64_t columns) {
  const bool right = tensor.defined() && tensor.scalar_type() == type && tensor.dim() == 2 && tensor.size(0) == rows &&
                     tensor.size(1) == columns && tensor.is_contiguous();
  if (!right)
    throw InvalidArgument("storage tensor '{}' must be a contiguous {} [{}, {}]", name, c10::toString(type), rows,
                          columns);
}

/// f16 numbers [N, scales(K)], times i8 group factors [N, groups] where there are such, as f32 [N, groups]: exact.
at::Tensor group_floats(const QuantizedStorage& q, const at::Tensor& halves, const at::Tensor& factors) {
  if (q.scheme.granularity != Granularity::SuperGroup) return halves.to(at::kFloat);
  const int64_t groups = q.scheme.groups(q.columns), supers = q.scheme.super_groups(q.columns);
  at::Tensor out = at::empty({q.rows, groups}, at::kFloat);
  auto* to = out.data_ptr<float>();
  const auto* half = halves.const_data_ptr<at::Half>();
  const auto* factor = factors.const_data_ptr<int8_t>();
  for (int64_t row = 0; row < q.rows; ++row)
    for (int64_t g = 0; g < groups; ++g, ++to, ++factor)
      *to = static_cast<float>(half[row * supers + g * q.scheme.group / kSuperGroup]) * static_cast<float>(*factor);
  return out;
}

/// One row of a quantised matrix as f32.
void dequantize_row(const QuantizedStorage& q, int64_t row, std::vector<uint8_t>& codes, float* out) {
  const int64_t groups = q.scheme.groups(q.columns);
  const int64_t group = q.scheme.granularity == Granularity::Row ? q.columns : q.scheme.group;
  const bool two_level = q.scheme.granularity == Granularity::TwoLevel;
  const bool super = q.scheme.granularity == Granularity::SuperGroup;
  const int64_t scale_count = q.scheme.scales(q.columns);
  const auto* scales = q.scales.const_data_ptr<at::Half>() + row * scale_count;
  const auto* mins = q.scheme.minimums ? q.mins.const_data_ptr<at::Half>() + row * scale_count : nullptr;
  codes.resize(q.columns);
  unpack_codes(q.scheme.element, q.codes.const_data_ptr<uint8_t>() + row * q.codes.size(1), codes);
  const bool int8 = q.scheme.element == ElementType::Int8;
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t at = two_level ? 0 : super ? g * group / kSuperGroup : g;
    const auto scaled = [&](const at::Half* halves, const at::Tensor& factors) {
      const float factor = super ? factors.const_data_ptr<int8_t>()[row * groups + g] : 1.0f;
      return static_cast<float>(halves[at]) * factor;
    };
    const float scale = scaled(scales, q.group_scales), minimum = mins != nullptr ? scaled(mins, q.group_mins) : 0.0f;
    const int step = two_level ? q.group_scales.const_data_ptr<uint8_t>()[row * groups + g] : 1;
    const int zero = q.scheme.zero_points ? q.zeros.const_data_ptr<uint8_t>()[row * groups + g] - (int8 ? 128 : 0)
                                          : q.scheme.zero_code();
    const int64_t end = std::min((g + 1) * group, q.columns);
    for (int64_t k = g * group; k < end; ++k) {
      const int code = int8 ? static_cast<int8_t>(codes[k]) : codes[k];
      const float value = static_cast<float>((code - zero) * step) * scale;
      out[k] = mins != nullptr ? value + minimum : value;
    }
  }
}

/// Ternary rows as Int2, which is what the kernels with f32 activations read: code c means c - 1, as c + 1 does there.
at::Tensor ternary_as_int2(const QuantizedStorage& q) {
  const int64_t bytes = row_bytes(ElementType::Int2, q.columns);
  at::Tensor out = at::empty({q.rows, bytes}, at::kByte);
  std::vector<uint8_t> codes(static_cast<size_t>(q.columns));
  for (int64_t row = 0; row < q.rows; ++row) {
    unpack_codes(ElementType::Ternary, q.codes.const_data_ptr<uint8_t>() + row * q.codes.size(1), codes);
    for (uint8_t& code : codes) ++code;
    pack_codes(ElementType::Int2, codes, out.data_ptr<uint8_t>() + row * bytes);
  }
  return out;
}

/// Rows of coded storages as f32.
class RowReader {
 public:
  explicit RowReader(const Storage& storage) : quantized_(std::get_if<QuantizedStorage>(&storage)) {
    if (const auto* formatted = std::get_if<FormatStorage>(&storage)) formatted_.emplace(*formatted);
    if (const auto* coded = std::get_if<CodebookStorage>(&storage)) formatted_.emplace(coded->indexed);
  }
  void read(int64_t row, float* out) {
    formatted_ ? formatted_->values(row, out) : dequantize_row(*quantized_, row, codes_, out);
  }

 private:
  const QuantizedStorage* quantized_;
  std::optional<FormatReader> formatted_;
  std::vector<uint8_t> codes_;
};

/// For what reads numbers outside validate().
void require_numbers(const Storage& storage) {
  if (!has_numbers(storage))
    throw InvalidArgument("{} weights were given up: their model was loaded to be run only; load it again without that",
                          describe(storage));
}

}  // namespace

int64_t rows_of(const Storage& storage) {
  return std::visit(
      Overloaded{[](const DenseStorage& s) { return s.values.size(0); },
                 [](const CodebookStorage& s) { return s.indexed.rows; }, [](const auto& s) { return s.rows; }},
      storage);
}

int64_t columns_of(const Storage& storage) {
  return std::visit(
      Overloaded{[](const DenseStorage& s) { return s.values.size(1); },
                 [](const CodebookStorage& s) { return s.indexed.columns; }, [](const auto& s) { return s.columns; }},
      storage);
}

int64_t bytes_of(const Storage& storage) {
  require_numbers(storage);
  return std::visit(Overloaded{[](const DenseStorage& s) { return static_cast<int64_t>(s.values.nbytes()); },
                               [](const QuantizedStorage& s) {
                                 int64_t bytes = static_cast<int64_t>(s.codes.nbytes() + s.scales.nbytes());
                                 if (s.group_scales.defined()) bytes += static_cast<int64_t>(s.group_scales.nbytes());
                                 for (const at::Tensor* extra : {&s.zeros, &s.mins, &s.group_mins})
                                   if (extra->defined()) bytes += static_cast<int64_t>(extra->nbytes());
                                 return bytes;
                               },
                               [](const auto& s) { return bytes_of(s); }},
                    storage);
}

std::string describe(const Storage& storage) {
  return std::visit(Overloaded{[](const DenseStorage& s) { return std::string(to_string(element_of(s.values))); },
                               [](const QuantizedStorage& s) { return to_string(s.scheme); },
                               [](const FormatStorage& s) { return weight_format_name(s.format); },
                               [](const CodebookStorage& s) { return describe(s); }},
                    storage);
}

bool has_numbers(const Storage& storage) {
  return std::visit(
      Overloaded{[](const QuantizedStorage& s) { return s.codes.defined(); },
                 [](const FormatStorage& s) { return s.codes.defined(); }, [](const auto&) { return true; }},
      storage);
}

Storage without_numbers(const Storage& storage) {
  if (const auto* q = std::get_if<QuantizedStorage>(&storage))
    return QuantizedStorage{.scheme = q->scheme, .rows = q->rows, .columns = q->columns};
  if (const auto* f = std::get_if<FormatStorage>(&storage))
    return FormatStorage{.format = f->format, .rows = f->rows, .columns = f->columns};
  return storage;
}

void validate(const Storage& storage) {
  require_numbers(storage);
  if (const auto* dense = std::get_if<DenseStorage>(&storage)) {
    if (!dense->values.defined() || dense->values.dim() != 2 || !dense->values.is_contiguous())
      throw InvalidArgument("a dense storage must be a contiguous matrix");
    element_of(dense->values);
    return;
  }
  if (const auto* formatted = std::get_if<FormatStorage>(&storage)) return validate(*formatted);
  if (const auto* coded = std::get_if<CodebookStorage>(&storage)) return validate(*coded);
  const auto& q = std::get<QuantizedStorage>(storage);
  q.scheme.validate(q.columns);
  const int64_t groups = q.scheme.groups(q.columns);
  const bool super = q.scheme.granularity == Granularity::SuperGroup;
  const int64_t scales = q.scheme.scales(q.columns);
  expect(q.codes, "codes", at::kByte, q.rows, row_bytes(q.scheme.element, q.columns));
  expect(q.scales, "scales", at::kHalf, q.rows, scales);
  if (q.scheme.has_group_scales())
    expect(q.group_scales, "group_scales", super ? at::kChar : at::kByte, q.rows, groups);
  if (q.scheme.zero_points) expect(q.zeros, "zeros", at::kByte, q.rows, groups);
  if (q.scheme.minimums) expect(q.mins, "mins", at::kHalf, q.rows, scales);
  if (q.scheme.minimums && super) expect(q.group_mins, "group_mins", at::kChar, q.rows, groups);
}

Storage make_dense(const at::Tensor& weight, ElementType type) {
  at::ScalarType target = at::kFloat;
  if (type == ElementType::Float16)
    target = at::kHalf;
  else if (type == ElementType::BFloat16)
    target = at::kBFloat16;
  else if (type != ElementType::Float32)
    throw InvalidArgument("{} is not a dense element type", to_string(type));
  at::Tensor values = weight.to(target).contiguous();
  if (type == ElementType::Float16 && !at::isfinite(values).all().item<bool>())
    throw NumericError(
        "some weights are NaN or exceed the range of f16 (65504); repair the model, or store it as bf16 or f32");
  return DenseStorage{values};
}

at::Tensor dequantize(const Storage& storage) {
  require_numbers(storage);
  if (const auto* dense = std::get_if<DenseStorage>(&storage)) return dense->values.to(at::kFloat);
  at::Tensor out = at::empty({rows_of(storage), columns_of(storage)}, at::kFloat);
  RowReader reader(storage);
  for (int64_t row = 0; row < out.size(0); ++row) reader.read(row, out.data_ptr<float>() + row * out.size(1));
  return out;
}

at::Tensor dequantize_rows(const Storage& storage, std::span<const int32_t> ids) {
  require_numbers(storage);
  const int64_t rows = rows_of(storage), columns = columns_of(storage);
  at::Tensor out = at::empty({static_cast<int64_t>(ids.size()), columns}, at::kFloat);
  RowReader reader(storage);
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= rows) throw InvalidArgument("row {} is outside a matrix of {} rows", ids[i], rows);
    if (const auto* dense = std::get_if<DenseStorage>(&storage))
      out.select(0, static_cast<int64_t>(i)).copy_(dense->values.select(0, ids[i]));
    else
      reader.read(ids[i], out.data_ptr<float>() + static_cast<int64_t>(i) * columns);
  }
  return out;
}

PreparedWeight::PreparedWeight(const Storage& storage) {
  validate(storage);
  problem_.n = rows_of(storage);
  problem_.k = columns_of(storage);
  if (const auto* dense = std::get_if<DenseStorage>(&storage)) {
    codes_ = dense->values;
    problem_.weight = element_of(dense->values);
    view_.codes = codes_.const_data_ptr();
    return;
  }
  if (const auto* formatted = std::get_if<FormatStorage>(&storage)) {
    prepare(storage, kernel_operands(*formatted));
    return;
  }
  if (const auto* coded = std::get_if<CodebookStorage>(&storage)) {
    book_ = coded->book;
    prepare(storage, kernel_operands(*coded));
    return;
  }
  const auto& q = std::get<QuantizedStorage>(storage);
  const bool ternary = q.scheme.element == ElementType::Ternary;
  codes_ = ternary ? ternary_as_int2(q) : q.codes;
  scales_f32_ = group_floats(q, q.scales, q.group_scales);
  problem_.weight = ternary ? ElementType::Int2 : q.scheme.element;
  problem_.zero_points = q.scheme.zero_points;
  problem_.group = q.scheme.granularity == Granularity::Row ? 0 : q.scheme.group;
  problem_.minimums = q.scheme.minimums;
  const bool two_level = q.scheme.granularity == Granularity::TwoLevel;
  problem_.scales = q.scheme.granularity == Granularity::Row ? kernels::ScaleLayout::Row
                    : two_level                              ? kernels::ScaleLayout::TwoLevel
                                                             : kernels::ScaleLayout::Group;
  view_.codes = codes_.const_data_ptr();
  view_.scales = scales_f32_.const_data_ptr<float>();
  if (q.scheme.minimums) {
    mins_f32_ = group_floats(q, q.mins, q.group_mins);
    view_.mins = mins_f32_.const_data_ptr<float>();
  }
  if (two_level) {
    group_scales_ = q.group_scales;
    view_.group_scales = group_scales_.const_data_ptr<uint8_t>();
  }
  if (q.zeros.defined()) {
    zeros_ = q.zeros;
    view_.zeros = zeros_.const_data_ptr<uint8_t>();
  }
}

void PreparedWeight::prepare(const Storage& storage, const std::optional<FormatOperands>& operands) {
  if (!operands) {
    codes_ = dequantize(storage);
    view_.codes = codes_.const_data_ptr();
    return;
  }
  problem_ = operands->problem;
  codes_ = operands->codes;
  scales_f32_ = operands->scales;
  view_.codes = codes_.const_data_ptr();
  view_.scales = scales_f32_.const_data_ptr<float>();
  if (problem_.scale_codes) {
    scale_codes_ = operands->scale_codes;
    view_.scale_codes = scale_codes_.const_data_ptr<uint8_t>();
  }
  if (problem_.zero_points) {
    zeros_ = operands->zeros;
    view_.zeros = zeros_.const_data_ptr<uint8_t>();
  }
}

}  // namespace halftone
