// How a weight matrix is quantised: element type x granularity x scales x zero points or minimums, and its exact size
// in bytes.
#pragma once

#include <cstdint>
#include <string>

#include "base/json_fwd.h"
#include "numerics/formats.h"

namespace halftone {

/// What shares a scale.
enum class Granularity : uint8_t {
  Row,       ///< one scale a row (output channel): f16 [N, 1]
  Group,     ///< one scale per `group` elements of a row, the last group may be short: f16 [N, ceil(K/group)]
  TwoLevel,  ///< f16 row scale of an int8 level times u8 group scales of the stored codes (QoQ, arXiv:2405.04532 §4.1)
  SuperGroup,  ///< f16 scale per 256 elements times an i8 scale per group of 16 or 32: GGUF's k-quants
};

std::string_view to_string(Granularity granularity);
Granularity parse_granularity(std::string_view name);

/// A weight format. Scales are stored as f16; zero points as u8 codes, one beside every scale (group scale for
/// TwoLevel); minimums like the scales, one beside each. In f32, rounded once:
///   symmetric or zero points   value = (code - zero) * scale
///   minimums                   value = code * scale + minimum, unsigned codes counted from 0, Int8 codes signed
struct QuantScheme {
  ElementType element = ElementType::Int4;
  Granularity granularity = Granularity::Group;
  int64_t group = 64;        ///< along K; ignored for Row
  bool zero_points = false;  ///< asymmetric codes
  bool minimums = false;     ///< a real offset a group, instead of zero points; Group and SuperGroup only

  /// Throws InvalidArgument naming the field, its value and the rule, for a matrix with rows of `k` elements.
  void validate(int64_t k) const;
  int64_t groups(int64_t k) const { return granularity == Granularity::Row ? 1 : (k + group - 1) / group; }
  int64_t super_groups(int64_t k) const { return (k + kSuperGroup - 1) / kSuperGroup; }
  /// f16 scales of a row: a row's one, or one a group or super-group.
  int64_t scales(int64_t k) const;
  /// Whether small integers, one a group, multiply the f16 scales.
  bool has_group_scales() const {
    return granularity == Granularity::TwoLevel || granularity == Granularity::SuperGroup;
  }
  /// The stored code that means 0, or with minimums the group's minimum, where no zero points are stored.
  int zero_code() const { return minimums ? 0 : symmetric_zero(element); }
  /// Bytes of an [n, k] matrix: codes with the padding of the last chunk, scales, group scales, zero points, minimums.
  int64_t bytes(int64_t n, int64_t k) const;
  double bits_per_weight(int64_t n, int64_t k) const;
  /// Largest stored code: 15 for Int4, 7 for Int3, 3 for Int2, 2 for Ternary, 255 for Int8 with zero points; symmetric
  /// Int8 codes are signed.
  int max_code() const;
  bool operator==(const QuantScheme&) const = default;
};

/// "int4 group 64 asymmetric", "int4 two-level 128 asymmetric", "int8 row symmetric", "int4 group 32 minimums".
std::string to_string(const QuantScheme& scheme);
Json to_json(const QuantScheme& scheme);
/// Throws InvalidArgument naming the missing or unknown field.
QuantScheme quant_scheme_from_json(const Json& json);

/// The largest of 256, 128, 64, 32 that divides `k` and is at most `requested`; `requested` itself, with a short last
/// group, when none does. Powers of two only: their groups never straddle the 64-element chunks of the packed layouts.
int64_t fitting_group(int64_t k, int64_t requested);

}  // namespace halftone
