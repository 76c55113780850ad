// Shapes, sizes and dequantisation of storages; see storage.h.
#include "tensor/storage.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "numerics/group_code.h"
#include "numerics/packing.h"

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

/// One row of a quantised matrix as f32.
void dequantize_row(const QuantizedStorage& q, int64_t row, std::vector<uint8_t>& codes, float* out) {
  const int64_t groups = q.scheme.groups(q.columns);
  const int64_t group = q.scheme.granularity == Granularity::Row ? q.columns : q.scheme.group;
  const bool two_level = q.scheme.granularity == Granularity::TwoLevel;
  const auto* scales = q.scales.const_data_ptr<at::Half>() + row * q.scales.size(1);
  codes.resize(q.columns);
  unpack_codes(q.scheme.element, q.codes.const_data_ptr<uint8_t>() + row * q.codes.size(1), codes);
  const bool int8 = q.scheme.element == ElementType::Int8;
  for (int64_t g = 0; g < groups; ++g) {
    const float scale = scales[two_level ? 0 : g];
    const int step = two_level ? q.group_scales.const_data_ptr<uint8_t>()[row * groups + g] : 1;
    const int zero = q.scheme.zero_points ? q.zeros.const_data_ptr<uint8_t>()[row * groups + g] - (int8 ? 128 : 0)
                                          : symmetric_zero(q.scheme.element);
    const int64_t end = std::min((g + 1) * group, q.columns);
    for (int64_t k = g * group; k < end; ++k) {
      const int code = int8 ? static_cast<int8_t>(codes[k]) : codes[k];
      out[k] = static_cast<float>((code - zero) * step) * scale;
    }
  }
}

}  // namespace

int64_t rows_of(const Storage& storage) {
  return std::visit(Overloaded{[](const DenseStorage& s) { return s.values.size(0); },
                               [](const QuantizedStorage& s) { return s.rows; }},
                    storage);
}

int64_t columns_of(const Storage& storage) {
  return std::visit(Overloaded{[](const DenseStorage& s) { return s.values.size(1); },
                               [](const QuantizedStorage& s) { return s.columns; }},
                    storage);
}

int64_t bytes_of(const Storage& storage) {
  return std::visit(Overloaded{[](const DenseStorage& s) { return static_cast<int64_t>(s.values.nbytes()); },
                               [](const QuantizedStorage& s) {
                                 int64_t bytes = static_cast<int64_t>(s.codes.nbytes() + s.scales.nbytes());
                                 if (s.group_scales.defined()) bytes += static_cast<int64_t>(s.group_scales.nbytes());
                                 if (s.zeros.defined()) bytes += static_cast<int64_t>(s.zeros.nbytes());
                                 return bytes;
                               }},
                    storage);
}

std::string describe(const Storage& storage) {
  return std::visit(Overloaded{[](const DenseStorage& s) { return std::string(to_string(element_of(s.values))); },
                               [](const QuantizedStorage& s) { return to_string(s.scheme); }},
                    storage);
}

void validate(const Storage& storage) {
  if (const auto* dense = std::get_if<DenseStorage>(&storage)) {
    if (!dense->values.defined() || dense->values.dim() != 2 || !dense->values.is_contiguous())
      throw InvalidArgument("a dense storage must be a contiguous matrix");
    element_of(dense->values);
    return;
  }
  const auto& q = std::get<QuantizedStorage>(storage);
  q.scheme.validate(q.columns);
  const int64_t groups = q.scheme.groups(q.columns);
  const bool two_level = q.scheme.granularity == Granularity::TwoLevel;
  expect(q.codes, "codes", at::kByte, q.rows, row_bytes(q.scheme.element, q.columns));
  expect(q.scales, "scales", at::kHalf, q.rows, two_level ? 1 : groups);
  if (two_level) expect(q.group_scales, "group_scales", at::kByte, q.rows, groups);
  if (q.scheme.zero_points) expect(q.zeros, "zeros", at::kByte, q.rows, groups);
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
  if (const auto* dense = std::get_if<DenseStorage>(&storage)) return dense->values.to(at::kFloat);
  const auto& q = std::get<QuantizedStorage>(storage);
  at::Tensor out = at::empty({q.rows, q.columns}, at::kFloat);
  std::vector<uint8_t> codes;
  for (int64_t row = 0; row < q.rows; ++row) dequantize_row(q, row, codes, out.data_ptr<float>() + row * q.columns);
  return out;
}

at::Tensor dequantize_rows(const Storage& storage, std::span<const int32_t> ids) {
  const int64_t rows = rows_of(storage), columns = columns_of(storage);
  at::Tensor out = at::empty({static_cast<int64_t>(ids.size()), columns}, at::kFloat);
  std::vector<uint8_t> codes;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= rows)
      throw InvalidArgument("token id {} is outside the vocabulary of {} tokens", ids[i], rows);
    if (const auto* dense = std::get_if<DenseStorage>(&storage))
      out.select(0, static_cast<int64_t>(i)).copy_(dense->values.select(0, ids[i]));
    else
      dequantize_row(std::get<QuantizedStorage>(storage), ids[i], codes,
                     out.data_ptr<float>() + static_cast<int64_t>(i) * columns);
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
  const auto& q = std::get<QuantizedStorage>(storage);
  codes_ = q.codes;
  scales_f32_ = q.scales.to(at::kFloat);
  problem_.weight = q.scheme.element;
  problem_.zero_points = q.scheme.zero_points;
  problem_.group = q.scheme.granularity == Granularity::Row ? 0 : q.scheme.group;
  problem_.scales = q.scheme.granularity == Granularity::Row     ? kernels::ScaleLayout::Row
                    : q.scheme.granularity == Granularity::Group ? kernels::ScaleLayout::Group
                                                                 : kernels::ScaleLayout::TwoLevel;
  view_.codes = codes_.const_data_ptr();
  view_.scales = scales_f32_.const_data_ptr<float>();
  if (q.group_scales.defined()) {
    group_scales_ = q.group_scales;
    view_.group_scales = group_scales_.const_data_ptr<uint8_t>();
  }
  if (q.zeros.defined()) {
    zeros_ = q.zeros;
    view_.zeros = zeros_.const_data_ptr<uint8_t>();
  }
}

}  // namespace halftone
