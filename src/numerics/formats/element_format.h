// Element formats: what a code of a few bits is worth, as a table that every storage, oracle and kernel reads.
// FP8 as in "FP8 Formats for Deep Learning" (arXiv:2209.05433), FP6, FP4 and E8M0 as in OCP Microscaling 1.0, NF4 as in
// QLoRA (arXiv:2305.14314, appendix E), complex codes as in Fairy2i's phase quantisation (PhaseQuant).
//
// Contract. A code lies in the low `bits` bits; higher bits are 0.
//
//   name                bits s e m  bias   largest     normal     subnormal  specials
//   f32                  32  1 8 23  127   3.4028e38   2^-126     2^-149     IEEE infinities and NaNs
//   f16                  16  1 5 10   15   65504       2^-14      2^-24      IEEE
//   bf16                 16  1 8  7  127   3.3895e38   2^-126     2^-133     IEEE
//   e4m3 (OCP "fn")       8  1 4  3    7   448         2^-6       2^-9       NaN = S.1111.111, no infinity
//   e5m2                  8  1 5  2   15   57344       2^-14      2^-16      IEEE: infinity = S.11111.00
//   e3m2                  6  1 3  2    3   28          2^-2       2^-4       none
//   e2m3                  6  1 2  3    1   7.5         1          2^-3       none
//   e2m1                  4  1 2  1    1   6           1          0.5        none: 0 .5 1 1.5 2 3 4 6, bit 3 the sign
//   e8m0                  8  0 8  0  127   2^127       2^-127     -          NaN = 0xff; no zero, no sign (a scale)
//   int8 .. int2         8-2   two's complement, symmetric: -(2^(b-1)-1) .. 2^(b-1)-1; the lowest code is not produced
//   int8_full .. int2_full     two's complement, all codes: -2^(b-1) .. 2^(b-1)-1
//   uint8 .. uint2             0 .. 2^b-1, for codes with a zero point: value = (code - zero) * scale
//   ternary               2    two's complement -1, 0, 1; code 2 is not produced
//   binary                1    0 -> 1, 1 -> -1 (the sign bit)
//   int2_midrise          2    code c -> (2c - 3) / 4
//   nf4                   4    quantiles of a normal distribution in [-1, 1], 0 exact, ascending
//   complex               2    two numbers a code: i^c = (1,0), (0,1), (-1,0), (0,-1)
//
// Float layout: sign in the top bit, then exponent, then mantissa; exponent 0 is zero and subnormals. -0 is a code of
// its own wherever there is a sign: compare values, not codes.
//
// Narrowing rounds as if the exponent had no upper end; what then exceeds the largest value is
//   Overflow::Saturate   the largest value, for infinities too (FP8: the "satfinite" of CUDA's conversions)
//   Overflow::Special    the infinity, or NaN where there is only NaN; toward-zero stops at the largest finite value,
//                        as IEEE has it; formats without specials, integers and codebooks saturate still
// NaN stays NaN, quiet, with its sign and the payload's leading bits. Without NaN in the format it becomes the largest
// value (as CUDA's FP6 and FP4 conversions have it), or for integers and codebooks what 0 becomes.
// e8m0: zero and what is too small become 2^-127; negative numbers, infinities and NaN become NaN; values between two
// powers round on a linear scale, ties up. Codebooks: a tie goes to the even code of the two (the lower one if both
// are); complex: sectors of a quarter turn, half-open at their lower edge (Fairy2i), and only to the nearest.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace halftone {

enum class ElementKind : uint8_t { Float, PowerOfTwo, Integer, Codebook, Phase };
enum class SpecialValues : uint8_t { None, NanOnly, InfinityAndNan };
enum class Overflow : uint8_t { Saturate, Special };

/// A value type. Plain data: kernels take it by value; `codebook` must be readable where the code runs.
struct ElementFormat {
  const char* name = "";
  ElementKind kind = ElementKind::Float;
  uint8_t bits = 0;  ///< of a code
  uint8_t exponent_bits = 0;
  uint8_t mantissa_bits = 0;
  SpecialValues specials = SpecialValues::None;
  int16_t bias = 0;
  int16_t dimension = 1;    ///< numbers that one code stands for
  int32_t min_integer = 0;  ///< Integer: range of the values that encoding produces
  int32_t max_integer = 0;
  const float* codebook = nullptr;  ///< [codebook_size, dimension] values
  uint32_t codebook_size = 0;

  constexpr bool is_float() const { return kind == ElementKind::Float; }
  constexpr bool is_unsigned_integer() const { return kind == ElementKind::Integer && min_integer >= 0; }
  constexpr double bits_per_element() const { return static_cast<double>(bits) / dimension; }
};

constexpr ElementFormat float_format(const char* name, int exponent, int mantissa, int bias, SpecialValues specials) {
  return {.name = name,
          .kind = ElementKind::Float,
          .bits = static_cast<uint8_t>(1 + exponent + mantissa),
          .exponent_bits = static_cast<uint8_t>(exponent),
          .mantissa_bits = static_cast<uint8_t>(mantissa),
          .specials = specials,
          .bias = static_cast<int16_t>(bias)};
}

