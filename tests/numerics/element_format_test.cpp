// Element formats, exhaustively: every code of every small format against the definition of its layout, every rounding
// against a search over the sorted values, at and around every boundary, and for all half and bfloat16 numbers.
#include "numerics/formats/element_format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/philox.h"
#include "numerics/formats/element_array.h"
#include "numerics/formats/element_codec.h"
#include "numerics/half.h"

namespace halftone {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr Rounding kNearest = Rounding::NearestEven;

/// The value of a code from the drawing of its layout; NaN and infinity as the table of the header has them.
double defined_value(const ElementFormat& format, uint32_t code) {
  const std::string name = format.name;
  if (format.kind == ElementKind::PowerOfTwo) return code == 255 ? NAN : std::ldexp(1.0, static_cast<int>(code) - 127);
  const int e = format.exponent_bits, m = format.mantissa_bits;
  const double sign = (code >> (e + m) & 1u) != 0 ? -1 : 1;
  const int field = static_cast<int>(code >> m & ((1u << e) - 1)), mantissa = static_cast<int>(code & ((1u << m) - 1));
  const int top = (1 << e) - 1;
  if (name == "e4m3" && field == top && mantissa == 7) return NAN;
  if ((name == "e5m2" || name == "f16" || name == "bf16") && field == top) return mantissa == 0 ? sign * INFINITY : NAN;
  return field == 0 ? sign * std::ldexp(mantissa, 1 - format.bias - m)
                    : sign * std::ldexp((1 << m) + mantissa, field - format.bias - m);
}

/// Finite non-negative values with their codes, ascending.
struct Ladder {
  std::vector<double> values;
  std::vector<uint32_t> codes;
  bool powers_of_two;

