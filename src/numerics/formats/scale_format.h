// How scales are stored and chosen. A scale is one stored number, or the product of an inner one (a block's) and an
// outer one shared more widely: int8 or u4 numbers of an f16 per row of blocks (QoQ, arXiv:2405.04532), E4M3 of an f32
// per tensor (NVFP4). Complex codes may have two a block, for real and for imaginary parts (PhaseQuant of Fairy2i).
// Rules as in OCP Microscaling 1.0 section 6.3 and TetraJet (arXiv:2502.20853).
//
// Contract: a stored scale is positive and finite, so that neither coding nor decoding divides by 0 or multiplies by
// infinity. What underflows takes the smallest stored value; what overflows takes the largest, and its block saturates.
// A block of zeros has scale 1 (inner scale 1), or the smallest where no code stands for 0. The value used everywhere
// is scale = fl(inner * outer) in f32, kept within the positive f32 numbers.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "numerics/formats/element_format.h"

namespace halftone {

/// What shares an outer scale.
enum class OuterSharing : uint8_t { None, BlockRow, Tensor };

struct ScaleFormat {
  const char* name = "";
  ElementFormat inner;
  ElementFormat outer;  ///< unused for OuterSharing::None
  OuterSharing sharing = OuterSharing::None;
  /// Numbers a block: with 2, one for real and one for imaginary parts of complex codes, in this order.
  int parts = 1;

  constexpr bool two_level() const { return sharing != OuterSharing::None; }
  constexpr bool stored() const { return inner.bits > 0; }
};

inline constexpr auto kScaleFormats = std::to_array<ScaleFormat>({
    {"f32", kF32},
    {"f16", kF16},
    {"bf16", kBf16},
    {"e8m0", kE8m0},
    {"e4m3", kE4m3},
    {"int8_f16", kInt8, kF16, OuterSharing::BlockRow},
    {"u4_f16", kUint4, kF16, OuterSharing::BlockRow},
    {"e4m3_f32", kE4m3, kF32, OuterSharing::Tensor},
    {"f32x2", kF32, {}, OuterSharing::None, 2},
    {"f16x2", kF16, {}, OuterSharing::None, 2},
    {"bf16x2", kBf16, {}, OuterSharing::None, 2},
});
/// No scale at all, for codebooks of one's own (codebook.h) under the tensor granularity: a scale of 1 that takes no
/// bytes. Not a name of the table.
inline constexpr ScaleFormat kNoScale = {.name = "none"};

/// Throws InvalidArgument naming every scale format.
const ScaleFormat& find_scale_format(std::string_view name);

/// How the scale follows from a block. `limit` is the largest magnitude of the element format (symmetric_limit), for
/// codes with zero points the number of steps between the lowest and the highest code; emax = floor(log2(limit)).
enum class ScaleRule : uint8_t {
  AbsMax,          ///< amax / limit, stored to nearest: the largest value may saturate by the scale's rounding
  TruncationFree,  ///< the smallest stored scale with amax <= limit * scale: nothing saturates
  OcpFloor,        ///< 2^(floor(log2 amax) - emax), OCP's: values between limit and 2^(emax + 1) scales saturate
  Ceil,            ///< 2^(ceil(log2 amax) - emax)
  Even,            ///< OcpFloor of amax rounded to the element's mantissa
  AbsMean,         ///< mean magnitude, for formats whose limit is 1 (ternary, binary, complex)
};

/// "absmax", "truncation-free", "ocp-floor", "ceil", "even", "absmean".
std::string_view to_string(ScaleRule rule);
/// Inverse of to_string; throws InvalidArgument naming the accepted values.
ScaleRule parse_scale_rule(std::string_view name);
/// True for rules that yield powers of two.
constexpr bool is_power_of_two(ScaleRule rule) {
  return rule == ScaleRule::OcpFloor || rule == ScaleRule::Ceil || rule == ScaleRule::Even;
}

/// floor(log2(value)) from the exponent bits, exact at powers of two and for subnormals; value > 0 and finite.
int floor_log2(double value);
/// ceil(log2(value)), as exact.
int ceil_log2(double value);

/// What a rule sees of one block.
struct BlockExtent {
  double extent = 0;      ///< largest magnitude, or highest minus lowest value where there are zero points
  double limit = 1;       ///< see ScaleRule
  double mean = 0;        ///< mean magnitude, for AbsMean
  int mantissa_bits = 0;  ///< of the element, for Even
  bool has_zero = true;   ///< a code of the element stands for 0
};

/// The stored code of a scale for `block`, under an outer scale (1 where there is none).
uint32_t fit_scale(const ElementFormat& stored, ScaleRule rule, const BlockExtent& block, float outer = 1);
/// The stored code of the outer scale under which the widest block of its share needs at most the largest inner scale.
uint32_t fit_outer_scale(const ScaleFormat& format, ScaleRule rule, const BlockExtent& widest);
/// fl(inner * outer) of two stored codes; the inner value alone where there is one level.
float scale_value(const ScaleFormat& format, uint32_t inner_code, uint32_t outer_code);

}  // namespace halftone
