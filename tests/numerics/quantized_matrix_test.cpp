// Matrices under every combination that validates: values are the nearest the codes can hold, nothing saturates when
// nothing should, and the published figures of scale rules and formats on normal data come out.
#include "numerics/formats/quantized_matrix.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/philox.h"
#include "numerics/formats/codebook.h"
#include "numerics/formats/element_array.h"
#include "numerics/formats/micro_block.h"

namespace halftone {
namespace {

constexpr float kPoison = -12345.678f;

std::vector<float> normal_matrix(int64_t count, uint64_t seed) {
  PhiloxStream random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(random);
  return values;
}

std::vector<float> round_trip(const QuantizedMatrix& matrix) {
  std::vector<float> values(static_cast<size_t>(matrix.rows * matrix.columns), kPoison);
  dequantize_matrix(matrix, values);
  return values;
}

bool validates(const MatrixFormat& format, int64_t rows, int64_t columns) {
  try {
    format.validate(rows, columns);
    return true;
  } catch (const InvalidArgument&) {
    return false;
  }
}

/// Distance to the nearest of all values that the block could hold, by trying every code.
double best_error(const MatrixFormat& format, float x, float scale, float zero) {
  double best = INFINITY;
  for (uint32_t code = 0; code < 1u << format.element.bits; ++code) {
    const float value = decode(format.element, code);
    if (!(value >= lowest_value(format.element) && value <= largest_value(format.element))) continue;
    best = std::min(best, std::abs(static_cast<double>((value - zero) * scale) - x));
  }
  return best;
}

// v = fl(x / scale) is off by 2^-24 |v|, so the code chosen may be the second best by that much of x, and decoding
// rounds the product once more: 2^-22 (|x| + scale) covers both.
TEST(QuantizedMatrix, EveryCombinationGivesTheNearestValueThatItsBlockCanHold) {
  constexpr int64_t kRows = 5, kColumns = 26;
  const std::vector<float> x = normal_matrix(kRows * kColumns, 3);
  int combinations = 0;
  for (const ElementFormat& element : kElementFormats)
    for (const char* layout : {"tensor", "row", "channel", "group:8", "block:2x4", "token", "token-head:13"})
      for (const ScaleFormat& scale : kScaleFormats)
        for (const char* rule : {"absmax", "truncation-free", "ocp-floor", "ceil", "even", "absmean"}) {
          const MatrixFormat format{element, parse_scale_granularity(layout), scale, parse_scale_rule(rule)};
          if (element.bits > 8 || element.dimension > 1 || !validates(format, kRows, kColumns)) continue;
          ++combinations;
          const QuantizedMatrix matrix = quantize_matrix(format, x, kRows, kColumns);
          const std::vector<float> back = round_trip(matrix), scales = matrix.scale_values();
          const ScaleGrid grid = matrix.grid();
          ASSERT_EQ(static_cast<int64_t>(matrix.scales.size()), grid.count());
          for (int64_t at = 0; at < kRows * kColumns; ++at) {
            const size_t i = static_cast<size_t>(at),
                         block = static_cast<size_t>(grid.index(at / kColumns, at % kColumns));
            const float zero = matrix.zeros.empty() ? 0.0f : static_cast<float>(matrix.zeros[block]);
            const double slack = 0x1p-22 * (std::abs(double{x[i]}) + scales[block] * (1 + zero));
            ASSERT_LE(std::abs(double{back[i]} - x[i]), best_error(format, x[i], scales[block], zero) + slack)
                << to_string(format) << " element " << at;
          }
          const bool holds = format.rule == ScaleRule::Ceil && !element.is_unsigned_integer();  // no rounded zero point
          if (format.rule == ScaleRule::TruncationFree || holds) {
            ASSERT_EQ(count_saturated(matrix, x), 0) << to_string(format);
          }
        }
  EXPECT_GT(combinations, 2000);
}

TEST(QuantizedMatrix, UnsignedCodesKeepZeroAndEveryErrorWithinHalfAStep) {
  std::vector<float> x = normal_matrix(16 * 24, 5);
  for (size_t i = 0; i < x.size(); ++i) x[i] = i % 5 == 0 ? 0.0f : x[i] + 1.5f;
  for (const char* element : {"uint8", "uint4", "uint3", "uint2"})
    for (const char* rule : {"absmax", "truncation-free"}) {
      const MatrixFormat format = parse_matrix_format(std::string(element) + " group:24 f32 " + rule);
      const QuantizedMatrix matrix = quantize_matrix(format, x, 16, 24);
      const std::vector<float> back = round_trip(matrix), scales = matrix.scale_values();
      for (size_t i = 0; i < x.size(); ++i) {
        ASSERT_LE(std::abs(back[i] - x[i]), scales[i / 24] * 0.5f * 1.00001f) << element << ' ' << rule;
        if (x[i] == 0) {
          ASSERT_EQ(back[i], 0);
        }
      }
    }
}

// Under truncation-free scales a random rounding must be unbiased for every element, extremes included: the z-score of
// 800 coordinates over 600 repeats stays below sqrt(2 ln n) + 1.5. Coordinates that always round alike must be exact.
TEST(QuantizedMatrix, StochasticRoundingIsUnbiasedWhereNothingSaturates) {
  constexpr int64_t kRows = 8, kColumns = 100;
  constexpr int kRepeats = 600;
  const std::vector<float> x = normal_matrix(kRows * kColumns, 7);
  for (const char* name : {"e2m1 group:32 e8m0 truncation-free", "e2m1 group:16 e4m3_f32 truncation-free",
                           "e4m3 block:4x25 f32 truncation-free", "int8 row f16 truncation-free",
                           "uint4 group:50 bf16 truncation-free", "int4 channel u4_f16 truncation-free"}) {
    const MatrixFormat format = parse_matrix_format(name);
    std::vector<double> sum(x.size()), squares(x.size());
    for (uint64_t step = 0; step < kRepeats; ++step) {
      const RoundingSource source(Rounding::Stochastic, {.seed = 9, .step = step, .tensor = 1});
      const std::vector<float> back = round_trip(quantize_matrix(format, x, kRows, kColumns, source));
      for (size_t i = 0; i < x.size(); ++i) {
        const double error = double{back[i]} - x[i];
        sum[i] += error;
        squares[i] += error * error;
      }
    }
    double worst = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const double mean = sum[i] / kRepeats, variance = squares[i] / kRepeats - mean * mean;
      const double rare = mean * mean * kRepeats / 30;  // fewer than about 30 of the repeats took the other neighbour
      if (variance > rare + 1e-12) worst = std::max(worst, std::abs(mean) / std::sqrt(variance / kRepeats));
    }
    EXPECT_LT(worst, std::sqrt(2 * std::log(double(x.size()))) + 1.5) << name;
    EXPECT_GT(worst, 1) << name;
  }
}

struct BlockFigures {
  double clipped, shrink, mse;
};

/// Blocks of 32 normal numbers: part that saturates, mean pull towards 0 under stochastic rounding (sign(x) (q - x)),
/// and mean squared error to nearest.
BlockFigures measure_mxfp4(ScaleRule rule, int64_t blocks) {
  const int64_t count = 32 * blocks;
  const std::vector<float> x = normal_matrix(count, 13);
  const MatrixFormat format = micro_matrix_format("mxfp4", rule);
  const QuantizedMatrix nearest = quantize_matrix(format, x, blocks, 32);
  const RoundingSource source(Rounding::Stochastic, {.seed = 77});
  const std::vector<float> near = round_trip(nearest),
                           random = round_trip(quantize_matrix(format, x, blocks, 32, source));
  BlockFigures figures{static_cast<double>(count_saturated(nearest, x)) / static_cast<double>(count), 0, 0};
  for (size_t i = 0; i < x.size(); ++i) {
    figures.shrink += std::copysign(1.0, x[i]) * (double{random[i]} - x[i]);
    figures.mse += (double{near[i]} - x[i]) * (double{near[i]} - x[i]);
  }
  figures.shrink /= static_cast<double>(count);
  figures.mse /= static_cast<double>(count);
  return figures;
}

/// Probability that OCP's rule saturates a normal number in a block of 32: the number lies between 1.5 * 2^k and
/// 2^(k + 1), and the 31 others below 2^(k + 1), for some k.
double ocp_clipping() {
  double sum = 0;
  for (int k = -6; k <= 4; ++k) {
    const auto within = [](double x) { return std::erf(x / std::sqrt(2.0)); };
    const double top = std::ldexp(1.0, k + 1);
    sum += (within(top) - within(0.75 * top)) * std::pow(within(top), 31);
  }
  return sum;
}

// Published figures for N(0, 1) in blocks of 32: OCP's rule saturates 2.3 % of the values and pulls the mean magnitude
// by -5.1e-3 under stochastic rounding; the truncation-free one saturates none and pulls by nothing measurable (-9e-5);
// errors to nearest are 1.32e-2 and 1.33e-2. Standard errors of 20,000 blocks: 3.2e-4 for the saturated part (the
// number per block has a deviation of 1.46), 2e-4 for the pull (rounding noise of rms 0.16), 0.3 % for the errors.
TEST(QuantizedMatrix, ScaleRulesReproduceThePublishedFigures) {
  const BlockFigures ocp = measure_mxfp4(ScaleRule::OcpFloor, 20000);
  const BlockFigures free = measure_mxfp4(ScaleRule::TruncationFree, 20000);
  std::printf("OCP floor: clipped %.4f shrink %.2e mse %.4e; truncation-free: clipped %.4f shrink %.2e mse %.4e\n",
              ocp.clipped, ocp.shrink, ocp.mse, free.clipped, free.shrink, free.mse);
  EXPECT_NEAR(ocp_clipping(), 0.023, 5e-4);
  EXPECT_NEAR(ocp.clipped, ocp_clipping(), 4 * 3.2e-4);
  EXPECT_EQ(free.clipped, 0);
  EXPECT_NEAR(ocp.shrink, -5.1e-3, 4 * 2e-4);
  EXPECT_NEAR(free.shrink, 0, 4 * 2e-4);
  EXPECT_NEAR(ocp.mse, 1.32e-2, 4 * 0.003 * 1.32e-2);
  EXPECT_NEAR(free.mse, 1.33e-2, 4 * 0.003 * 1.33e-2);
}

/// Squared error relative to the squared values.
double relative_error(const char* name, const RoundingSource& source = RoundingSource()) {
  const std::vector<float> x = normal_matrix(400000, 19);
  const std::vector<float> back = round_trip(quantize_matrix(parse_matrix_format(name), x, 1, 400000, source));
  double error = 0, energy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    error += (double{back[i]} - x[i]) * (double{back[i]} - x[i]);
    energy += double{x[i]} * x[i];
  }
  return error / energy;
}

