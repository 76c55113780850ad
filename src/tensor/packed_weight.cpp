// Stacking and interleaving; see packed_weight.h.
#include "tensor/packed_weight.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "base/error.h"

namespace halftone {
namespace {

const QuantizedStorage& quantized(const Storage& storage) { return std::get<QuantizedStorage>(storage); }

/// Values of groups of all parts, [tiles][groups][16].
template <class T>
at::Tensor stack_groups(std::span<const Storage* const> parts, int64_t tiles, int64_t groups, at::ScalarType type,
                        at::Tensor QuantizedStorage::*member) {
  at::Tensor out = at::zeros({tiles, groups, kTileRows}, type);
  auto* to = static_cast<T*>(out.mutable_data_ptr());
  for (const Storage* part : parts) {
    const QuantizedStorage& q = quantized(*part);
    interleave_groups(q.rows, groups, static_cast<const T*>((q.*member).const_data_ptr()), to);
    to += tiles_of(q.rows) * groups * kTileRows;
  }
  return out;
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

}  // namespace

std::string why_not_packed(std::span<const Storage* const> parts) {
  for (const Storage* part : parts)
    if (!std::holds_alternative<QuantizedStorage>(*part)) return describe(*part) + " weights have no integer kernel";
  const QuantizedStorage& first = quantized(*parts.front());
  const bool super = first.scheme.granularity == Granularity::SuperGroup;
  if (first.scheme.granularity != Granularity::Row && first.scheme.group % kUnitLength != 0 &&
      (!super || first.scheme.minimums))
    return fmt::format("groups of {} elements are no multiple of {}", first.scheme.group, kUnitLength);
  for (size_t i = 0; i < parts.size(); ++i) {
    const QuantizedStorage& q = quantized(*parts[i]);
    if (!(q.scheme == first.scheme) || q.columns != first.columns)
      return fmt::format("{} and {} differ", describe(*parts.front()), describe(*parts[i]));
    if (i + 1 < parts.size() && q.rows % kTileRows != 0)
      return fmt::format("{} rows are no multiple of {}", q.rows, kTileRows);
  }
  return {};
}

kernels::PackedGemmProblem packed_problem(const Storage& storage) {
  const Storage* part = &storage;
  if (const std::string why = why_not_packed({&part, 1}); !why.empty())
    throw Unsupported("int8 activations do not fit these weights: {}; use f32 activations or another group size", why);
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
  int64_t bytes = 0;
  for (const Storage* part : parts) {
    problem_.n += quantized(*part).rows;
    bytes += interleaved_bytes(problem_.weight, quantized(*part).rows, problem_.k);
  }
  codes_ = at::empty({bytes}, at::kByte);
  auto* to = codes_.data_ptr<uint8_t>();
  for (const Storage* part : parts) {
    const QuantizedStorage& q = quantized(*part);
    interleave(problem_.weight, q.rows, q.columns, q.codes.const_data_ptr<uint8_t>(), to);
    to += interleaved_bytes(problem_.weight, q.rows, q.columns);
  }
  view_.codes = codes_.const_data_ptr<uint8_t>();
  const QuantScheme& scheme = quantized(*parts.front()).scheme;
  const int64_t tiles = tiles_of(problem_.n), groups = scheme.groups(problem_.k);
  const bool super = scheme.granularity == Granularity::SuperGroup;
  const int64_t scale_count = scheme.scales(problem_.k);
  const at::Tensor scales = stack_groups<uint16_t>(parts, tiles, scale_count, at::kHalf, &QuantizedStorage::scales);
  if (super || scheme.granularity == Granularity::Group) {
    scales_ = scales;
    view_.scales = static_cast<const uint16_t*>(scales_.const_data_ptr());
  } else {
    row_scales_ = scales.to(at::kFloat);
    view_.row_scales = row_scales_.const_data_ptr<float>();
  }
  if (scheme.has_group_scales()) {
    group_scales_ = stack_groups<uint8_t>(parts, tiles, groups, at::kByte, &QuantizedStorage::group_scales);
    view_.group_scales = group_scales_.const_data_ptr<uint8_t>();
  }
  if (scheme.minimums) {
    mins_ = stack_groups<uint16_t>(parts, tiles, scale_count, at::kHalf, &QuantizedStorage::mins);
    view_.mins = static_cast<const uint16_t*>(mins_.const_data_ptr());
  }
  if (scheme.minimums && super) {
    group_mins_ = stack_groups<uint8_t>(parts, tiles, groups, at::kByte, &QuantizedStorage::group_mins);
    view_.group_mins = group_mins_.const_data_ptr<uint8_t>();
  }
  if (scheme.zero_points) {
    zeros_ = stack_groups<uint8_t>(parts, tiles, groups, at::kByte, &QuantizedStorage::zeros);
    view_.zeros = zeros_.const_data_ptr<uint8_t>();
  }
}

}  // namespace halftone
