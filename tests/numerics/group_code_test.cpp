// Codes of a scale group, against an oracle in double that shares no code with them.
#include "numerics/group_code.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/error.h"
#include "base/philox.h"
#include "numerics/half.h"

namespace halftone {
namespace {

constexpr QuantScheme kTwoLevel{ElementType::Int4, Granularity::TwoLevel, 64, true};

/// Two-level codes with the protective range, the largest group scale and the largest code that follow from int8.
struct TwoLevelCase {
  ElementType element;
  int range, max_scale, top;
  QuantScheme scheme() const { return {element, Granularity::TwoLevel, 64, true}; }
};
constexpr TwoLevelCase kTwoLevels[] = {
    {ElementType::Int4, 119, 16, 15}, {ElementType::Int3, 111, 32, 7}, {ElementType::Int2, 95, 63, 3}};

const std::vector<QuantScheme> kOneLevel = {
    {ElementType::Int8, Granularity::Group, 64, false}, {ElementType::Int8, Granularity::Group, 64, true},
    {ElementType::Int4, Granularity::Group, 64, false}, {ElementType::Int4, Granularity::Group, 64, true},
    {ElementType::Int3, Granularity::Group, 64, false}, {ElementType::Int3, Granularity::Group, 64, true},
    {ElementType::Int2, Granularity::Group, 64, false}, {ElementType::Int2, Granularity::Group, 64, true}};

/// Rows that rounders meet: normal-looking, one-sided, constant, zero, spiked, huge and tiny.
std::vector<std::vector<float>> rows(size_t length) {
  PhiloxStream random(length);
  std::vector<std::vector<float>> all;
  for (const float size : {1e-6f, 0.02f, 1.0f, 3e4f}) {
    std::vector<float> row(length);
    for (auto& value : row) value = size * (2 * random.uniform() - 1) * random.uniform();
    all.push_back(row);
    for (auto& value : row) value = std::abs(value);
    all.push_back(row);
    for (auto& value : row) value = -value;
    all.push_back(row);
    all.push_back(std::vector<float>(length, size));
    all.push_back(std::vector<float>(length, -size));
    std::vector<float> spike(length, 0.001f * size);
    spike[length / 2] = -size;
    all.push_back(spike);
    spike[0] = size;
    all.push_back(spike);
  }
  all.push_back(std::vector<float>(length, 0.0f));
  return all;
}

float as_stored(float scale) { return f16_to_f32(f32_to_f16(scale)); }

TEST(GroupCodeTest, EncodesToANearestCode) {
  for (const auto& scheme : kOneLevel)
    for (const auto& row : rows(64)) {
      const GroupCode code = fit_group(scheme, row, 1.0f);
      for (const float value : row) {
        const int chosen = code.encode(value);
        ASSERT_GE(chosen, code.min_code);
        ASSERT_LE(chosen, code.max_code);
        const double own = std::abs(static_cast<double>(code.decode(chosen)) - value);
        // The quotient value / scale is rounded once to f32, which may pick the other of two codes that tie.
        const double slack = std::abs(static_cast<double>(value)) * std::numeric_limits<float>::epsilon();
        for (int other = code.min_code; other <= code.max_code; ++other)
          ASSERT_LE(own, std::abs(static_cast<double>(code.decode(other)) - value) + slack)
              << to_string(scheme) << " value " << value << " code " << chosen << " against " << other;
      }
    }
}

TEST(GroupCodeTest, ErrorStaysWithinHalfAStep) {
  for (const auto& scheme : kOneLevel)
    for (const auto& row : rows(48)) {
      const GroupCode code = fit_group(scheme, row, 1.0f);
      for (const float value : row) {
        // Half a step; a full range scale that f16 rounded down, or a rounded zero point, may clip the ends by a
        // little: 2^-11 of the range for the scale, half a step for the zero point.
        const double steps = scheme.zero_points ? 1.0 : 0.5;
        const double limit = code.scale * steps + std::abs(value) * 0x1p-10;
        ASSERT_LE(std::abs(static_cast<double>(code.decode(code.encode(value))) - value), limit)
            << to_string(scheme) << " value " << value;
      }
    }
}

TEST(GroupCodeTest, ZeroAndScalesSurvive) {
  for (const auto& scheme : kOneLevel)
    for (const auto& row : rows(32)) {
      const GroupCode code = fit_group(scheme, row, 1.0f);
      EXPECT_EQ(code.decode(code.encode(0.0f)), 0.0f) << to_string(scheme);
      EXPECT_GT(code.scale, 0.0f);
      EXPECT_EQ(code.scale, as_stored(code.scale)) << "a scale must be stored exactly";
      EXPECT_EQ(code.group_scale, 1);
    }
}

TEST(GroupCodeTest, ByHand) {
  // Symmetric int4: max|w| = 0.7 over 7 steps; 0.1 is not an f16, so the stored scale is the f16 next to it.
  const std::vector<float> group = {0.7f, -0.34f, 0.0f, 0.16f};
  const GroupCode symmetric = fit_group({ElementType::Int4, Granularity::Group, 32, false}, group, 1.0f);
  EXPECT_EQ(symmetric.scale, as_stored(0.1f));
  EXPECT_EQ(symmetric.encode(0.7f), 15);
  EXPECT_EQ(symmetric.encode(-0.34f), 5);
  EXPECT_EQ(symmetric.encode(0.0f), 8);
  EXPECT_EQ(symmetric.encode(-100.0f), 0);
  // Asymmetric int2 on [-1, 2]: step 1, zero point 1.
  const std::vector<float> wide = {-1.0f, 2.0f, 0.4f};
  const GroupCode asymmetric = fit_group({ElementType::Int2, Granularity::Group, 32, true}, wide, 1.0f);
  EXPECT_EQ(asymmetric.scale, 1.0f);
  EXPECT_EQ(asymmetric.zero, 1);
  EXPECT_EQ(asymmetric.encode(-1.0f), 0);
  EXPECT_EQ(asymmetric.encode(2.0f), 3);
  EXPECT_EQ(asymmetric.decode(3), 2.0f);
}

TEST(GroupCodeTest, TinyWeightsKeepTheirShape) {
  // 2^-14 is f16's smallest normal scale; a row of 0.001 at int8 needs one of 8e-6.
  std::vector<float> row = {0.001f, -0.0005f, 0.00025f};
  const GroupCode code = fit_group({ElementType::Int8, Granularity::Row, 0, false}, row, 1.0f);
  for (const float value : row) EXPECT_NEAR(code.decode(code.encode(value)), value, 0.001 / 127 * 0.51);
}

TEST(GroupCodeTest, RowScaleNeverClips) {
  for (const TwoLevelCase& c : kTwoLevels)
    for (const auto& row : rows(100)) {
      const float scale = fit_row_scale(c.scheme(), row);
      EXPECT_EQ(scale, as_stored(scale));
      float largest = 0;
      for (const float value : row) largest = std::max(largest, std::abs(value));
      EXPECT_LE(largest / scale, static_cast<float>(c.range));
    }
}

/// Progressive quantisation of one value as arXiv:2405.04532 section 4.1 writes it, in double.
struct Oracle {
  TwoLevelCase form;
  double row_scale;
  int group_scale;
  int zero;

