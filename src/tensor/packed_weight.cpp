// Stacking and interleaving; see packed_weight.h.
#include "tensor/packed_weight.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <vector>

#include "base/error.h"
#include "base/huge_pages.h"
#include "tensor/format_storage.h"

namespace halftone {
namespace {

const QuantizedStorage& quantized(const Storage& storage) { return std::get<QuantizedStorage>(storage); }

/// A tensor of zeros on large pages: each step of decoding reads all of it, and 4 KB pages are translated anew.
at::Tensor lasting_zeros(at::IntArrayRef sizes, at::ScalarType type) {
  const auto bytes = static_cast<size_t>(c10::multiply_integers(sizes)) * c10::elementSize(type);
  const std::shared_ptr<std::byte> memory = shared_huge_pages(bytes);
  return at::from_blob(
      memory.get(), sizes, [memory](void*) {}, type);
}

/// Rows [N_i, groups] of all parts, [tiles][groups][16].
template <class T>
at::Tensor stack_groups(std::span<const at::Tensor> parts, int64_t tiles) {
  const int64_t groups = parts.front().size(1);
  at::Tensor out = lasting_zeros({tiles, groups, kTileRows}, parts.front().scalar_type());
  auto* to = static_cast<T*>(out.mutable_data_ptr());
  for (const at::Tensor& part : parts) {
    interleave_groups(part.size(0), groups, static_cast<const T*>(part.const_data_ptr()), to);
    to += tiles_of(part.size(0)) * groups * kTileRows;
  }
  return out;
}

std::vector<at::Tensor> members(std::span<const Storage* const> parts, at::Tensor QuantizedStorage::*member) {
  std::vector<at::Tensor> tensors;
  for (const Storage* part : parts) tensors.push_back(quantized(*part).*member);
  return tensors;
}

/// Rows [N_i, row_bytes] of codes of all parts, interleaved one after the other.
at::Tensor stack_codes(ElementType type, int64_t columns, std::span<const at::Tensor> parts) {
  int64_t bytes = 0;
  for (const at::Tensor& part : parts) bytes += interleaved_bytes(type, part.size(0), columns);
  at::Tensor codes = lasting_zeros({bytes}, at::kByte);
  auto* to = codes.data_ptr<uint8_t>();
  for (const at::Tensor& part : parts) {
    interleave(type, part.size(0), columns, part.const_data_ptr<uint8_t>(), to);
    to += interleaved_bytes(type, part.size(0), columns);
  }
  return codes;
}

kernels::ScaleLayout layout_of(Granularity granularity) {
  switch (granularity) {
    case Granularity::Row:
      return kernels::ScaleLayout::Row;
    case Granularity::Group:
      return kernels::ScaleLayout::Group;
    case Granularity::TwoLevel:
      return kernels::ScaleLayout::TwoLevel;
    case Granularity::SuperGroup:
      return kernels::ScaleLayout::SuperGroup;
  }
  return kernels::ScaleLayout::None;
}

/// Why `storage` alone cannot be packed.
std::string why_not_alone(const Storage& storage) {
  if (const auto* formatted = std::get_if<FormatStorage>(&storage)) return why_not_listed(*formatted);
  if (!std::holds_alternative<QuantizedStorage>(storage)) return describe(storage) + " weights have no integer kernel";
  const QuantScheme& scheme = quantized(storage).scheme;
  const bool halves = scheme.granularity == Granularity::SuperGroup && !scheme.minimums;
  if (scheme.granularity != Granularity::Row && scheme.group % kUnitLength != 0 && !halves)
    return fmt::format("groups of {} elements are no multiple of {}", scheme.group, kUnitLength);
  return {};
}

bool alike(const Storage& a, const Storage& b) {
  if (a.index() != b.index() || columns_of(a) != columns_of(b)) return false;
  if (std::holds_alternative<QuantizedStorage>(a)) return quantized(a).scheme == quantized(b).scheme;
  return to_string(std::get<FormatStorage>(a).format) == to_string(std::get<FormatStorage>(b).format);
}

}  // namespace

std::string why_not_packed(std::span<const Storage* const> parts) {
  const Storage& first = *parts.front();
  if (const std::string why = why_not_alone(first); !why.empty()) return why;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (!alike(first, *parts[i])) return fmt::format("{} and {} differ", describe(first), describe(*parts[i]));
    if (i + 1 < parts.size() && rows_of(*parts[i]) % kTileRows != 0)
      return fmt::format("{} rows are no multiple of {}", rows_of(*parts[i]), kTileRows);
  }
  return {};
}

std::string why_not_packed(const Storage& storage) { return why_not_alone(storage); }

kernels::PackedGemmProblem packed_problem(const Storage& storage) {
  if (const std::string why = why_not_packed(storage); !why.empty())
    throw Unsupported("int8 activations do not fit these weights: {}; use f32 activations or another group size", why);
  if (const auto* formatted = std::get_if<FormatStorage>(&storage)) return listed_problem(*formatted);
  const QuantizedStorage& q = quantized(storage);
  const bool by_row = q.scheme.granularity == Granularity::Row;
  return {.n = q.rows,
          .k = q.columns,
          .weight = q.scheme.element,
          .scales = layout_of(q.scheme.granularity),
          .group = by_row ? 0 : q.scheme.group,
          .zero_points = q.scheme.zero_points,
          .minimums = q.scheme.minimums};
}

