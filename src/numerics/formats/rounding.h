// Roundings by name, and the random bits of stochastic rounding as a pure function of where a number stands. Everything
// here runs on CPU and GPU with the same bits; nothing but integer arithmetic decides a rounding.
//
//   nearest-even   to the nearest, a tie to the even last place            half-away   a tie away from zero
//   toward-zero    the last place is cut off
//   stochastic     floor(v + u), v in units of the last place, u = bits * 2^-32: unbiased, and exact values stay
//   dithered       the same with low-discrepancy points for u: unbiased too, while sums over neighbours err far less
//
// Both of the last take v with its sign, so that a positive number rises when u is large and a negative one (away from
// zero) when u is small. With 32 bits the chance of rising is the fraction cut to 32 bits: what is left of bias is
// below 2^-32 units, and none for fractions of up to 32 bits.
//
// Random bits are Philox4x32-10 (base/philox.h) keyed by (seed, step, tensor, role), block = element / 4. The four
// numbers of the key are 192 bits where one generator takes 64 of key and 64 of high counter: a first Philox call maps
// (step, tensor, role) under the seed to those 128 bits. It is a bijection, so different streams of one seed never
// meet.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/host_device.h"
#include "base/philox.h"

namespace halftone {

enum class Rounding : uint8_t { NearestEven, HalfAway, TowardZero, Stochastic, Dithered };

/// "nearest-even", "half-away", "toward-zero", "stochastic", "dithered".
std::string_view to_string(Rounding rounding);
/// Inverse of to_string; throws InvalidArgument naming the accepted values.
Rounding parse_rounding(std::string_view name);

/// True when the result depends on the bits that are given.
HALFTONE_HOST_DEVICE constexpr bool is_random(Rounding rounding) {
  return rounding == Rounding::Stochastic || rounding == Rounding::Dithered;
}

/// Whether a magnitude goes up one last place. What lies below that place is fraction * 2^-32, plus something below
/// 2^-32 when `sticky`; `odd`: the last place is odd; `bits`: 32 uniform random bits or a point times 2^32.
HALFTONE_HOST_DEVICE constexpr bool rounds_away(Rounding rounding, bool negative, bool odd, uint32_t fraction,
                                                bool sticky, uint32_t bits) {
  constexpr uint32_t kHalf = 0x80000000u;
  switch (rounding) {
    case Rounding::NearestEven:
      return fraction > kHalf || (fraction == kHalf && (sticky || odd));
    case Rounding::HalfAway:
      return fraction >= kHalf;
    case Rounding::TowardZero:
      return false;
    case Rounding::Stochastic:
    case Rounding::Dithered:
      if (!negative) return fraction > ~bits;  // fraction + bits >= 2^32
      return bits < fraction || (bits == fraction && sticky);
  }
  return false;
}

/// What one stream of random bits is for. A resumed run, another thread count or a GPU draws the same bits.
struct RandomKey {
  uint64_t seed = 0;
  uint64_t step = 0;
  uint32_t tensor = 0;
  uint32_t role = 0;  ///< the use of the tensor: independent factors of a product need different roles
  bool operator==(const RandomKey&) const = default;
};

/// The stream of a RandomKey: word `i` belongs to element `i` of the tensor, row-major.
struct RandomBits {
  uint32_t key[2];
  uint32_t high[2];  ///< upper half of the counter

  HALFTONE_HOST_DEVICE explicit constexpr RandomBits(const RandomKey& from = {}) : key{}, high{} {
    uint32_t words[4] = {static_cast<uint32_t>(from.step), static_cast<uint32_t>(from.step >> 32), from.tensor,
                         from.role};
    philox4x32_in_place(words, static_cast<uint32_t>(from.seed), static_cast<uint32_t>(from.seed >> 32));
    key[0] = words[0];
    key[1] = words[1];
    high[0] = words[2];
    high[1] = words[3];
  }

  /// The words of elements 4 * number .. 4 * number + 3.
  HALFTONE_HOST_DEVICE constexpr void block(uint64_t number, uint32_t (&words)[4]) const {
    words[0] = static_cast<uint32_t>(number);
    words[1] = static_cast<uint32_t>(number >> 32);
    words[2] = high[0];
    words[3] = high[1];
    philox4x32_in_place(words, key[0], key[1]);
  }
  HALFTONE_HOST_DEVICE constexpr uint32_t word(uint64_t element) const {
    uint32_t words[4] = {};
    block(element / 4, words);
    return words[element % 4];
  }
};

}  // namespace halftone