// Binary with the mean magnitude: 1 - 2/pi = 0.3634. Ternary (half away from zero of x / mean): 0.2637. Phases of
// complex numbers: 0.3636. Standard errors at 400,000 numbers are below 1e-3.
TEST(QuantizedMatrix, CoarseCodesReproduceThePublishedFigures) {
  EXPECT_NEAR(relative_error("binary tensor f32 absmean"), 1 - 2 / M_PI, 3e-3);
  EXPECT_NEAR(relative_error("ternary tensor f32 absmean", RoundingSource(Rounding::HalfAway)), 0.2637, 3e-3);
  EXPECT_NEAR(relative_error("complex tensor f32 absmean"), 0.3636, 3e-3);
}

// Two numbers (real, imaginary) of each of two rows, by hand. Row 0: 3+1i falls on the real axis, 1-5i on the imaginary
// one, -1+0i on the real one, 2+2i on the edge pi/4, which belongs to i: real scale (3 + 1) / 2, imaginary (5 + 2) / 2.
TEST(QuantizedMatrix, ComplexCodesUnderTwoScales) {
  const std::vector<float> x = {3, 1, 1,  -5, -1, 0, 2, 2,  //
                                4, 0, -6, 1,  0,  0, 1, 0.5f};
  const QuantizedMatrix matrix = quantize_matrix(parse_matrix_format("complex row f16x2"), x, 2, 8);
  EXPECT_EQ(matrix.codes, (std::vector<uint32_t>{0, 3, 2, 1, 0, 2, 0, 0}));
  const std::vector<float> scales = matrix.scale_values();
  ASSERT_EQ(scales.size(), 4u);
  EXPECT_EQ(scales[0], 2);
  EXPECT_EQ(scales[1], 3.5f);
  EXPECT_EQ(scales[2], 2.75f) << "(4 + 6 + 0 + 1) / 4";
  EXPECT_EQ(scales[3], 0x1p-24f) << "no number falls on this axis: the smallest f16";
  const std::vector<float> back = round_trip(matrix);
  EXPECT_EQ(back, (std::vector<float>{2, 0, 0, -3.5f, -2, 0, 0, 3.5f, 2.75f, 0, -2.75f, 0, 2.75f, 0, 2.75f, 0}));
  const QuantizedMatrix widest = quantize_matrix(parse_matrix_format("complex row f16x2 absmax"), x, 2, 8);
  EXPECT_EQ(widest.scale_values(), (std::vector<float>{3, 5, 6, 0x1p-24f}));
  EXPECT_EQ(widest.codes, matrix.codes) << "sectors do not depend on scales";
}