PackedWeight::PackedWeight(std::span<const Storage* const> parts) {
  for (const Storage* part : parts) validate(*part);
  if (const std::string why = why_not_packed(parts); !why.empty())
    throw Unsupported("these weights cannot be interleaved: {}", why);
  problem_ = packed_problem(*parts.front());
  problem_.n = 0;
  for (const Storage* part : parts) problem_.n += rows_of(*part);
  std::holds_alternative<FormatStorage>(*parts.front()) ? stack_listed(parts) : stack_quantized(parts);
  view_.codes = codes_.const_data_ptr<uint8_t>();
  if (scales_.defined()) view_.scales = static_cast<const uint16_t*>(scales_.const_data_ptr());
  if (row_scales_.defined()) view_.row_scales = row_scales_.const_data_ptr<float>();
  if (group_scales_.defined()) view_.group_scales = static_cast<const uint8_t*>(group_scales_.const_data_ptr());
  if (zeros_.defined()) view_.zeros = zeros_.const_data_ptr<uint8_t>();
  if (mins_.defined()) view_.mins = static_cast<const uint16_t*>(mins_.const_data_ptr());
  if (group_mins_.defined()) view_.group_mins = static_cast<const uint8_t*>(group_mins_.const_data_ptr());
}

void PackedWeight::stack_quantized(std::span<const Storage* const> parts) {
  const QuantScheme& scheme = scheme_.emplace(quantized(*parts.front()).scheme);
  const int64_t tiles = tiles_of(problem_.n);
  const bool super = scheme.granularity == Granularity::SuperGroup;
  using Q = QuantizedStorage;
  codes_ = stack_codes(problem_.weight, problem_.k, members(parts, &Q::codes));
  const at::Tensor scales = stack_groups<uint16_t>(members(parts, &Q::scales), tiles);
  if (super || scheme.granularity == Granularity::Group)
    scales_ = scales;
  else
    row_scales_ = scales.to(at::kFloat);
  if (scheme.has_group_scales()) group_scales_ = stack_groups<uint8_t>(members(parts, &Q::group_scales), tiles);
  if (scheme.minimums) mins_ = stack_groups<uint16_t>(members(parts, &Q::mins), tiles);
  if (scheme.minimums && super) group_mins_ = stack_groups<uint8_t>(members(parts, &Q::group_mins), tiles);
  if (scheme.zero_points) zeros_ = stack_groups<uint8_t>(members(parts, &Q::zeros), tiles);
}

QuantizedStorage PackedWeight::rows(std::span<const int32_t> ids) const {
  if (!scheme_) throw Unsupported("rows of weights in this format cannot be read back from their packed form");
  const int64_t k = problem_.k;
  QuantizedStorage out{.scheme = *scheme_, .rows = static_cast<int64_t>(ids.size()), .columns = k};
  for (const int32_t id : ids)
    if (id < 0 || id >= problem_.n) throw InvalidArgument("row {} is outside a matrix of {} rows", id, problem_.n);
  out.codes = at::empty({out.rows, row_bytes(scheme_->element, k)}, at::kByte);
  for (int64_t i = 0; i < out.rows; ++i)
    deinterleave_row(scheme_->element, ids[static_cast<size_t>(i)], k, view_.codes,
                     out.codes.data_ptr<uint8_t>() + i * out.codes.size(1));
  const auto picked = [&]<class T>(const at::Tensor& from, T) {
    at::Tensor to = at::empty({out.rows, from.size(1)}, from.options());
    for (int64_t i = 0; i < out.rows; ++i)
      deinterleave_groups_row(ids[static_cast<size_t>(i)], to.size(1), static_cast<const T*>(from.const_data_ptr()),
                              static_cast<T*>(to.mutable_data_ptr()) + i * to.size(1));
    return to;
  };
  out.scales = scales_.defined() ? picked(scales_, uint16_t{}) : picked(row_scales_, 0.0f).to(at::kHalf);
  if (group_scales_.defined()) out.group_scales = picked(group_scales_, uint8_t{});
  if (zeros_.defined()) out.zeros = picked(zeros_, uint8_t{});
  if (mins_.defined()) out.mins = picked(mins_, uint16_t{});
  if (group_mins_.defined()) out.group_mins = picked(group_mins_, uint8_t{});
  return out;
}

void PackedWeight::stack_listed(std::span<const Storage* const> parts) {
  std::vector<at::Tensor> codes, scales, row_scales;
  for (const Storage* part : parts) {
    const ListedOperands operands = listed_operands(std::get<FormatStorage>(*part));
    codes.push_back(operands.codes), scales.push_back(operands.scales), row_scales.push_back(operands.row_scales);
    values_ = operands.values;
  }
  const int64_t tiles = tiles_of(problem_.n);
  codes_ = stack_codes(problem_.weight, problem_.k, codes);
  row_scales_ = stack_groups<float>(row_scales, tiles);
  if (problem_.scale_format != nullptr)
    group_scales_ = stack_groups<uint8_t>(scales, tiles);
  else if (problem_.group > 0)
    scales_ = stack_groups<uint16_t>(scales, tiles);
  view_.values = values_.const_data_ptr<int8_t>();
}

}  // namespace halftone