  /// One division of two f32 numbers, rounded to f32 as IEEE does: double has more than twice the digits, so rounding
  /// its quotient again gives the same bits.
  static double quotient(double a, double b) { return static_cast<double>(static_cast<float>(a / b)); }
  static double even(double x) {
    const double below = std::floor(x);
    const double part = x - below;
    if (part != 0.5) return part < 0.5 ? below : below + 1;
    return std::fmod(below, 2.0) == 0 ? below : below + 1;
  }
  double int8_of(double w) const { return even(std::clamp<double>(quotient(w, row_scale), -form.range, form.range)); }
  int code_of(double w) const {
    const double code = even(quotient(int8_of(w), group_scale)) + zero;
    return static_cast<int>(std::clamp<double>(code, 0, form.top));
  }
};

Oracle oracle_for(const TwoLevelCase& form, const std::vector<float>& group, float row_scale) {
  Oracle oracle{form, row_scale, 1, 0};
  double low = 0, high = 0;
  for (const float value : group) {
    low = std::min(low, oracle.int8_of(value));
    high = std::max(high, oracle.int8_of(value));
  }
  oracle.group_scale =
      static_cast<int>(std::clamp<double>(Oracle::even(Oracle::quotient(high - low, form.top)), 1, form.max_scale));
  oracle.zero =
      static_cast<int>(std::clamp<double>(Oracle::even(Oracle::quotient(-low, oracle.group_scale)), 0, form.top));
  return oracle;
}

void expect_two_level(const TwoLevelCase& form, const std::vector<float>& group, float row_scale) {
  const GroupCode code = fit_group(form.scheme(), group, row_scale);
  const Oracle oracle = oracle_for(form, group, row_scale);
  ASSERT_EQ(code.scale, row_scale);
  ASSERT_EQ(code.group_scale, oracle.group_scale);
  ASSERT_EQ(code.zero, oracle.zero);
  for (const float value : group) {
    const int chosen = code.encode(value);
    ASSERT_EQ(chosen, oracle.code_of(value)) << value;
    const int int8 = (chosen - code.zero) * code.group_scale;
    ASSERT_GE(int8, -128) << "value " << value;
    ASSERT_LE(int8, 127) << "value " << value;
    ASSERT_EQ(code.decode(chosen), static_cast<float>(static_cast<double>(int8) * row_scale));
    // Among all codes the chosen one is nearest to the int8 intermediate.
    const double intermediate = oracle.int8_of(value);
    for (int other = 0; other <= form.top; ++other)
      ASSERT_LE(std::abs(int8 - intermediate), std::abs((other - code.zero) * code.group_scale - intermediate));
  }
}

TEST(GroupCodeTest, TwoLevelEqualsTheOracle) {
  for (const TwoLevelCase& form : kTwoLevels)
    for (const auto& row : rows(128)) {
      const float row_scale = fit_row_scale(form.scheme(), row);
      for (size_t start = 0; start < row.size(); start += 64)
        expect_two_level(form, {row.begin() + start, row.begin() + start + 64}, row_scale);
    }
}

TEST(GroupCodeTest, ProtectiveRangeHoldsForEveryPairOfExtremes) {
  // Every (min, max) of the int8 intermediate, with every value between them: the step and zero point depend on no
  // more. Codes times steps stay below 256, as the expansion to bytes needs.
  for (const TwoLevelCase& form : kTwoLevels)
    for (int low = -form.range; low <= 0; ++low)
      for (int high = 0; high <= form.range; ++high) {
        const std::vector<float> ends = {static_cast<float>(low), static_cast<float>(high)};
        const GroupCode code = fit_group(form.scheme(), ends, 1.0f);
        ASSERT_GE(code.group_scale, 1);
        ASSERT_LE(code.group_scale, form.max_scale);
        ASSERT_LT(code.group_scale * form.top, 256);
        const auto fits = [&](float value) {
          const int int8 = (code.encode(value) - code.zero) * code.group_scale;
          return int8 >= -128 && int8 <= 127;
        };
        for (int q8 = low; q8 <= high; ++q8)
          ASSERT_TRUE(fits(static_cast<float>(q8))) << low << " " << high << " " << q8;
        // GPTQ codes values outside the range that the group was fitted on.
        for (const float far : {-500.0f, -119.4f, 119.4f, 500.0f})
          ASSERT_TRUE(fits(far)) << bits_of(form.element) << ": " << low << " " << high << " " << far;
      }
}

TEST(GroupCodeTest, FourCodesInOneMultiplication) {
  // Section 5.2.3: one 32-bit multiplication scales four codes, since 15 * 16 < 256, and a bytewise addition of
  // -zero * step follows. For every code, zero point and step whose value is an int8 this is what decode() means.
  for (int step = 1; step <= 16; ++step)
    for (int zero = 0; zero <= 15; ++zero) {
      const GroupCode code{.scale = 1, .group_scale = step, .zero = zero, .two_level = true};
      for (uint32_t q = 0; q <= 15; ++q) {
        const uint32_t other = 15 - q;
        const uint32_t scaled = (q | other << 8 | q << 16 | other << 24) * static_cast<uint32_t>(step);
        for (int lane = 0; lane < 4; ++lane) {
          const int own = static_cast<int>(lane % 2 == 0 ? q : other);
          const float value = code.decode(own);
          if (value < -128 || value > 127) continue;
          const auto byte = static_cast<uint8_t>((scaled >> (8 * lane)) - static_cast<uint32_t>(zero * step));
          ASSERT_EQ(static_cast<float>(static_cast<int8_t>(byte)), value) << own << " " << zero << " " << step;
        }
      }
    }
}

TEST(GroupCodeTest, ClipSearchNeverLoses) {
  for (const auto& scheme : kOneLevel)
    for (const auto& row : rows(64)) {
      const double full = coding_error(fit_group(scheme, row, 1.0f), row);
      const double searched = coding_error(fit_group_clip(scheme, row, 1.0f, 20, 0.5f), row);
      EXPECT_LE(searched, full) << to_string(scheme);
    }
  // A spike among small weights: clipping it wins.
  std::vector<float> spike(64);
  PhiloxStream random(11);
  for (auto& value : spike) value = 2 * random.uniform() - 1;
  spike[0] = 2;
  const QuantScheme scheme{ElementType::Int4, Granularity::Group, 64, false};
  EXPECT_LT(coding_error(fit_group_clip(scheme, spike, 1.0f, 50, 0.5f), spike),
            coding_error(fit_group(scheme, spike, 1.0f), spike));
}

TEST(GroupCodeTest, RefusesNonFiniteWeights) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    const std::vector<float> group = {0.5f, bad};
    EXPECT_THROW(fit_group(kOneLevel[2], group, 1.0f), NumericError);
    EXPECT_THROW(fit_group(kTwoLevel, group, 1.0f), NumericError);
    EXPECT_THROW(fit_row_scale(kTwoLevel, group), NumericError);
  }
}

}  // namespace
}  // namespace halftone