// Means over each axis minimise the squared error for these codes: any other pair of scales is worse, and on numbers
// whose real parts are larger than their imaginary ones so is a single scale.
TEST(QuantizedMatrix, TwoScalesAreTheBestForTheirCodes) {
  std::vector<float> x = normal_matrix(4000, 53);
  for (size_t i = 1; i < x.size(); i += 2) x[i] *= 0.3f;
  const auto error_of = [&](const QuantizedMatrix& matrix) {
    const std::vector<float> back = round_trip(matrix);
    double sum = 0;
    for (size_t i = 0; i < x.size(); ++i) sum += std::pow(double{back[i]} - x[i], 2);
    return sum;
  };
  const QuantizedMatrix best = quantize_matrix(parse_matrix_format("complex tensor f32x2"), x, 4, 1000);
  for (const size_t axis : {0, 1})
    for (const float factor : {0.99f, 1.01f}) {
      QuantizedMatrix other = best;
      other.scales[axis] = encode(kF32, decode(kF32, best.scales[axis]) * factor);
      EXPECT_GT(error_of(other), error_of(best)) << axis << ' ' << factor;
    }
  EXPECT_LT(error_of(best), error_of(quantize_matrix(parse_matrix_format("complex tensor f32"), x, 4, 1000)));
}