  explicit Ladder(const ElementFormat& format) : powers_of_two(format.kind == ElementKind::PowerOfTwo) {
    const uint32_t end = 1u << (format.kind == ElementKind::PowerOfTwo ? 8 : format.bits - 1);
    for (uint32_t code = 0; code < end; ++code)
      if (const double value = defined_value(format, code); std::isfinite(value)) {
        values.push_back(value);
        codes.push_back(code);
      }
  }
  /// Where the next step would be if the exponent went on.
  double beyond() const { return 2 * values.back() - (powers_of_two ? 0 : values[values.size() - 2]); }
};

/// Magnitudes that matter: every code, every midpoint and quarter point, their f32 neighbours, past the end, and the
/// finite ones of all half and bfloat16 numbers.
std::vector<float> tricky_magnitudes(const Ladder& ladder) {
  std::vector<float> result;
  const auto add = [&](double exact) {
    const float value = static_cast<float>(exact);
    for (const float x : {value, std::nextafter(value, 0.0f), std::nextafter(value, kInf)})
      if (std::isfinite(x)) result.push_back(x);
  };
  for (size_t i = 0; i < ladder.values.size(); ++i) {
    const double low = ladder.values[i], high = i + 1 < ladder.values.size() ? ladder.values[i + 1] : ladder.beyond();
    for (const double t : {0.0, 0.25, 0.5, 0.75, 1.0}) add(low + t * (high - low));
  }
  for (uint32_t code = 0; code < 0x7c00; ++code) result.push_back(f16_to_f32(static_cast<uint16_t>(code)));
  for (uint32_t code = 0; code < 0x7f80; ++code) result.push_back(bf16_to_f32(static_cast<uint16_t>(code)));
  result.push_back(std::numeric_limits<float>::max());
  return result;
}

/// The code that `rounding` gives a magnitude, by search; `beyond` for what rounds past the largest.
uint32_t searched_code(const Ladder& ladder, const ElementFormat& format, double x, Rounding rounding, uint32_t past) {
  const auto above = std::upper_bound(ladder.values.begin(), ladder.values.end(), x) - ladder.values.begin();
  if (above == 0) return ladder.codes[0];  // below the smallest of a format without 0
  const size_t low = static_cast<size_t>(above) - 1, count = ladder.values.size();
  const double low_value = ladder.values[low], high_value = low + 1 < count ? ladder.values[low + 1] : ladder.beyond();
  bool up = false;
  if (rounding != Rounding::TowardZero) {
    const double below = x - low_value, over = high_value - x;
    const bool tie_up = rounding == Rounding::HalfAway || format.kind == ElementKind::PowerOfTwo || low % 2 == 1;
    up = below > over || (below == over && tie_up);
  }
  if (low + (up ? 1 : 0) < count) return ladder.codes[low + (up ? 1 : 0)];
  return past;
}

std::vector<ElementFormat> float_formats() {
  std::vector<ElementFormat> formats;
  for (const ElementFormat& format : kElementFormats)
    if (format.is_float() && format.bits <= 16) formats.push_back(format);
  return formats;
}

bool equal_values(double a, double b) {
  return (std::isnan(a) && std::isnan(b)) || (a == b && std::signbit(a) == std::signbit(b));
}

TEST(ElementFormat, EveryCodeDecodesToItsDefinitionAndComesBack) {
  std::vector<ElementFormat> formats = float_formats();
  ASSERT_EQ(formats.size(), 7u);
  formats.push_back(kE8m0);
  for (const ElementFormat& format : formats)
    for (uint32_t code = 0; code < 1u << format.bits; ++code) {
      const double wanted = defined_value(format, code);
      const float value = decode(format, code);
      ASSERT_TRUE(equal_values(value, wanted)) << format.name << ' ' << code << ": " << value << " for " << wanted;
      const uint32_t back = encode(format, value, kNearest, 0, Overflow::Special);
      if (std::isnan(wanted))
        ASSERT_TRUE(std::isnan(decode(format, back))) << format.name << ' ' << code;
      else
        ASSERT_EQ(back, code) << format.name;
    }
}

TEST(ElementFormat, EveryDeterministicRoundingIsThatOfASearch) {
  std::vector<ElementFormat> formats = float_formats();
  formats.push_back(kE8m0);
  for (const ElementFormat& format : formats) {
    const Ladder ladder(format);
    const uint32_t sign_bit = format.kind == ElementKind::PowerOfTwo ? 0 : 1u << (format.bits - 1);
    for (const float x : tricky_magnitudes(ladder))
      for (const Rounding rounding : {kNearest, Rounding::HalfAway, Rounding::TowardZero})
        for (const Overflow overflow : {Overflow::Saturate, Overflow::Special}) {
          const bool special = overflow == Overflow::Special && format.specials != SpecialValues::None;
          const uint32_t past = ladder.codes.back() + (special && rounding != Rounding::TowardZero ? 1 : 0);
          const uint32_t wanted = searched_code(ladder, format, x, rounding, past);
          ASSERT_EQ(encode(format, x, rounding, 0, overflow), wanted)
              << format.name << ' ' << x << ' ' << to_string(rounding);
          if (sign_bit != 0) {
            ASSERT_EQ(encode(format, -x, rounding, 0, overflow), wanted | sign_bit) << format.name << ' ' << -x;
          }
        }
  }
}

TEST(ElementFormat, NearestIsMonotone) {
  std::vector<ElementFormat> formats = float_formats();
  for (const ElementFormat& format : kElementFormats)
    if (format.kind != ElementKind::Phase && !format.is_float()) formats.push_back(format);
  for (const ElementFormat& format : formats) {
    float previous = -kInf;
    for (int32_t code = 0xff7f; code != 0x7f80; code = code == 0x8000 ? 0 : code > 0x8000 ? code - 1 : code + 1) {
      const float x = bf16_to_f32(static_cast<uint16_t>(code));  // from the lowest to the largest finite one
      if (format.kind == ElementKind::PowerOfTwo && x < 0) continue;
      const float value = decode(format, encode(format, x));
      ASSERT_GE(value, previous) << format.name << ' ' << x;
      previous = value;
    }
    EXPECT_EQ(previous, largest_value(format)) << format.name;
  }
}

TEST(ElementFormat, HalfAndBfloatAgreeWithTheirConversionsOnRandomBits) {
  PhiloxStream random(11);
  for (int i = 0; i < 1 << 20; ++i) {
    const float x = std::bit_cast<float>(random());
    ASSERT_EQ(encode(kF16, x, kNearest, 0, Overflow::Special), f32_to_f16(x)) << x;
    ASSERT_EQ(encode(kBf16, x, kNearest, 0, Overflow::Special), f32_to_bf16(x)) << x;
    ASSERT_EQ(encode(kF32, x, kNearest, 0, Overflow::Special) | (std::isnan(x) ? 0x400000u : 0u),
              std::bit_cast<uint32_t>(x) | (std::isnan(x) ? 0x400000u : 0u));
  }
  for (uint32_t code = 0; code < 65536; ++code) {
    const auto bits = static_cast<uint16_t>(code);
    ASSERT_EQ(std::bit_cast<uint32_t>(decode(kF16, code)), std::bit_cast<uint32_t>(f16_to_f32(bits)));
    ASSERT_EQ(std::bit_cast<uint32_t>(decode(kBf16, code)), std::bit_cast<uint32_t>(bf16_to_f32(bits)));
  }
}

TEST(ElementFormat, SpecialValuesAreWhatTheContractSays) {
  const auto code = [](const ElementFormat& format, float x, Overflow overflow) {
    return encode(format, x, kNearest, 0, overflow);
  };
  for (const Overflow overflow : {Overflow::Saturate, Overflow::Special}) {
    const bool special = overflow == Overflow::Special;
    EXPECT_EQ(code(kE4m3, kInf, overflow), special ? 0x7fu : 0x7eu);
    EXPECT_EQ(code(kE4m3, -1e30f, overflow), special ? 0xffu : 0xfeu);
    EXPECT_EQ(code(kE4m3, kNan, overflow), 0x7fu);
    EXPECT_EQ(code(kE4m3, -kNan, overflow), 0xffu);
    EXPECT_EQ(code(kE5m2, kInf, overflow), special ? 0x7cu : 0x7bu);
    EXPECT_EQ(code(kE5m2, -1e30f, overflow), special ? 0xfcu : 0xfbu);
    EXPECT_TRUE(std::isnan(decode(kE5m2, code(kE5m2, kNan, overflow))));
    for (const ElementFormat& format : {kE3m2, kE2m3, kE2m1})
      for (const float x : {kInf, kNan, 1e30f}) {
        EXPECT_EQ(decode(format, code(format, x, overflow)), largest_value(format)) << format.name;
        if (!std::isnan(x)) {
          EXPECT_EQ(decode(format, code(format, -x, overflow)), -largest_value(format));
        }
      }
    EXPECT_EQ(decode(kInt8, code(kInt8, kInf, overflow)), 127);
    EXPECT_EQ(decode(kInt8, code(kInt8, -kInf, overflow)), -127);
    EXPECT_EQ(code(kInt8, kNan, overflow), 0u);
    EXPECT_EQ(decode(kNf4, code(kNf4, -kInf, overflow)), -1);
    EXPECT_EQ(decode(kNf4, code(kNf4, kNan, overflow)), 0);
    EXPECT_EQ(code(kE8m0, 0.0f, overflow), 0u);
    EXPECT_EQ(code(kE8m0, -0.0f, overflow), 0u);
    for (const float x : {kInf, -kInf, kNan, -1.0f, -0x1p-149f}) EXPECT_EQ(code(kE8m0, x, overflow), 255u) << x;
    EXPECT_EQ(code(kE8m0, 0x1.8p127f, overflow), special ? 255u : 254u);
  }
}

TEST(ElementFormat, NegativeZeroIsAnotherCodeOfTheSameValue) {
  EXPECT_EQ(encode(kE2m1, -0.0f), 0x8u);
  EXPECT_EQ(encode(kE2m1, -0.2f), 0x8u);
  EXPECT_EQ(encode(kE2m1, 0.2f), 0x0u);
  EXPECT_EQ(decode(kE2m1, 0x8), decode(kE2m1, 0x0));
  EXPECT_TRUE(std::signbit(decode(kE2m1, 0x8)));
}

TEST(ElementFormat, E2m1TiesGoToTheEvenMantissa) {
  const std::vector<std::pair<float, float>> ties = {{0.25f, 0}, {0.75f, 1}, {1.25f, 1}, {1.75f, 2},
                                                     {2.5f, 2},  {3.5f, 4},  {5, 4}};
  for (const auto& [tie, value] : ties) EXPECT_EQ(decode(kE2m1, encode(kE2m1, tie)), value) << tie;
}

TEST(ElementFormat, IntegersRoundAndClampForEveryRounding) {
  for (const ElementFormat& format : kElementFormats) {
    if (format.kind != ElementKind::Integer) continue;
    const int low = format.min_integer, high = format.max_integer;
    EXPECT_EQ(high - low + 1, (1 << format.bits) - (low < 0 && low == -high ? 1 : 0)) << format.name;
    for (int eighths = 8 * low - 20; eighths <= 8 * high + 20; ++eighths) {
      const double x = eighths / 8.0;
      const auto value = [&](Rounding rounding) {
        return decode(format, encode(format, static_cast<float>(x), rounding));
      };
      const auto clamped = [&](double rounded) { return std::clamp<double>(rounded, low, high); };
      ASSERT_EQ(value(kNearest), clamped(std::nearbyint(x))) << format.name << ' ' << x;
      ASSERT_EQ(value(Rounding::HalfAway), clamped(std::round(x))) << format.name << ' ' << x;
      ASSERT_EQ(value(Rounding::TowardZero), clamped(std::trunc(x))) << format.name << ' ' << x;
    }
    for (uint32_t code = 0; code < 1u << format.bits; ++code) {
      const int value = static_cast<int>(decode(format, code));
      EXPECT_EQ(static_cast<uint32_t>(value) & ((1u << format.bits) - 1), code) << "two's complement";
      if (value >= low) {
        EXPECT_EQ(encode(format, static_cast<float>(value)), code);
      }
    }
    EXPECT_EQ(decode(format, encode(format, 1e38f)), high);
    EXPECT_EQ(decode(format, encode(format, -1e38f)), low);
  }
  EXPECT_EQ(round_to_integer(16777217.0f, -(1 << 30), 1 << 30, kNearest), 16777216);
  EXPECT_EQ(round_to_integer(-0x1p29f, -(1 << 30), 1 << 30, kNearest), -(1 << 29));
}

// QLoRA's construction: evenly spaced probabilities from 1 - 0.9677083 to 1/2 and on to 0.9677083, 8 steps below and 7
// above, scaled to 1. The published values were made in f32, good to 1e-6 in probability.
TEST(ElementFormat, Nf4HoldsQuantilesOfTheNormalDistribution) {
  constexpr double kTop = 0.9677083;
  const auto probability = [](double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); };
  double scale = 1.8;
  for (int i = 0; i < 50; ++i)  // Newton on the quantile of kTop
    scale -= (probability(scale) - kTop) / (std::exp(-scale * scale / 2) / std::sqrt(2 * M_PI));
  for (int code = 0; code < 16; ++code) {
    const double steps = code < 7 ? (7.0 - code) / 7 * -1 : (code - 7.0) / 8;
    const double wanted = 0.5 + (kTop - 0.5) * steps;
    EXPECT_NEAR(probability(scale * decode(kNf4, static_cast<uint32_t>(code))), wanted, 1e-6) << code;
    EXPECT_EQ(encode(kNf4, decode(kNf4, static_cast<uint32_t>(code))), static_cast<uint32_t>(code));
  }
}

