// Names of the element types that storages and kernels know, and their exact sizes. The contract of each layout:
//
//   Float32, Float16, BFloat16   [N, K] row-major, IEEE or bfloat16, little-endian
//   Int8    [N, K] bytes, two's complement; value = code * scale, and where zero points are stored (unsigned, 0..255)
//           value = (code + 128 - zero) * scale
//   Int4    [N, ceil(K/64)*32] bytes. A chunk of 64 elements takes 32 bytes: byte j of chunk c holds element
//           64c+j in its low nibble and element 64c+32+j in its high nibble. Codes are unsigned 0..15;
//           value = (code - zero) * scale, with zero = 8 where no zero points are stored (symmetric).
//   Int2    [N, ceil(K/64)*16] bytes. Byte j of chunk c holds elements 64c+16i+j, i = 0..3, in bits 2i and 2i+1.
//           Codes are unsigned 0..3; zero = 2 where no zero points are stored.
//   Int3    [N, ceil(K/64)*24] bytes. The low two bits of a chunk's codes as 16 bytes of Int2, then 8 bytes of their
//           high bits: byte j has those of elements 64c+8j+i, i = 0..7, in bit i. Codes are unsigned 0..7; zero = 4
//           where no zero points are stored.
//   Elements past K in the last chunk hold the code 0 and are never read as values.
//   Ternary [N, ceil(K/5)] bytes: byte j is c0 + 3 c1 + 9 c2 + 27 c3 + 81 c4 of the codes of elements 5j .. 5j+4 (0
//   past
//           K): 0..242, 1.6 bits a weight. Codes are 0, 1, 2; value = (code - 1) * scale.
#pragma once

#include <cstdint>
#include <string_view>

namespace halftone {

enum class ElementType : uint8_t { Float32, Float16, BFloat16, Int8, Int4, Int3, Int2, Ternary };

/// "f32", "f16", "bf16", "int8", "int4", "int3", "int2", "ternary".
std::string_view to_string(ElementType type);
/// Inverse of to_string; throws InvalidArgument naming the accepted values.
ElementType parse_element_type(std::string_view name);

/// Bits of one code by itself: 2 for Ternary, whose rows take 1.6 (row_bytes).
constexpr int bits_of(ElementType type) {
  switch (type) {
    case ElementType::Float32:
      return 32;
    case ElementType::Float16:
    case ElementType::BFloat16:
      return 16;
    case ElementType::Int8:
      return 8;
    case ElementType::Int4:
      return 4;
    case ElementType::Int3:
      return 3;
    case ElementType::Int2:
    case ElementType::Ternary:
      return 2;
  }
  return 0;
}

/// Elements along K that share an f16 scale above their groups' integer scales: the super-blocks of GGUF's k-quants.
inline constexpr int64_t kSuperGroup = 256;

/// Elements in a chunk of the sub-byte layouts.
inline constexpr int64_t kChunk = 64;

/// Ternary codes in a byte: 3^5 = 243.
inline constexpr int64_t kTritsPerByte = 5;

/// Bytes of one row of K elements, padding of the last chunk included.
constexpr int64_t row_bytes(ElementType type, int64_t k) {
  if (type == ElementType::Ternary) return (k + kTritsPerByte - 1) / kTritsPerByte;
  if (bits_of(type) >= 8) return k * bits_of(type) / 8;
  return (k + kChunk - 1) / kChunk * (kChunk * bits_of(type) / 8);
}

/// Zero code of a symmetric integer type in its stored form (Int8 is signed: 0).
constexpr int symmetric_zero(ElementType type) {
  if (type == ElementType::Ternary) return 1;
  return bits_of(type) < 8 ? 1 << (bits_of(type) - 1) : 0;
}
/// Largest stored code of an integer type with unsigned codes.
constexpr int top_code(ElementType type) { return type == ElementType::Ternary ? 2 : (1 << bits_of(type)) - 1; }

}  // namespace halftone
