// Scales: rules against their definitions, exactly at powers of two; stored scales against a search over every code.
#include "numerics/formats/scale_format.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/philox.h"
#include "numerics/formats/element_array.h"

namespace halftone {
namespace {

BlockExtent extent_of(const ElementFormat& element, double amax) {
  return {.extent = amax, .limit = symmetric_limit(element), .mean = amax / 2, .mantissa_bits = element.mantissa_bits};
}

float fitted(const ElementFormat& stored, ScaleRule rule, const ElementFormat& element, double amax) {
  return decode(stored, fit_scale(stored, rule, extent_of(element, amax)));
}

TEST(ScaleFormat, LogarithmsAreExactAtPowersOfTwo) {
  for (int exponent = -149; exponent <= 127; ++exponent) {
    const float power = std::ldexp(1.0f, exponent);
    EXPECT_EQ(floor_log2(power), exponent);
    EXPECT_EQ(ceil_log2(power), exponent);
    if (exponent < -125) continue;
    EXPECT_EQ(floor_log2(std::nextafter(power, 0.0f)), exponent - 1);
    EXPECT_EQ(ceil_log2(std::nextafter(power, 0.0f)), exponent);
    EXPECT_EQ(floor_log2(std::nextafter(power, INFINITY)), exponent);
    EXPECT_EQ(ceil_log2(std::nextafter(power, INFINITY)), exponent + 1);
  }
}

TEST(ScaleFormat, OcpFloorTakesTheLargestPowerOfTwoBelow) {
  for (int exponent = -100; exponent <= 100; ++exponent) {
    const double power = std::ldexp(1.0, exponent);
    for (const double factor : {1.0, 1.25, 1.5, 1.75, 2.0 - 0x1p-23}) {
      EXPECT_EQ(fitted(kE8m0, ScaleRule::OcpFloor, kE2m1, power * factor), std::ldexp(power, -2)) << exponent;
      EXPECT_EQ(fitted(kE8m0, ScaleRule::OcpFloor, kE4m3, power * factor), std::ldexp(power, -8));
      EXPECT_EQ(fitted(kE8m0, ScaleRule::OcpFloor, kE5m2, power * factor), std::ldexp(power, -15));
      EXPECT_EQ(fitted(kE8m0, ScaleRule::OcpFloor, kE2m3, power * factor), std::ldexp(power, -2));
      EXPECT_EQ(fitted(kE8m0, ScaleRule::OcpFloor, kE3m2, power * factor), std::ldexp(power, -4));
    }
    EXPECT_EQ(fitted(kE8m0, ScaleRule::Ceil, kE2m1, power), std::ldexp(power, -2));
    EXPECT_EQ(fitted(kE8m0, ScaleRule::Ceil, kE2m1, power * 1.01), std::ldexp(power, -1));
    // Even, with the one mantissa bit of e2m1: 1.75 and more of a power round to the next one.
    EXPECT_EQ(fitted(kE8m0, ScaleRule::Even, kE2m1, power * 1.74), std::ldexp(power, -2));
    EXPECT_EQ(fitted(kE8m0, ScaleRule::Even, kE2m1, power * 1.75), std::ldexp(power, -1));
    // TetraJet, 2^ceil(log2(amax / 6)): 6 * 2^k needs scale 2^k, anything above it the next.
    EXPECT_EQ(fitted(kE8m0, ScaleRule::TruncationFree, kE2m1, 6 * power), power);
    EXPECT_EQ(fitted(kE8m0, ScaleRule::TruncationFree, kE2m1, 6 * power * (1 + 0x1p-23)), 2 * power);
  }
}

// The smallest of all positive stored scales that clips nothing, found by trying each.
TEST(ScaleFormat, TruncationFreeIsTheSmallestStoredScaleThatHolds) {
  PhiloxStream random(41);
  for (const ElementFormat& stored : {kE8m0, kE4m3, kF16, kBf16})
    for (const ElementFormat& element : {kE2m1, kE4m3, kInt8, kInt4, kNf4})
      for (int i = 0; i < 40; ++i) {
        const float amax = std::ldexp(0.5f + random.uniform(), static_cast<int>(random() % 24) - 12);
        const float limit = symmetric_limit(element);
        double smallest = INFINITY;
        for (uint32_t code = 0; code < 1u << (stored.bits - (stored.kind == ElementKind::Float ? 1 : 0)); ++code) {
          const double scale = decode(stored, code);
          if (std::isfinite(scale) && scale > 0 && limit * scale >= amax) smallest = std::min(smallest, scale);
        }
        if (std::isinf(smallest)) smallest = largest_value(stored);
        ASSERT_EQ(fitted(stored, ScaleRule::TruncationFree, element, amax), smallest) << stored.name << ' ' << amax;
      }
}

TEST(ScaleFormat, AbsMaxStoresToNearestAndMeansAreMeans) {
  EXPECT_EQ(fitted(kF32, ScaleRule::AbsMax, kInt8, 1.0), static_cast<float>(1.0 / 127));
  EXPECT_EQ(fitted(kE4m3, ScaleRule::AbsMax, kE2m1, 6 * 0.9), 0.875f);
  EXPECT_EQ(fitted(kE8m0, ScaleRule::AbsMax, kE2m1, 6 * 1.49), 1.0f);
  EXPECT_EQ(fitted(kF32, ScaleRule::AbsMean, kTernary, 3.0), 1.5f);
}

TEST(ScaleFormat, ScalesAreNeverZeroOrInfinite) {
  const float tiny = std::numeric_limits<float>::denorm_min(), huge = std::numeric_limits<float>::max();
  for (const ScaleFormat& format : kScaleFormats)
    for (const ScaleRule rule : {ScaleRule::AbsMax, ScaleRule::TruncationFree, ScaleRule::OcpFloor})
      for (const ElementFormat& element : {kE2m1, kInt8, kNf4})
        for (const double amax : {0.0, double{tiny}, 1e-30, 1.0, 1e30, double{huge}}) {
          if (format.two_level() && is_power_of_two(rule)) continue;
          const BlockExtent block = extent_of(element, amax);
          const uint32_t outer = format.two_level() ? fit_outer_scale(format, rule, block) : 0;
          const float outer_value = format.two_level() ? decode(format.outer, outer) : 1;
          const float scale = scale_value(format, fit_scale(format.inner, rule, block, outer_value), outer);
          EXPECT_GT(scale, 0) << format.name << ' ' << amax;
          EXPECT_TRUE(std::isfinite(scale)) << format.name << ' ' << amax;
        }
  EXPECT_EQ(fit_scale(kE8m0, ScaleRule::OcpFloor, extent_of(kE2m1, 0)), 127u) << "a zero block has scale 1";
  EXPECT_EQ(fitted(kE4m3, ScaleRule::AbsMax, kE2m1, 0), 1);
}

// Two levels: the outer scale is made for the widest block, and every block below it still fits.
TEST(ScaleFormat, TwoLevelScalesHoldEveryBlockWhenTruncationFree) {
  PhiloxStream random(43);
  for (const ScaleFormat& format : kScaleFormats) {
    if (!format.two_level()) continue;
    for (int i = 0; i < 2000; ++i) {
      const double widest = std::ldexp(0.5 + random.uniform(), static_cast<int>(random() % 20) - 10);
      const BlockExtent wide = extent_of(kE2m1, static_cast<float>(widest));
      const BlockExtent block = extent_of(kE2m1, static_cast<float>(widest * random.uniform()));
      const uint32_t outer = fit_outer_scale(format, ScaleRule::TruncationFree, wide);
      for (const BlockExtent& each : {wide, block}) {
        const uint32_t inner = fit_scale(format.inner, ScaleRule::TruncationFree, each, decode(format.outer, outer));
        const double scale = scale_value(format, inner, outer);
        ASSERT_GE(6 * scale, each.extent) << format.name;
        if (inner > 1) {
          ASSERT_LT(6.0 * scale_value(format, inner - 1, outer), each.extent) << "no larger than needed";
        }
      }
    }
  }
}

TEST(ScaleFormat, NamesRoundTripAndUnknownOnesAreErrors) {
  for (const ScaleFormat& format : kScaleFormats) EXPECT_STREQ(find_scale_format(format.name).name, format.name);
  EXPECT_THROW(find_scale_format("e5m3"), InvalidArgument);
  for (const char* name : {"absmax", "truncation-free", "ocp-floor", "ceil", "even", "absmean"})
    EXPECT_EQ(to_string(parse_scale_rule(name)), name);
  EXPECT_THROW(parse_scale_rule("mse"), InvalidArgument);
}

}  // namespace
}  // namespace halftone