TEST(ElementFormat, BinaryMidriseAndTernaryCodes) {
  EXPECT_EQ(encode(kBinary, 0.0f), 0u) << "0 has the sign +";
  EXPECT_EQ(decode(kBinary, encode(kBinary, 0.01f)), 1);
  EXPECT_EQ(decode(kBinary, encode(kBinary, -7.0f)), -1);
  const ElementFormat& midrise = find_element_format("int2_midrise");
  EXPECT_EQ(decode(midrise, encode(midrise, 0.1f)), 0.25f);
  EXPECT_EQ(decode(midrise, encode(midrise, -0.6f)), -0.75f);
  EXPECT_EQ(encode(kTernary, -0.51f), 3u);
  EXPECT_EQ(decode(kTernary, 3), -1);
  EXPECT_EQ(encode(kTernary, 0.5f), 0u);
  EXPECT_EQ(encode(kTernary, 0.5f, Rounding::HalfAway), 1u);
}

TEST(ElementFormat, PhasesAreQuarterTurnsWithTheirLowerEdge) {
  const auto phase = [](float re, float im) {
    const float pair[] = {re, im};
    return encode_vector(kComplex, pair);
  };
  for (int degree = 0; degree < 360; ++degree) {
    const double angle = degree * M_PI / 180;
    if (degree % 90 == 45) continue;  // sine and cosine are not exact there
    EXPECT_EQ(phase(static_cast<float>(std::cos(angle)), static_cast<float>(std::sin(angle))),
              static_cast<uint32_t>((degree + 45) / 90 % 4))
        << degree;
  }
  EXPECT_EQ(phase(1, 1), 1u);
  EXPECT_EQ(phase(-1, 1), 2u);
  EXPECT_EQ(phase(-1, -1), 3u);
  EXPECT_EQ(phase(1, -1), 0u);
  EXPECT_EQ(phase(0, 0), 0u);
  EXPECT_EQ(phase(-0.0f, 0), 0u);
  for (uint32_t code = 0; code < 4; ++code) {
    EXPECT_EQ(decode(kComplex, code, 0), (code == 0) - (code == 2)) << "real part of i^c";
    EXPECT_EQ(decode(kComplex, code, 1), (code == 1) - (code == 3));
  }
}