// Stages of Fairy2i: each quantises what the ones before left. Published relative squared errors on normal numbers:
// .3636, .1309, .0587, .0331; the standard error of such a mean over 400,000 numbers is below 1e-3.
TEST(QuantizedMatrix, ResidualStagesOfComplexCodesReproduceThePublishedFigures) {
  std::vector<float> left = normal_matrix(400000, 59);
  double energy = 0;
  for (const float value : left) energy += double{value} * value;
  for (const double published : {0.3636, 0.1309, 0.0587, 0.0331}) {
    const std::vector<float> stage =
        round_trip(quantize_matrix(parse_matrix_format("complex tensor f32x2"), left, 400, 1000));
    double error = 0;
    for (size_t i = 0; i < left.size(); ++i) {
      left[i] -= stage[i];
      error += double{left[i]} * left[i];
    }
    EXPECT_NEAR(error / energy, published, 3e-3);
  }
}

TEST(QuantizedMatrix, BlocksOfZerosStaySmallWithoutACodeForZero) {
  std::vector<float> x(4 * 64);
  x[3] = 2.5f;
  for (const char* name :
       {"binary row f16", "complex row f16", "complex group:16 f16x2", "int2_midrise row f16 absmax"}) {
    const std::vector<float> back = round_trip(quantize_matrix(parse_matrix_format(name), x, 4, 64));
    for (size_t i = 64; i < back.size(); ++i) ASSERT_LE(std::abs(back[i]), 0x1p-24f) << name;
  }
}

