// The code of one scale group: how a real weight becomes an integer code and back. Rounders (nearest, clip search,
// GPTQ) fit one per row and group and then only call encode and decode, so every rounder serves every scheme.
//
//   value = (code - zero) * group_scale * scale
//
// One-level schemes have group_scale = 1. Two-level (QoQ, arXiv:2405.04532 §4.1) codes an int8 intermediate:
//   q8 = clamp(round(w / scale), -119, 119), code = clamp(round(q8 / group_scale) + zero, 0, 15),
// where 119 is the protective range: |q8| <= 119 and group_scale <= 16 keep (code - zero) * group_scale within int8.
// Codes of fewer bits need more room for half a group_scale: with n = 2^bits - 1 steps of up to 2 range / n, the range
// is 127 n / (n + 1): 119, 111 and 95 for 4, 3 and 2 bits.
#pragma once

#include <cstdint>
#include <span>

#include "numerics/quant_scheme.h"

namespace halftone {

/// Bound of the first level of two-level codes.
constexpr int protective_range(int bits) { return 127 * ((1 << bits) - 1) / (1 << bits); }
/// Bound of a group's scale.
constexpr int max_group_scale(int bits) {
  const int steps = (1 << bits) - 1;
  return (2 * protective_range(bits) + steps / 2) / steps;
}
static_assert(protective_range(4) == 119 && max_group_scale(4) == 16);
static_assert(protective_range(3) == 111 && max_group_scale(3) == 32);
static_assert(protective_range(2) == 95 && max_group_scale(2) == 63);

struct GroupCode {
  float scale = 1;      ///< exactly representable in f16
  int group_scale = 1;  ///< 1..max_group_scale
  int zero = 0;
  int min_code = 0;
  int max_code = 15;
  bool two_level = false;
  int range = 119;  ///< protective_range of a two-level code

  /// Nearest code of `value`, ties to even, clamped.
  int encode(float value) const;
  float decode(int code) const { return static_cast<float>((code - zero) * group_scale) * scale; }
};

/// The row scale of a two-level scheme: max|row| / protective_range as f16 (the smallest f16 not below it, so that
/// nothing clips).
float fit_row_scale(const QuantScheme& scheme, std::span<const float> row);

/// Fits the code of one group. `row_scale` is fit_row_scale of the row for TwoLevel and ignored otherwise; `shrink` in
/// (0, 1] scales the range for clip search. A constant or all-zero group gets a usable code (scale never 0).
/// Throws NumericError when the group holds a NaN or infinity.
GroupCode fit_group(const QuantScheme& scheme, std::span<const float> group, float row_scale, float shrink = 1.0f);

/// fit_group with the shrink in {1, 1 - max_shrink/steps, ..., 1 - max_shrink} of least squared error.
GroupCode fit_group_clip(const QuantScheme& scheme, std::span<const float> group, float row_scale, int steps,
                         float max_shrink);

/// Squared error of coding `values` with `code`, in double.
double coding_error(const GroupCode& code, std::span<const float> values);

}  // namespace halftone
