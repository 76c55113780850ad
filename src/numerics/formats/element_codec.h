// encode and decode of one value under an ElementFormat, as the contract in element_format.h has it. Integer arithmetic
// on the bits of the f32, one path for every float layout: the same codes on CPU and GPU.
#pragma once

#include <cstdint>

#include "base/host_device.h"
#include "numerics/formats/codebook_codec.h"
#include "numerics/formats/element_format.h"
#include "numerics/formats/rounding.h"

namespace halftone {

namespace element_codec {

inline constexpr uint32_t kInfinityBits = 0x7f800000u;

/// A finite f32 magnitude: significand * 2^(exponent - 23), normalised unless it is subnormal (exponent -126).
struct Magnitude {
  uint32_t significand;
  int exponent;
};

HALFTONE_HOST_DEVICE constexpr Magnitude magnitude_of(uint32_t bits) {
  const int biased = static_cast<int>(bits >> 23 & 0xffu);
  const uint32_t mantissa = bits & 0x7fffffu;
  return biased == 0 ? Magnitude{mantissa, -126} : Magnitude{mantissa | 0x800000u, biased - 127};
}

/// significand >> shift, rounded; `shift` is 0 or more and may exceed 32.
HALFTONE_HOST_DEVICE constexpr uint32_t shift_rounded(uint32_t significand, int shift, bool negative, Rounding rounding,
                                                      uint32_t random) {
  const uint32_t whole = shift < 32 ? significand >> shift : 0;
  uint32_t fraction = 0;
  bool sticky = false;
  if (shift > 0 && shift <= 32) {
    fraction = static_cast<uint32_t>(uint64_t{significand} << (32 - shift));
  } else if (shift > 32) {
    const int rest = shift - 32 < 31 ? shift - 32 : 31;  // a significand has 24 bits: 31 shifts all of them out
    fraction = significand >> rest;
    sticky = significand != fraction << rest;
  }
  return whole + (rounds_away(rounding, negative, (whole & 1u) != 0, fraction, sticky, random) ? 1u : 0u);
}

/// significand * 2^exponent as f32, for results that f32 holds exactly.
HALFTONE_HOST_DEVICE constexpr float compose(bool negative, uint32_t significand, int exponent) {
  const uint32_t sign = negative ? 0x80000000u : 0u;
  if (significand == 0) return f32_from_bits(sign);
  while (significand < 0x800000u) {
    significand <<= 1;
    --exponent;
  }
  const int biased = exponent + 150;  // of significand * 2^exponent with the leading one at bit 23
  if (biased > 0) return f32_from_bits(sign | static_cast<uint32_t>(biased) << 23 | (significand & 0x7fffffu));
  return f32_from_bits(sign | significand >> (1 - biased));
}

/// Largest finite code without its sign.
HALFTONE_HOST_DEVICE constexpr uint32_t largest_code(const ElementFormat& format) {
  const uint32_t all = (uint32_t{1} << (format.exponent_bits + format.mantissa_bits)) - 1;
  if (format.specials == SpecialValues::InfinityAndNan) return all - (uint32_t{1} << format.mantissa_bits);
  return format.specials == SpecialValues::NanOnly ? all - 1 : all;
}

HALFTONE_HOST_DEVICE constexpr uint32_t nan_code(const ElementFormat& format, uint32_t bits) {
  if (format.specials == SpecialValues::None) return largest_code(format);
  const int places = format.exponent_bits + format.mantissa_bits;
  const uint32_t sign = bits >> 31 << places;
  if (format.specials == SpecialValues::NanOnly) return sign | ((uint32_t{1} << places) - 1);
  const uint32_t payload = (bits & 0x7fffffu) >> (23 - format.mantissa_bits);
  return sign | (largest_code(format) + 1) | uint32_t{1} << (format.mantissa_bits - 1) | payload;
}

HALFTONE_HOST_DEVICE constexpr uint32_t encode_float(const ElementFormat& format, float value, Rounding rounding,
                                                     uint32_t random, Overflow overflow) {
  const uint32_t bits = f32_bits(value);
  const uint32_t positive = bits & 0x7fffffffu;
  if (positive > kInfinityBits) return nan_code(format, bits);
  const int places = format.exponent_bits + format.mantissa_bits;
  const uint32_t sign = bits >> 31 << places;
  const uint32_t largest = largest_code(format);
  uint32_t code = largest + 1;
  if (positive < kInfinityBits) {
    const Magnitude magnitude = magnitude_of(positive);
    const int lowest = 1 - format.bias;  // exponent of the smallest normal number
    const int exponent = magnitude.exponent > lowest ? magnitude.exponent : lowest;
    const int shift = exponent - magnitude.exponent + 23 - format.mantissa_bits;
    // The implicit bit of a normal number adds 1 to its exponent field, and so does a carry out of the mantissa.
    code = (static_cast<uint32_t>(exponent - lowest) << format.mantissa_bits) +
           shift_rounded(magnitude.significand, shift, sign != 0, rounding, random);
    if (code <= largest) return sign | code;
    if (rounding == Rounding::TowardZero) return sign | largest;
  }
  const bool special = overflow == Overflow::Special && format.specials != SpecialValues::None;
  return sign | (special ? largest + 1 : largest);  // one past the largest is the infinity, or the only NaN
}

HALFTONE_HOST_DEVICE constexpr float decode_float(const ElementFormat& format, uint32_t code) {
  const int places = format.exponent_bits + format.mantissa_bits;
  const bool negative = (code >> places & 1u) != 0;
  const uint32_t magnitude = code & ((uint32_t{1} << places) - 1);
  if (magnitude > largest_code(format)) {
    const uint32_t mantissa = magnitude & ((uint32_t{1} << format.mantissa_bits) - 1);
    const bool infinite = format.specials == SpecialValues::InfinityAndNan && mantissa == 0;
    const uint32_t payload = infinite ? 0 : 0x400000u | mantissa << (23 - format.mantissa_bits);
    return f32_from_bits((negative ? 0x80000000u : 0u) | kInfinityBits | payload);
  }
  const uint32_t field = magnitude >> format.mantissa_bits;
  const uint32_t mantissa = magnitude & ((uint32_t{1} << format.mantissa_bits) - 1);
  const uint32_t implicit = field > 0 ? uint32_t{1} << format.mantissa_bits : 0;
  const int exponent = (field > 0 ? static_cast<int>(field) : 1) - format.bias - format.mantissa_bits;
  return compose(negative, mantissa | implicit, exponent);
}

HALFTONE_HOST_DEVICE constexpr uint32_t encode_power_of_two(float value, Rounding rounding, uint32_t random,
                                                            Overflow overflow) {
  const uint32_t bits = f32_bits(value);
  if (bits << 1 == 0) return 0;
  if (bits >= kInfinityBits) return 0xffu;  // infinity, NaN, and with the sign bit everything negative
  const Magnitude magnitude = magnitude_of(bits);
  if (bits <= 0x400000u) return 0;  // 2^-127 and less
  if (bits < 0x800000u) return shift_rounded(bits, 22, false, rounding, random) - 1;
  const uint32_t up = shift_rounded(magnitude.significand, 23, false, rounding, random) - 1;
  const uint32_t code = static_cast<uint32_t>(magnitude.exponent + 127) + up;
  return code < 0xffu || overflow == Overflow::Special ? code : 0xfeu;
}

HALFTONE_HOST_DEVICE constexpr float decode_power_of_two(uint32_t code) {
  if (code >= 0xffu) return f32_from_bits(0x7fc00000u);
  return code == 0 ? f32_from_bits(0x400000u) : f32_from_bits(code << 23);
}

}  // namespace element_codec

/// `value` to the nearest integer of the rounding, clamped to [low, high]; NaN gives 0, clamped too.
HALFTONE_HOST_DEVICE constexpr int32_t round_to_integer(float value, int32_t low, int32_t high, Rounding rounding,
                                                        uint32_t random = 0) {
  const uint32_t bits = f32_bits(value);
  const bool negative = bits >> 31 != 0;
  int32_t rounded = 0;
  if (!is_nan(value)) {
    const element_codec::Magnitude magnitude = element_codec::magnitude_of(bits & 0x7fffffffu);
    if (magnitude.exponent > 23)  // an integer that every range here clamps, or nearly
      rounded =
          magnitude.exponent > 29 ? 1 << 30 : static_cast<int32_t>(magnitude.significand << (magnitude.exponent - 23));
    else
      rounded = static_cast<int32_t>(
          element_codec::shift_rounded(magnitude.significand, 23 - magnitude.exponent, negative, rounding, random));
  }
  if (negative) rounded = -rounded;
  return rounded < low ? low : rounded > high ? high : rounded;
}

/// The code of `value`. `random`: 32 bits for the random roundings. For formats of one number a code.
HALFTONE_HOST_DEVICE constexpr uint32_t encode(const ElementFormat& format, float value,
                                               Rounding rounding = Rounding::NearestEven, uint32_t random = 0,
                                               Overflow overflow = Overflow::Saturate) {
  switch (format.kind) {
    case ElementKind::Float:
      return element_codec::encode_float(format, value, rounding, random, overflow);
    case ElementKind::PowerOfTwo:
      return element_codec::encode_power_of_two(value, rounding, random, overflow);
    case ElementKind::Integer:
      return static_cast<uint32_t>(round_to_integer(value, format.min_integer, format.max_integer, rounding, random)) &
             ((uint32_t{1} << format.bits) - 1);
    case ElementKind::Codebook:
      return element_codec::encode_codebook(format, value, rounding, random);
    case ElementKind::Phase:
      break;  // takes two numbers: encode_vector
  }
  return 0;
}

/// The value of a code; component `component` of it where a code stands for several numbers.
HALFTONE_HOST_DEVICE constexpr float decode(const ElementFormat& format, uint32_t code, int component = 0) {
  switch (format.kind) {
    case ElementKind::Float:
      return element_codec::decode_float(format, code);
    case ElementKind::PowerOfTwo:
      return element_codec::decode_power_of_two(code);
    case ElementKind::Integer: {
      const uint32_t top = uint32_t{1} << (format.bits - 1);
      const bool negative = format.min_integer < 0 && (code & top) != 0;
      return static_cast<float>(static_cast<int32_t>(code) - (negative ? static_cast<int32_t>(2 * top) : 0));
    }
    case ElementKind::Codebook:
      return code < format.codebook_size
                 ? format.codebook[code * static_cast<uint32_t>(format.dimension) + static_cast<uint32_t>(component)]
                 : f32_from_bits(0x7fc00000u);
    case ElementKind::Phase:
      return static_cast<int>(code & 1u) != component ? 0.0f : code < 2 ? 1.0f : -1.0f;
  }
  return 0;
}

/// The code of the `format.dimension` numbers at `values`, to the nearest: by squared distance in double, ties to the
/// lowest code; phases by sector, which is the same but for the edges.
HALFTONE_HOST_DEVICE constexpr uint32_t encode_vector(const ElementFormat& format, const float* values) {
  if (format.kind == ElementKind::Phase) return element_codec::encode_phase(values[0], values[1]);
  if (format.dimension == 1) return encode(format, values[0]);
  return element_codec::encode_nearest_vector(format, values);
}

static_assert(decode(kE4m3, 0x7e) == 448 && decode(kE4m3, 0x08) == 0x1p-6f && decode(kE4m3, 0x01) == 0x1p-9f);
static_assert(decode(kE5m2, 0x7b) == 57344 && decode(kE5m2, 0x04) == 0x1p-14f && decode(kE5m2, 0x01) == 0x1p-16f);
static_assert(decode(kE3m2, 0x1f) == 28 && decode(kE3m2, 0x04) == 0.25f && decode(kE3m2, 0x01) == 0.0625f);
static_assert(decode(kE2m3, 0x1f) == 7.5f && decode(kE2m3, 0x08) == 1 && decode(kE2m3, 0x01) == 0.125f);
static_assert(decode(kE2m1, 0x7) == 6 && decode(kE2m1, 0x2) == 1 && decode(kE2m1, 0x1) == 0.5f);
static_assert(decode(kE2m1, 0x8) == 0 && f32_bits(decode(kE2m1, 0x8)) == 0x80000000u, "-0 is a code and equals 0");
static_assert(decode(kE8m0, 0xfe) == 0x1p127f && decode(kE8m0, 0x00) == 0x1p-127f && is_nan(decode(kE8m0, 0xff)));
static_assert(decode(kF16, 0x7bff) == 65504 && decode(kBf16, 0x0001) == 0x1p-133f);
static_assert(encode(kE4m3, 464) == 0x7e && encode(kE4m3, 1e9f, Rounding::NearestEven, 0, Overflow::Special) == 0x7f);
static_assert(encode(kInt8, -200) == 0x81 && decode(kInt8, 0x81) == -127);

}  // namespace halftone