TEST(QuantizedMatrix, VectorCodebooksTakeTheNearestEntry) {
  const std::vector<float> entries = normal_matrix(20 * 4, 23);
  const Codebook codebook("lattice", entries, 4);
  const std::vector<float> x = normal_matrix(6 * 12, 29);
  const MatrixFormat format{codebook.format(), parse_scale_granularity("row"), find_scale_format("f32"),
                            ScaleRule::AbsMax};
  const QuantizedMatrix matrix = quantize_matrix(format, x, 6, 12);
  ASSERT_EQ(matrix.codes.size(), 18u);
  const std::vector<float> back = round_trip(matrix), scales = matrix.scale_values();
  for (size_t vector = 0; vector < 18; ++vector) {
    const float scale = scales[vector / 3];
    const auto distance = [&](auto entry) {
      double sum = 0;
      for (size_t i = 0; i < 4; ++i) sum += std::pow(double{x[vector * 4 + i]} - double{entry(i)}, 2);
      return sum;
    };
    const double chosen = distance([&](size_t i) { return back[vector * 4 + i]; });
    for (size_t entry = 0; entry < 20; ++entry)
      ASSERT_LE(chosen, distance([&](size_t i) { return entries[entry * 4 + i] * scale; }) * (1 + 1e-5));
  }
  EXPECT_NEAR(format.bits_per_element(6, 12), 5.0 / 4 + 32.0 / 12, 1e-12);
  EXPECT_THROW(quantize_matrix(format, std::vector<float>(6 * 10), 6, 10), InvalidArgument);
  EXPECT_THROW(quantize_matrix(format, x, 6, 12, RoundingSource(Rounding::Stochastic)), Unsupported);
}

TEST(QuantizedMatrix, BitsCountCodesScalesAndZeros) {
  const auto bits = [](const char* name) { return parse_matrix_format(name).bits_per_element(64, 256); };
  EXPECT_EQ(bits("e2m1 group:32 e8m0 ocp-floor"), 4.25);
  EXPECT_EQ(bits("e2m1 group:16 e4m3_f32 absmax"), 4.5 + 32.0 / (64 * 256));
  EXPECT_EQ(bits("uint4 group:128 f16 absmax"), 4 + 20.0 / 128);
  EXPECT_EQ(bits("int4 group:64 u4_f16 absmax"), 4 + 4.0 / 64 + 16.0 / 256);
  EXPECT_EQ(bits("complex row f16 absmean"), 1 + 16.0 / 256);
  EXPECT_EQ(bits("complex row f16x2 absmean"), 1 + 32.0 / 256);
}

TEST(QuantizedMatrix, ZeroMatricesAndZeroBlocksStayZero) {
  std::vector<float> x(4 * 64);
  x[3] = 2.5f;
  for (const char* name : {"e2m1 group:16 e4m3_f32 absmax", "e4m3 group:32 e8m0 ocp-floor", "uint4 group:16 f16 absmax",
                           "int4 group:16 int8_f16 truncation-free", "ternary row f32 absmean"}) {
    for (const float value : round_trip(quantize_matrix(parse_matrix_format(name), std::vector<float>(256), 4, 64)))
      ASSERT_EQ(value, 0) << name;
    const std::vector<float> back = round_trip(quantize_matrix(parse_matrix_format(name), x, 4, 64));
    for (size_t i = 64; i < back.size(); ++i) ASSERT_EQ(back[i], 0) << name;
  }
}

