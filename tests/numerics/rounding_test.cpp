// Roundings: the stream of random bits, stochastic rounding against floor(v + u) in wide arithmetic and for bias, and
// the small discrepancy of dither.
#include "numerics/formats/rounding.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <vector>

#include "base/error.h"
#include "base/philox.h"
#include "numerics/formats/element_array.h"

namespace halftone {
namespace {

TEST(RandomBits, FollowTheirDefinition) {
  const RandomKey key{.seed = 0x0123456789abcdefu, .step = 0x100000002u, .tensor = 7, .role = 3};
  const auto derived = philox4x32({2, 1, 7, 3}, {0x89abcdefu, 0x01234567u});
  const RandomBits bits(key);
  for (const uint64_t element : {uint64_t{0}, uint64_t{1}, uint64_t{4}, uint64_t{4094}, uint64_t{1} << 40}) {
    const uint64_t block = element / 4;
    const auto words =
        philox4x32({static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32), derived[2], derived[3]},
                   {derived[0], derived[1]});
    EXPECT_EQ(bits.word(element), words[element % 4]) << element;
  }
  static_assert(RandomBits({.seed = 1}).word(5) != RandomBits({.seed = 2}).word(5), "usable in constant expressions");
}

// Every field of the key matters, also its high bits. Among 2000 streams a shared first word has odds of 5e-4.
TEST(RandomBits, DifferInEveryFieldOfTheKey) {
  std::set<uint32_t> first;
  const auto draw = [&](const RandomKey& key) { first.insert(RandomBits(key).word(0)); };
  for (uint32_t i = 1; i <= 400; ++i) {
    draw({.seed = i});
    draw({.seed = uint64_t{i} << 32});
    draw({.step = uint64_t{i} << 32});
    draw({.tensor = i});
    draw({.role = i});
  }
  EXPECT_GE(first.size(), 1999u);
}

TEST(Rounding, NamesRoundTripAndUnknownOnesAreErrors) {
  for (const Rounding rounding :
       {Rounding::NearestEven, Rounding::HalfAway, Rounding::TowardZero, Rounding::Stochastic, Rounding::Dithered})
    EXPECT_EQ(parse_rounding(to_string(rounding)), rounding);
  EXPECT_THROW(parse_rounding("up"), InvalidArgument);
}

// v = x / ulp has at most 3 + 24 + 8 bits around the point here and u has 32 below it: the sum is exact in a 64-bit
// significand, so the result must be floor(v + u), negative numbers too.
TEST(Rounding, StochasticIsTheFloorOfValuePlusDraw) {
  static_assert(std::numeric_limits<long double>::digits >= 64);
  PhiloxStream random(5);
  for (const ElementFormat& format : {kE4m3, kE5m2, kE3m2, kE2m3, kE2m1, kInt8, kInt4, kBf16})
    for (int i = 0; i < 20000; ++i) {
      const bool is_integer = format.kind == ElementKind::Integer;
      const float top = format.bits == 16 ? 100.0f : largest_value(format);
      const float x = (2 * random.uniform() - 1) * top * (i % 3 == 0 ? 0.01f : 1.0f);
      const uint32_t draw = i % 5 == 0 ? 0xffffffffu : i % 7 == 0 ? 0 : random();
      const int lowest = is_integer ? 0 : 1 - format.bias;
      const int exponent = is_integer ? 0 : x == 0 ? lowest : std::max(std::ilogb(x), lowest);
      const long double ulp = std::ldexp(1.0L, exponent - format.mantissa_bits);
      const long double wanted = std::floor(x / ulp + std::ldexp(static_cast<long double>(draw), -32)) * ulp;
      if (std::abs(wanted) > top) continue;
      ASSERT_EQ(decode(format, encode(format, x, Rounding::Stochastic, draw)), wanted) << format.name << ' ' << x;
      ASSERT_EQ(encode(format, x, Rounding::Dithered, draw), encode(format, x, Rounding::Stochastic, draw));
    }
}

TEST(Rounding, ExactValuesStayUnderEveryDraw) {
  for (const ElementFormat& format : kElementFormats) {
    if (format.bits > 8 || format.dimension > 1) continue;
    for (uint32_t code = 0; code < 1u << format.bits; ++code) {
      const float value = decode(format, code);
      if (!std::isfinite(value) || value > largest_value(format) || value < lowest_value(format)) continue;
      for (const uint32_t draw : {0u, 1u, 0x80000000u, 0xffffffffu})
        ASSERT_EQ(decode(format, encode(format, value, Rounding::Stochastic, draw)), value)
            << format.name << ' ' << code;
    }
  }
}

// A number far below the smallest one must rise for the largest draws only: floor(f * 2^32) of the 2^32 draws.
TEST(Rounding, TinyFractionsAreCutTo32Bits) {
  const float x = 0.5f * 0x1.8p-31f;  // 3 * 2^-32 of e2m1's smallest step
  EXPECT_EQ(encode(kE2m1, x, Rounding::Stochastic, 0xfffffffcu), 0u);
  EXPECT_EQ(encode(kE2m1, x, Rounding::Stochastic, 0xfffffffdu), 1u);
  EXPECT_EQ(encode(kE2m1, -x, Rounding::Stochastic, 2), 9u);
  EXPECT_EQ(encode(kE2m1, -x, Rounding::Stochastic, 3), 8u);
  EXPECT_EQ(encode(kE2m1, 1e-40f, Rounding::Stochastic, 0xffffffffu), 0u);
  EXPECT_EQ(encode(kE2m1, -1e-40f, Rounding::Stochastic, 0), 9u) << "floor of a number just below 0";
  EXPECT_EQ(encode(kE2m1, -1e-40f, Rounding::Stochastic, 1), 8u);
}

/// A number that lies 5 to 95 % of the way between two neighbours: 50 or more of 1000 roundings then take either one,
/// enough for their mean to be normal.
float between_codes(const ElementFormat& format, PhiloxStream& random, float top) {
  for (;;) {
    const float x = (2 * random.uniform() - 1) * top;
    const double low = decode(format, encode(format, x, Rounding::Stochastic, 0));
    const double high = decode(format, encode(format, x, Rounding::Stochastic, 0xffffffffu));
    if (x - low > 0.05 * (high - low) && high - x > 0.05 * (high - low)) return x;
  }
}

// Mean of R roundings with fresh keys: z = (mean - exact) / (std / sqrt(R)) of n coordinates; the largest of n normal
// numbers is near sqrt(2 ln n), and more than 1.5 above it is bias.
TEST(Rounding, StochasticAndDitheredAreUnbiased) {
  constexpr int kCoordinates = 800, kRepeats = 1000;
  const double bound = std::sqrt(2 * std::log(double{kCoordinates})) + 1.5;
  PhiloxStream random(17);
  for (const Rounding rounding : {Rounding::Stochastic, Rounding::Dithered})
    for (const ElementFormat& format : {kE4m3, kE5m2, kE2m1, kInt4, kTernary, kNf4}) {
      const float top = std::min(symmetric_limit(format), 20.0f);
      std::vector<float> x(kCoordinates), back(kCoordinates);
      for (float& value : x) value = between_codes(format, random, top);
      std::vector<double> sum(kCoordinates), squares(kCoordinates);
      std::vector<uint32_t> codes(kCoordinates);
      for (uint64_t step = 0; step < kRepeats; ++step) {
        encode_into(format, x, codes, RoundingSource(rounding, {.seed = 23, .step = step}));
        decode_into(format, codes, back);
        for (int i = 0; i < kCoordinates; ++i) {
          const double error = double{back[i]} - x[i];
          sum[i] += error;
          squares[i] += error * error;
        }
      }
      double worst = 0;
      for (int i = 0; i < kCoordinates; ++i) {
        const double mean = sum[i] / kRepeats, variance = squares[i] / kRepeats - mean * mean;
        worst = std::max(worst, std::abs(mean) / std::sqrt(variance / kRepeats));
      }
      EXPECT_LT(worst, bound) << format.name << ' ' << to_string(rounding);
      if (rounding == Rounding::Stochastic) {
        EXPECT_GT(worst, 1.0) << "the noise itself must be there";
      }
    }
}

// n equal numbers: independent draws miss the sum by about sqrt(n) / 2 steps, an additive recurrence by O(log n), along
// rows and down columns.
TEST(Rounding, DitherKeepsSumsFarCloserThanIndependentDraws) {
  constexpr int64_t kCount = 10000;
  for (const float x : {0.3f, 0.77f, 1.4f, -0.9f})
    for (const bool down : {false, true})
      for (const Rounding rounding : {Rounding::Dithered, Rounding::Stochastic}) {
        double squares = 0;
        for (uint64_t step = 0; step < 20; ++step) {
          const RoundingSource source(rounding, {.seed = 31, .step = step});
          double error = 0;
          for (int64_t i = 0; i < kCount; ++i) {
            const uint32_t bits = down ? source.bits(i, 3, 8) : source.bits(3, i, kCount);
            error += decode(kInt8, encode(kInt8, x, rounding, bits)) - double{x};
          }
          squares += error * error;
        }
        const double rms = std::sqrt(squares / 20);
        if (rounding == Rounding::Dithered)
          EXPECT_LT(rms, std::log(double{kCount})) << x << ' ' << down;
        else
          EXPECT_GT(rms, 0.3 * std::sqrt(0.09 * kCount)) << x;  // p (1 - p) >= 0.09: the test can tell them apart
      }
}

}  // namespace
}  // namespace halftone