TEST(ElementFormat, FactsMatchThePublishedTable) {
  struct Row {
    const char* name;
    double largest, normal, smallest;
  };
  for (const Row& row : {Row{"e4m3", 448, 0x1p-6, 0x1p-9},
                         {"e5m2", 57344, 0x1p-14, 0x1p-16},
                         {"e2m1", 6, 1, 0.5},
                         {"e2m3", 7.5, 1, 0.125},
                         {"e3m2", 28, 0.25, 0.0625},
                         {"f16", 65504, 0x1p-14, 0x1p-24},
                         {"bf16", 0x1.fep127, 0x1p-126, 0x1p-133},
                         {"e8m0", 0x1p127, 0x1p-127, 0x1p-127}}) {
    const ElementFormat& format = find_element_format(row.name);
    EXPECT_EQ(largest_value(format), row.largest) << row.name;
    EXPECT_EQ(smallest_normal(format), row.normal) << row.name;
    EXPECT_EQ(smallest_positive(format), row.smallest) << row.name;
  }
  EXPECT_EQ(symmetric_limit(find_element_format("int4_full")), 7) << "what both signs reach";
  EXPECT_EQ(lowest_value(find_element_format("int4_full")), -8);
  EXPECT_EQ(symmetric_limit(kUint4), 15);
}