template <class Error, class Call>
void expect_error(Call call, std::initializer_list<const char*> names) {
  try {
    call();
    FAIL() << "no error";
  } catch (const Error& error) {
    for (const char* name : names) EXPECT_THAT(error.what(), testing::HasSubstr(name));
  }
}

TEST(QuantizedMatrix, ErrorsNameWhatDoesNotFit) {
  const std::vector<float> x(64, 1.0f);
  const auto quantise = [&](const char* name) { return quantize_matrix(parse_matrix_format(name), x, 4, 16); };
  expect_error<InvalidArgument>([&] { quantise("e8m0 row f32 absmax"); }, {"e8m0"});
  expect_error<InvalidArgument>([&] { quantise("e2m1 row u4_f16 ocp-floor"); }, {"ocp-floor", "u4_f16"});
  expect_error<InvalidArgument>([&] { quantise("int8 row e8m0 even"); }, {"even", "int8"});
  expect_error<InvalidArgument>([&] { quantise("e2m1 row f32 absmean"); }, {"absmean", "e2m1"});
  expect_error<InvalidArgument>([&] { quantise("complex group:3 f32 absmean"); }, {"complex", "3"});
  expect_error<InvalidArgument>([&] { quantise("int8 row f16x2 absmax"); }, {"f16x2", "int8", "take f16"});
  expect_error<InvalidArgument>([&] { quantise("e2m1 token-head:5 f32 absmax"); }, {"5", "16"});
  expect_error<InvalidArgument>([&] { quantise("e2m1 row"); }, {"'e2m1 row'", "SCALE [RULE]"});
  expect_error<InvalidArgument>([&] { quantize_matrix(parse_matrix_format("int8 row f32 absmax"), x, 4, 15); },
                                {"64", "60"});
  std::vector<float> bad = x;
  bad[37] = std::numeric_limits<float>::quiet_NaN();
  expect_error<NumericError>([&] { quantize_matrix(parse_matrix_format("int8 row f32 absmax"), bad, 4, 16); },
                             {"row 2", "column 5", "nan"});
  std::vector<float> small(63);
  expect_error<InvalidArgument>([&] { dequantize_matrix(quantise("int8 row f32 absmax"), small); }, {"63"});
}

TEST(Codebook, ScalarCodebooksRoundAndCheckTheirEntries) {
  const Codebook codebook("mine", {3.0f, -1.0f, 0.5f, -1.0f, 10.0f});
  const ElementFormat& format = codebook.format();
  EXPECT_EQ(format.bits, 3);
  EXPECT_STREQ(format.name, "mine");
  EXPECT_EQ(encode(format, -5.0f), 1u) << "the lowest code of equal entries";
  EXPECT_EQ(encode(format, 1.75f), 0u) << "a tie between codes 0 and 2: both even, the lower";
  EXPECT_EQ(encode(format, 6.5f), 0u) << "a tie between codes 0 and 4";
  EXPECT_EQ(encode(format, 6.5f, Rounding::HalfAway), 4u);
  EXPECT_EQ(encode(format, 9.9f, Rounding::TowardZero), 0u);
  EXPECT_EQ(encode(format, -0.9f, Rounding::TowardZero), 1u) << "no entry between it and 0: the nearest";
  EXPECT_TRUE(std::isnan(decode(format, 5)));
  for (const uint32_t draw : {0u, 0x3fffffffu, 0x40000000u, 0xffffffffu})  // 8.25 is 3/4 of the way from 3 to 10
    EXPECT_EQ(encode(format, 8.25f, Rounding::Stochastic, draw), draw < 0x40000000u ? 0u : 4u);
  EXPECT_THROW(Codebook("one", {1.0f}), InvalidArgument);
  EXPECT_THROW(Codebook("odd", {1, 2, 3}, 2), InvalidArgument);
  EXPECT_THROW(Codebook("nan", {1, NAN}), InvalidArgument);
  EXPECT_THROW(Codebook("none", {1, 2}, 0), InvalidArgument);
}

}  // namespace
}  // namespace halftone
