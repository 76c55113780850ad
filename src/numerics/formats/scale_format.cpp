// Choosing stored scales; see scale_format.h.
#include "numerics/formats/scale_format.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/error.h"
#include "numerics/formats/element_codec.h"

namespace halftone {
namespace {

constexpr ScaleRule kRules[] = {ScaleRule::AbsMax, ScaleRule::TruncationFree, ScaleRule::OcpFloor,
                                ScaleRule::Ceil,   ScaleRule::Even,           ScaleRule::AbsMean};

uint32_t largest_stored(const ElementFormat& stored) {
  if (stored.kind == ElementKind::Integer) return static_cast<uint32_t>(stored.max_integer);
  return element_codec::largest_code(stored);
}

uint32_t smallest_stored(const ElementFormat& stored) { return stored.kind == ElementKind::PowerOfTwo ? 0 : 1; }

/// fl(inner * outer), kept finite, and kept from becoming 0 when neither factor is.
float product(float inner, float outer) {
  const float scale = inner * outer;
  if (scale == 0 && inner != 0 && outer != 0) return std::copysign(0x1p-149f, inner);
  return std::isinf(scale) ? std::copysign(0x1.fffffep127f, scale) : scale;
}

/// A positive code near `value`, which may be 0 or beyond the largest.
uint32_t nearest_stored(const ElementFormat& stored, double value) {
  const float narrow = static_cast<float>(std::min(value, 0x1.fffffep127));
  return std::clamp(encode(stored, narrow), smallest_stored(stored), largest_stored(stored));
}

/// The smallest code whose scale is enough; positive codes rise with their values. The largest when none is.
template <class Enough>
uint32_t smallest_enough(const ElementFormat& stored, uint32_t near, Enough enough) {
  uint32_t code = near;
  while (code > smallest_stored(stored) && enough(code - 1)) --code;
  while (code < largest_stored(stored) && !enough(code)) ++code;
  return code;
}

/// Exponent of the power of two that the rule takes; block.extent > 0.
int rule_exponent(ScaleRule rule, const BlockExtent& block) {
  const int limit = floor_log2(block.limit);
  if (rule == ScaleRule::Ceil) return ceil_log2(block.extent) - limit;
  const int exponent = floor_log2(block.extent);
  if (rule == ScaleRule::OcpFloor) return exponent - limit;
  const double significand = std::ldexp(block.extent, block.mantissa_bits - exponent);
  const bool carries = std::floor(significand + 0.5) >= std::ldexp(1.0, block.mantissa_bits + 1);
  return exponent + (carries ? 1 : 0) - limit;
}

/// What the scale should be before it is stored; for TruncationFree a start of the search.
double wanted_scale(ScaleRule rule, const BlockExtent& block) {
  if (rule == ScaleRule::AbsMean) return block.mean;
  if (is_power_of_two(rule)) return std::ldexp(1.0, rule_exponent(rule, block));
  return block.extent / block.limit;
}

}  // namespace

const ScaleFormat& find_scale_format(std::string_view name) {
  std::string names;
  for (const ScaleFormat& format : kScaleFormats) {
    if (format.name == name) return format;
    names += (names.empty() ? "" : ", ") + std::string(format.name);
  }
  throw InvalidArgument("scale format '{}' is unknown; it is one of {}", name, names);
}

std::string_view to_string(ScaleRule rule) {
  switch (rule) {
    case ScaleRule::AbsMax:
      return "absmax";
    case ScaleRule::TruncationFree:
      return "truncation-free";
    case ScaleRule::OcpFloor:
      return "ocp-floor";
    case ScaleRule::Ceil:
      return "ceil";
    case ScaleRule::Even:
      return "even";
    case ScaleRule::AbsMean:
      return "absmean";
  }
  return "?";
}

ScaleRule parse_scale_rule(std::string_view name) {
  for (const ScaleRule rule : kRules)
    if (to_string(rule) == name) return rule;
  throw InvalidArgument(
      "scale rule '{}' is unknown; it is one of absmax, truncation-free, ocp-floor, ceil, even, absmean", name);
}

int floor_log2(double value) {
  int exponent = 0;
  std::frexp(value, &exponent);  // value = fraction * 2^exponent, fraction in [0.5, 1)
  return exponent - 1;
}

int ceil_log2(double value) {
  int exponent = 0;
  return std::frexp(value, &exponent) == 0.5 ? exponent - 1 : exponent;
}

uint32_t fit_scale(const ElementFormat& stored, ScaleRule rule, const BlockExtent& block, float outer) {
  if (!(block.extent > 0)) return nearest_stored(stored, block.has_zero ? 1 : 0);
  const uint32_t near = nearest_stored(stored, wanted_scale(rule, block) / outer);
  if (rule != ScaleRule::TruncationFree) return near;
  return smallest_enough(stored, near, [&](uint32_t code) {
    return block.limit * static_cast<double>(product(decode(stored, code), outer)) >= block.extent;
  });
}

uint32_t fit_outer_scale(const ScaleFormat& format, ScaleRule rule, const BlockExtent& widest) {
  if (!(widest.extent > 0)) return nearest_stored(format.outer, widest.has_zero ? 1 : 0);
  const float inner = decode(format.inner, largest_stored(format.inner));
  const uint32_t near = nearest_stored(format.outer, wanted_scale(rule, widest) / inner);
  if (rule != ScaleRule::TruncationFree) return near;
  return smallest_enough(format.outer, near, [&](uint32_t code) {
    return widest.limit * static_cast<double>(product(inner, decode(format.outer, code))) >= widest.extent;
  });
}

float scale_value(const ScaleFormat& format, uint32_t inner_code, uint32_t outer_code) {
  const float inner = decode(format.inner, inner_code);
  return format.two_level() ? product(inner, decode(format.outer, outer_code)) : inner;
}

}  // namespace halftone