constexpr ElementFormat integer_format(const char* name, int bits, int32_t low, int32_t high) {
  return {.name = name,
          .kind = ElementKind::Integer,
          .bits = static_cast<uint8_t>(bits),
          .min_integer = low,
          .max_integer = high};
}

/// A codebook that the caller keeps: `values` holds size * dimension numbers (codebook.h checks and owns one).
constexpr ElementFormat codebook_format(const char* name, int bits, std::span<const float> values, int dimension = 1) {
  return {.name = name,
          .kind = ElementKind::Codebook,
          .bits = static_cast<uint8_t>(bits),
          .dimension = static_cast<int16_t>(dimension),
          .codebook = values.data(),
          .codebook_size = static_cast<uint32_t>(values.size() / static_cast<size_t>(dimension))};
}

inline constexpr std::array<float, 16> kNf4Values = {-1.0f,
                                                     -0.6961928009986877f,
                                                     -0.5250730514526367f,
                                                     -0.39491748809814453f,
                                                     -0.28444138169288635f,
                                                     -0.18477343022823334f,
                                                     -0.09105003625154495f,
                                                     0.0f,
                                                     0.07958029955625534f,
                                                     0.16093020141124725f,
                                                     0.24611230194568634f,
                                                     0.33791524171829224f,
                                                     0.44070982933044434f,
                                                     0.5626170039176941f,
                                                     0.7229568362236023f,
                                                     1.0f};
inline constexpr std::array<float, 2> kBinaryValues = {1, -1};
inline constexpr std::array<float, 4> kMidriseValues = {-0.75f, -0.25f, 0.25f, 0.75f};

inline constexpr ElementFormat kF32 = float_format("f32", 8, 23, 127, SpecialValues::InfinityAndNan);
inline constexpr ElementFormat kF16 = float_format("f16", 5, 10, 15, SpecialValues::InfinityAndNan);
inline constexpr ElementFormat kBf16 = float_format("bf16", 8, 7, 127, SpecialValues::InfinityAndNan);
inline constexpr ElementFormat kE4m3 = float_format("e4m3", 4, 3, 7, SpecialValues::NanOnly);
inline constexpr ElementFormat kE5m2 = float_format("e5m2", 5, 2, 15, SpecialValues::InfinityAndNan);
inline constexpr ElementFormat kE3m2 = float_format("e3m2", 3, 2, 3, SpecialValues::None);
inline constexpr ElementFormat kE2m3 = float_format("e2m3", 2, 3, 1, SpecialValues::None);
inline constexpr ElementFormat kE2m1 = float_format("e2m1", 2, 1, 1, SpecialValues::None);
inline constexpr ElementFormat kE8m0 = {.name = "e8m0",
                                        .kind = ElementKind::PowerOfTwo,
                                        .bits = 8,
                                        .exponent_bits = 8,
                                        .specials = SpecialValues::NanOnly,
                                        .bias = 127};
inline constexpr ElementFormat kInt8 = integer_format("int8", 8, -127, 127);
inline constexpr ElementFormat kInt4 = integer_format("int4", 4, -7, 7);
inline constexpr ElementFormat kUint8 = integer_format("uint8", 8, 0, 255);
inline constexpr ElementFormat kUint4 = integer_format("uint4", 4, 0, 15);
inline constexpr ElementFormat kTernary = integer_format("ternary", 2, -1, 1);
inline constexpr ElementFormat kBinary = codebook_format("binary", 1, kBinaryValues);
inline constexpr ElementFormat kNf4 = codebook_format("nf4", 4, kNf4Values);
inline constexpr ElementFormat kComplex = {.name = "complex", .kind = ElementKind::Phase, .bits = 2, .dimension = 2};

inline constexpr auto kElementFormats = std::to_array<ElementFormat>({
    kF32,
    kF16,
    kBf16,
    kE4m3,
    kE5m2,
    kE3m2,
    kE2m3,
    kE2m1,
    kE8m0,
    kInt8,
    integer_format("int6", 6, -31, 31),
    integer_format("int5", 5, -15, 15),
    kInt4,
    integer_format("int3", 3, -3, 3),
    integer_format("int2", 2, -1, 1),
    integer_format("int8_full", 8, -128, 127),
    integer_format("int6_full", 6, -32, 31),
    integer_format("int5_full", 5, -16, 15),
    integer_format("int4_full", 4, -8, 7),
    integer_format("int3_full", 3, -4, 3),
    integer_format("int2_full", 2, -2, 1),
    kUint8,
    integer_format("uint6", 6, 0, 63),
    integer_format("uint5", 5, 0, 31),
    kUint4,
    integer_format("uint3", 3, 0, 7),
    integer_format("uint2", 2, 0, 3),
    kTernary,
    kBinary,
    codebook_format("int2_midrise", 2, kMidriseValues),
    kNf4,
    kComplex,
});

/// The format of that name, or nullptr.
const ElementFormat* lookup_element_format(std::string_view name);
/// The same; throws InvalidArgument naming every format.
const ElementFormat& find_element_format(std::string_view name);

}  // namespace halftone
