#include "numerics/half.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "numerics/formats.h"

namespace halftone {
namespace {

/// The value of a small float format, from its definition.
double value_of(uint32_t bits, int exponent_bits, int mantissa_bits) {
  const double sign = bits >> (exponent_bits + mantissa_bits) & 1u ? -1.0 : 1.0;
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = static_cast<int>(bits >> mantissa_bits & ((1u << exponent_bits) - 1));
  const double mantissa = std::ldexp(static_cast<double>(bits & ((1u << mantissa_bits) - 1)), -mantissa_bits);
  if (exponent == (1 << exponent_bits) - 1) {
    return mantissa == 0 ? sign * std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN();
  }
  return exponent == 0 ? sign * std::ldexp(mantissa, 1 - bias) : sign * std::ldexp(1 + mantissa, exponent - bias);
}

uint32_t bits_of_float(float value) { return std::bit_cast<uint32_t>(value); }

struct Format {
  const char* name;
  int exponent_bits, mantissa_bits;
  float (*widen)(uint16_t);
  uint16_t (*narrow)(float);
};
const Format kFormats[] = {{"f16", 5, 10, f16_to_f32, f32_to_f16}, {"bf16", 8, 7, bf16_to_f32, f32_to_bf16}};

TEST(Half, EveryCodeWidensToItsDefinitionAndComesBack) {
  for (const Format& format : kFormats) {
    for (uint32_t code = 0; code < 65536; ++code) {
      const double wanted = value_of(code, format.exponent_bits, format.mantissa_bits);
      const float value = format.widen(static_cast<uint16_t>(code));
      const uint16_t back = format.narrow(value);
      if (std::isnan(wanted)) {
        ASSERT_TRUE(std::isnan(value)) << format.name << ' ' << code;
        const uint32_t quiet = 1u << (format.mantissa_bits - 1);
        ASSERT_EQ(back, code | quiet) << format.name;  // quiet, same sign and payload
        ASSERT_NE(bits_of_float(value) & 0x400000u, 0u);
      } else {
        ASSERT_EQ(value, wanted) << format.name << ' ' << code;
        ASSERT_EQ(std::signbit(value), std::signbit(wanted)) << format.name << ' ' << code;
        ASSERT_EQ(back, code) << format.name;
      }
    }
  }
}

// Between each pair of neighbouring codes: the midpoint goes to the even one, one ulp either side to the nearer one.
// The neighbour of the largest finite code is infinity, at the value the next exponent would have.
TEST(Half, RoundsToNearestTiesToEvenAtEveryBoundary) {
  for (const Format& format : kFormats) {
    const uint32_t infinity = ((1u << format.exponent_bits) - 1) << format.mantissa_bits;
    for (uint32_t code = 0; code < infinity; ++code) {
      const double low = value_of(code, format.exponent_bits, format.mantissa_bits);
      const double previous = code > 0 ? value_of(code - 1, format.exponent_bits, format.mantissa_bits) : 0;
      const double high =
          code + 1 < infinity ? value_of(code + 1, format.exponent_bits, format.mantissa_bits) : low + (low - previous);
      const float middle = static_cast<float>((low + high) / 2);
      ASSERT_EQ(middle, (low + high) / 2) << "midpoints of narrow formats are f32 numbers";
      const uint32_t even = code % 2 == 0 ? code : code + 1;
      for (uint32_t sign : {0u, 0x8000u}) {
        const float s = sign != 0 ? -1.0f : 1.0f;
        ASSERT_EQ(format.narrow(s * middle), sign | even) << format.name << ' ' << code;
        ASSERT_EQ(format.narrow(s * std::nextafter(middle, 0.0f)), sign | code) << format.name << ' ' << code;
        ASSERT_EQ(format.narrow(s * std::nextafter(middle, INFINITY)), sign | (code + 1)) << format.name << ' ' << code;
      }
    }
    EXPECT_EQ(format.narrow(INFINITY), infinity);
    EXPECT_EQ(format.narrow(-INFINITY), 0x8000u | infinity);
    EXPECT_EQ(format.narrow(std::numeric_limits<float>::max()), infinity);
  }
}

TEST(Half, NansStayQuietNansEvenWithALowPayload) {
  const float signalling = std::bit_cast<float>(0x7f800001u);  // its payload is below both narrow mantissas
  EXPECT_EQ(f32_to_f16(signalling), 0x7e00u);
  EXPECT_EQ(f32_to_bf16(signalling), 0x7fc0u);
  EXPECT_EQ(f32_to_f16(std::bit_cast<float>(0xffffffffu)), 0xffffu);
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0xffffffffu)), 0xffffu);  // rounding must not carry into the sign
}

TEST(Half, WorksInConstantExpressions) {
  static_assert(f32_to_f16(1.0f) == 0x3c00u);
  static_assert(f16_to_f32(0x0001u) == 0x1p-24f);
  static_assert(f32_to_bf16(1.0f) == 0x3f80u);
  static_assert(bf16_to_f32(0xc000u) == -2.0f);
}

TEST(Formats, NamesRoundTripAndUnknownOnesAreErrors) {
  for (ElementType type : {ElementType::Float32, ElementType::Float16, ElementType::BFloat16, ElementType::Int8,
                           ElementType::Int4, ElementType::Int3, ElementType::Int2}) {
    EXPECT_EQ(parse_element_type(to_string(type)), type);
  }
  EXPECT_THROW(parse_element_type("int5"), InvalidArgument);
}

TEST(Formats, RowBytesRoundUpToWholeChunks) {
  EXPECT_EQ(row_bytes(ElementType::Float32, 3), 12);
  EXPECT_EQ(row_bytes(ElementType::Int8, 65), 65);
  EXPECT_EQ(row_bytes(ElementType::Int4, 64), 32);
  EXPECT_EQ(row_bytes(ElementType::Int4, 65), 64);
  EXPECT_EQ(row_bytes(ElementType::Int2, 1), 16);
}

}  // namespace
}  // namespace halftone
