// Fitting of scales and zero points; see group_code.h.
#include "numerics/group_code.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "numerics/half.h"

namespace halftone {
namespace {

struct Extent {
  float min = 0;
  float max = 0;
};

/// Range of the values, widened to include 0 so that an integer zero point exists.
Extent extent_with_zero(std::span<const float> values) {
  Extent extent;
  for (const float value : values) {
    if (!std::isfinite(value))
      throw NumericError("a weight is {}; quantisation needs finite weights, so repair the model first", value);
    extent.min = std::min(extent.min, value);
    extent.max = std::max(extent.max, value);
  }
  return extent;
}

/// `value` as f16, never 0: a scale of 0 would make decode useless and encode divide by zero. Rounded up when asked to,
/// and below f16's normal range, where nearest could clip the largest value by several percent.
float storable_scale(float value, bool up = false) {
  const float wanted = std::clamp(value, 0x1p-24f, 65504.0f);
  const uint16_t bits = f32_to_f16(wanted);
  const bool next = f16_to_f32(bits) < wanted && (up || wanted < 0x1p-14f);
  return f16_to_f32(static_cast<uint16_t>(next ? bits + 1 : bits));
}

float round_even(float value) { return std::nearbyintf(value); }

GroupCode fit_two_level(const QuantScheme& scheme, std::span<const float> group, float row_scale, float shrink) {
  const int bits = bits_of(scheme.element), top = scheme.max_code();
  GroupCode code{.scale = row_scale, .max_code = top, .two_level = true, .range = protective_range(bits)};
  const auto bound = static_cast<float>(code.range);
  int low = 0, high = 0;
  for (const float value : group) {
    const int q8 = static_cast<int>(std::clamp(round_even(value / row_scale), -bound, bound));
    low = std::min(low, q8);
    high = std::max(high, q8);
  }
  const float span = static_cast<float>(high - low) * shrink;
  code.group_scale = std::clamp(static_cast<int>(round_even(span / static_cast<float>(top))), 1, max_group_scale(bits));
  code.zero = std::clamp(static_cast<int>(round_even(static_cast<float>(-low) * shrink / code.group_scale)), 0, top);
  return code;
}

}  // namespace

int GroupCode::encode(float value) const {
  float scaled = value / scale;
  const auto bound = static_cast<float>(range);
  if (two_level) scaled = round_even(std::clamp(scaled, -bound, bound)) / static_cast<float>(group_scale);
  const float code = round_even(scaled) + static_cast<float>(zero);
  return static_cast<int>(std::clamp(code, static_cast<float>(min_code), static_cast<float>(max_code)));
}

float fit_row_scale(const QuantScheme& scheme, std::span<const float> row) {
  const Extent extent = extent_with_zero(row);
  return storable_scale(
      std::max(-extent.min, extent.max) / static_cast<float>(protective_range(bits_of(scheme.element))), true);
}

GroupCode fit_group(const QuantScheme& scheme, std::span<const float> group, float row_scale, float shrink) {
  const Extent extent = extent_with_zero(group);
  if (scheme.granularity == Granularity::TwoLevel) return fit_two_level(scheme, group, row_scale, shrink);
  GroupCode code;
  if (scheme.zero_points) {
    code.max_code = scheme.max_code();
    code.scale = storable_scale((extent.max - extent.min) * shrink / static_cast<float>(code.max_code));
    const float zero = round_even(-extent.min * shrink / code.scale);
    code.zero = static_cast<int>(std::clamp(zero, 0.0f, static_cast<float>(code.max_code)));
    return code;
  }
  const int half_range = (1 << (bits_of(scheme.element) - 1)) - 1;  // 127, 7, 1
  const float magnitude = std::max(-extent.min, extent.max) * shrink;
  code.scale = storable_scale(magnitude / static_cast<float>(half_range));
  code.zero = symmetric_zero(scheme.element);
  const bool balanced = scheme.element == ElementType::Int8 || scheme.element == ElementType::Ternary;
  code.min_code = code.zero - half_range - (balanced ? 0 : 1);
  code.max_code = code.zero + half_range;
  return code;
}

GroupCode fit_group_clip(const QuantScheme& scheme, std::span<const float> group, float row_scale, int steps,
                         float max_shrink) {
  GroupCode best = fit_group(scheme, group, row_scale);
  double best_error = coding_error(best, group);
  for (int step = 1; step <= steps; ++step) {
    const float shrink = 1.0f - max_shrink * static_cast<float>(step) / static_cast<float>(steps);
    const GroupCode candidate = fit_group(scheme, group, row_scale, shrink);
    const double error = coding_error(candidate, group);
    if (error < best_error) {
      best = candidate;
      best_error = error;
    }
  }
  return best;
}

double coding_error(const GroupCode& code, std::span<const float> values) {
  double sum = 0;
  for (const float value : values) {
    const double difference = static_cast<double>(code.decode(code.encode(value))) - value;
    sum += difference * difference;
  }
  return sum;
}

}  // namespace halftone