TEST(ElementFormat, LookupNamesEveryFormatOnceAndRejectsOthers) {
  for (const ElementFormat& format : kElementFormats) EXPECT_STREQ(find_element_format(format.name).name, format.name);
  EXPECT_EQ(lookup_element_format("e3m4"), nullptr);
  try {
    find_element_format("e3m4");
    FAIL() << "an unknown format must throw";
  } catch (const InvalidArgument& error) {
    EXPECT_THAT(error.what(),
                testing::AllOf(testing::HasSubstr("e3m4"), testing::HasSubstr("e4m3"), testing::HasSubstr("nf4")));
  }
}

TEST(ElementArray, CodesOfEveryWidthPackDenselyAndComeBack) {
  PhiloxStream random(3);
  for (int bits = 1; bits <= 32; ++bits)
    for (const size_t count : {size_t{0}, size_t{1}, size_t{7}, size_t{32}, size_t{65}}) {
      std::vector<uint32_t> codes(count), back(count, 0xdeadbeefu);
      for (uint32_t& code : codes) code = bits == 32 ? random() : random() & ((1u << bits) - 1);
      std::vector<uint8_t> packed(static_cast<size_t>(packed_bytes(bits, static_cast<int64_t>(count))), 0xa5);
      pack_bits(bits, codes, packed);
      unpack_bits(bits, packed, back);
      ASSERT_EQ(back, codes) << bits;
    }
  std::vector<uint8_t> bytes(3);
  pack_bits(6, std::vector<uint32_t>{0x01, 0x02, 0x03, 0x3f}, bytes);
  EXPECT_EQ(bytes, (std::vector<uint8_t>{0x81, 0x30, 0xfc}));
  pack_bits(4, std::vector<uint32_t>{0x1, 0x2, 0x3, 0x4, 0xf}, bytes);
  EXPECT_EQ(bytes, (std::vector<uint8_t>{0x21, 0x43, 0x0f})) << "low nibble first";
  EXPECT_THROW(pack_bits(4, std::vector<uint32_t>(3), bytes), InvalidArgument);
  EXPECT_THROW(pack_bits(0, std::vector<uint32_t>(3), bytes), InvalidArgument);
}

TEST(ElementArray, ArraysAreTheirElements) {
  const std::vector<float> values = {0.3f, -0.9f, 2.0f, -0.1f};
  std::vector<uint32_t> codes(4, 99);
  encode_into(kE2m3, values, codes);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(codes[i], encode(kE2m3, values[i]));
  std::vector<uint32_t> phases(2, 99);
  encode_into(kComplex, values, phases);
  EXPECT_EQ(phases, (std::vector<uint32_t>{3, 0}));
  std::vector<float> back(4, -99);
  decode_into(kComplex, phases, back);
  EXPECT_EQ(back, (std::vector<float>{0, -1, 1, 0}));
  EXPECT_THROW(encode_into(kComplex, values, codes), InvalidArgument);
  EXPECT_THROW(encode_into(kComplex, values, phases, RoundingSource(Rounding::Stochastic)), Unsupported);
}

}  // namespace
}  // namespace halftone
