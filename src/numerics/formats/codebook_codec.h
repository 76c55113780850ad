// encode for formats that list their values: neighbours on the number line, nearest vectors, and phases. A part of
// element_codec.h. Distances are taken in double, where differences of f32 values within 2^28 of each other are exact.
// Sums of squares need a compiler that fuses no multiply-add on its own (-ffp-contract=off, nvcc -fmad=false), or a tie
// between vectors may fall the other way.
#pragma once

#include <cstdint>

#include "base/host_device.h"
#include "numerics/formats/element_format.h"
#include "numerics/formats/rounding.h"

namespace halftone {

HALFTONE_HOST_DEVICE constexpr uint32_t f32_bits(float value) { return __builtin_bit_cast(uint32_t, value); }
HALFTONE_HOST_DEVICE constexpr float f32_from_bits(uint32_t bits) { return __builtin_bit_cast(float, bits); }
HALFTONE_HOST_DEVICE constexpr bool is_nan(float value) { return (f32_bits(value) & 0x7fffffffu) > 0x7f800000u; }

namespace element_codec {

/// Of `low` < value < `high`, whether `high` is taken; `prefer_high` decides ties of nearest-even.
HALFTONE_HOST_DEVICE constexpr bool takes_upper(double low, double high, double value, bool prefer_high,
                                                Rounding rounding, uint32_t random) {
  const double below = value - low, above = high - value;
  if (is_random(rounding)) {
    const double scaled = below / (high - low) * 0x1p32;
    const uint32_t fraction = scaled < 0x1p32 ? static_cast<uint32_t>(scaled) : 0xffffffffu;
    return rounds_away(rounding, false, false, fraction, false, random);
  }
  if (rounding == Rounding::TowardZero && value >= 0 && low >= 0) return false;
  if (rounding == Rounding::TowardZero && value <= 0 && high <= 0) return true;
  if (below != above) return below > above;
  const double size_low = low < 0 ? -low : low, size_high = high < 0 ? -high : high;
  return rounding == Rounding::HalfAway && size_low != size_high ? size_high > size_low : prefer_high;
}

HALFTONE_HOST_DEVICE constexpr uint32_t encode_codebook(const ElementFormat& format, float value, Rounding rounding,
                                                        uint32_t random) {
  if (is_nan(value)) value = 0;
  const float* values = format.codebook;
  int64_t low = -1, high = -1;  // codes of the largest value <= `value` and of the smallest >= it
  for (int64_t code = 0; code < format.codebook_size; ++code) {
    if (values[code] <= value && (low < 0 || values[code] > values[low])) low = code;
    if (values[code] >= value && (high < 0 || values[code] < values[high])) high = code;
  }
  if (low < 0 || high < 0) return static_cast<uint32_t>(low < 0 ? high : low);
  if (values[low] == values[high]) return static_cast<uint32_t>(low);
  const bool prefer_high = low % 2 != high % 2 ? high % 2 == 0 : high < low;
  return static_cast<uint32_t>(takes_upper(values[low], values[high], value, prefer_high, rounding, random) ? high
                                                                                                            : low);
}

/// Squared distances in double; NaN counts as 0, and infinities as the largest f32, so that every vector has a code.
HALFTONE_HOST_DEVICE constexpr uint32_t encode_nearest_vector(const ElementFormat& format, const float* values) {
  constexpr float kLargest = 3.40282347e38f;
  uint32_t best = 0;
  double least = 0;
  for (uint32_t code = 0; code < format.codebook_size; ++code) {
    double distance = 0;
    for (int i = 0; i < format.dimension; ++i) {
      const float raw = is_nan(values[i]) ? 0 : values[i];
      const float value = raw > kLargest ? kLargest : raw < -kLargest ? -kLargest : raw;
      const double difference = double{value} - double{format.codebook[code * format.dimension + i]};
      distance += difference * difference;
    }
    if (code == 0 || distance < least) {
      best = code;
      least = distance;
    }
  }
  return best;
}

/// Quarter turns centred on the axes, each with its lower edge; 0 has angle 0, and NaN counts as 0.
HALFTONE_HOST_DEVICE constexpr uint32_t encode_phase(float re, float im) {
  if (is_nan(re)) re = 0;
  if (is_nan(im)) im = 0;
  if (re == 0 && im == 0) return 0;
  if (im >= -re && im < re) return 0;
  if (im >= re && im > -re) return 1;
  return im <= -re && im > re ? 2 : 3;
}

}  // namespace element_codec
}  // namespace halftone
