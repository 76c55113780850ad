// Nearest rounding and the builder that every rounder shares; see quantize.h.
#include "tensor/quantize.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "numerics/packing.h"

namespace halftone {

QuantizedBuilder::QuantizedBuilder(const QuantScheme& scheme, int64_t rows, int64_t columns)
    : scheme_(scheme),
      rows_(rows),
      columns_(columns),
      code_offset_(scheme.element == ElementType::Int8 && scheme.zero_points ? 128 : 0) {
  scheme.validate(columns);
  if (scheme.minimums || scheme.granularity == Granularity::SuperGroup)
    throw InvalidArgument("{} is a format of files, which no rounder fits; use group scales with zero points",
                          to_string(scheme));
  const int64_t groups = scheme.groups(columns);
  const bool two_level = scheme.granularity == Granularity::TwoLevel;
  codes_.resize(static_cast<size_t>(rows * columns));
  scales_ = at::empty({rows, two_level ? 1 : groups}, at::kHalf);
  if (two_level) group_scales_ = at::empty({rows, groups}, at::kByte);
  if (scheme.zero_points) zeros_ = at::empty({rows, groups}, at::kByte);
}

void QuantizedBuilder::set_group(int64_t row, int64_t group, const GroupCode& code) {
  const int64_t groups = scheme_.groups(columns_);
  const bool two_level = scheme_.granularity == Granularity::TwoLevel;
  scales_.data_ptr<at::Half>()[two_level ? row : row * groups + group] = code.scale;
  if (two_level) group_scales_.data_ptr<uint8_t>()[row * groups + group] = static_cast<uint8_t>(code.group_scale);
  if (scheme_.zero_points) zeros_.data_ptr<uint8_t>()[row * groups + group] = static_cast<uint8_t>(code.zero);
}

QuantizedStorage QuantizedBuilder::finish() const {
  QuantizedStorage storage{scheme_, rows_, columns_, {}, scales_, group_scales_, zeros_};
  const int64_t bytes = row_bytes(scheme_.element, columns_);
  storage.codes = at::empty({rows_, bytes}, at::kByte);
  for (int64_t row = 0; row < rows_; ++row)
    pack_codes(scheme_.element, std::span(codes_).subspan(row * columns_, columns_),
               storage.codes.data_ptr<uint8_t>() + row * bytes);
  return storage;
}

GroupCode fit_with_clip(const QuantScheme& scheme, std::span<const float> group, float row_scale,
                        const ClipSearch& clip) {
  return clip.steps > 0 ? fit_group_clip(scheme, group, row_scale, clip.steps, clip.max_shrink)
                        : fit_group(scheme, group, row_scale);
}

QuantizedStorage quantize_nearest(ExecContext& exec, const at::Tensor& weight, const QuantScheme& scheme,
                                  const ClipSearch& clip) {
  const at::Tensor dense = weight.to(at::kFloat).contiguous();
  const int64_t rows = dense.size(0), columns = dense.size(1);
  const int64_t group = scheme.granularity == Granularity::Row ? columns : scheme.group;
  QuantizedBuilder builder(scheme, rows, columns);
  check_finite(dense);
  const float* values = dense.const_data_ptr<float>();
  exec.pool.parallel_for(rows, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      const std::span<const float> all(values + row * columns, columns);
      const float row_scale = scheme.granularity == Granularity::TwoLevel ? fit_row_scale(scheme, all) : 1.0f;
      for (int64_t start = 0; start < columns; start += group) {
        const auto part = all.subspan(start, std::min(group, columns - start));
        const GroupCode code = fit_with_clip(scheme, part, row_scale, clip);
        builder.set_group(row, start / group, code);
        for (size_t i = 0; i < part.size(); ++i)
          builder.set_code(row, start + static_cast<int64_t>(i), code.encode(part[i]));
      }
    }
  });
  return builder.finish();
}

void check_finite(const at::Tensor& weight) {
  const float* values = weight.const_data_ptr<float>();
  for (int64_t i = 0; i < weight.numel(); ++i)
    if (!std::isfinite(values[i]))
      throw NumericError("weight [{}, {}] is {}; quantisation needs finite weights, so repair the model first",
                         i / weight.size(1), i % weight.size(1), values[i]);
}

}  // namespace halftone
