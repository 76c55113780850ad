// One row at a time between the two layouts; see interleaved.h.
#include "numerics/interleaved.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <type_traits>
#include <vector>

#include "base/error.h"
#include "numerics/packing.h"

namespace halftone {
namespace {

constexpr int64_t kLine = 64;

/// A part of every code, which a unit holds in lines of its own.
struct Plane {
  int bits;       ///< of a code
  int from;       ///< the lowest of them
  int64_t begin;  ///< bytes of the unit before its lines
};

std::span<const Plane> planes_of(ElementType type) {
  static constexpr Plane kBytes[] = {{8, 0, 0}}, kNibbles[] = {{4, 0, 0}};
  static constexpr Plane kThree[] = {{2, 0, 0}, {1, 2, 2 * kLine}};
  switch (type) {
    case ElementType::Int8:
      return kBytes;
    case ElementType::Int4:
      return kNibbles;
    case ElementType::Int3:
      return kThree;
    case ElementType::Int2:
      return {kThree, 1};
    default:
      throw InvalidArgument("interleaved weights are int8, int4, int3, int2 or ternary; {} is not quantised",
                            to_string(type));
  }
}

/// Where an element of a row lies inside a unit: byte relative to the row's first, and bit shift. A plane of n bits has
/// n lines, and fours of elements fill the lowest bits of them all first.
struct Place {
  int64_t byte;
  int shift;
};

Place place(const Plane& plane, int64_t element) {
  const int64_t four = element / 4;
  return {plane.begin + four % plane.bits * kLine + element % 4, static_cast<int>(four / plane.bits) * plane.bits};
}

uint32_t load_four(const uint8_t* from) {
  uint32_t four;
  std::memcpy(&four, from, sizeof four);
  return four;
}

void store_four(uint8_t* to, uint32_t four) { std::memcpy(to, &four, sizeof four); }

/// Calls body(std::integral_constant<int, plane.bits>).
template <class Body>
void with_bits(const Plane& plane, const Body& body) {
  switch (plane.bits) {
    case 8:
      return body(std::integral_constant<int, 8>());
    case 4:
      return body(std::integral_constant<int, 4>());
    case 2:
      return body(std::integral_constant<int, 2>());
    default:
      return body(std::integral_constant<int, 1>());
  }
}

/// The lowest bits of each byte of a four.
template <int kBits>
constexpr uint32_t kLowBits = ((1u << kBits) - 1) * 0x01010101u;

/// A unit's codes into its row, all bytes of it: four codes at a time.
void write_unit(const Plane& plane, const uint8_t* codes, uint8_t* row) {
  with_bits(plane, [&](auto bits) {
    for (int64_t line = 0; line < bits; ++line) {
      uint32_t four = 0;
      for (int shift = 0; shift < 8; shift += bits)
        four |= (load_four(codes + 4 * (shift + line)) >> plane.from & kLowBits<bits>) << shift;
      store_four(row + plane.begin + line * kLine, four);
    }
  });
}

/// The inverse, added to codes whose bits of the plane are 0.
void read_unit(const Plane& plane, const uint8_t* row, uint8_t* codes) {
  with_bits(plane, [&](auto bits) {
    for (int64_t line = 0; line < bits; ++line) {
      const uint32_t four = load_four(row + plane.begin + line * kLine);
      for (int shift = 0; shift < 8; shift += bits) {
        uint8_t* to = codes + 4 * (shift + line);
        store_four(to, load_four(to) | (four >> shift & kLowBits<bits>) << plane.from);
      }
    }
  });
}

/// Byte 0 of row n in the first line of unit u.
int64_t unit_offset(ElementType type, int64_t n, int64_t unit, int64_t units) {
  return (n / kTileRows * units + unit) * unit_bytes(type) + n % kTileRows * 4;
}

/// A ternary code's place in a block of kTernaryUnits: one of 8 numbers of five bits a byte, and its digit there.
struct Trit {
  int64_t number, digit;
};

Trit trit_of(int64_t unit, int64_t quad) {
  const int64_t part = unit % kTernaryUnits;
  if (quad < 3) return {part, quad};
  if (quad < 6) return {5 + part, quad - 3};
  return {quad - 3, part};
}

constexpr int kPowersOfThree[] = {1, 3, 9};

/// Number 0..4 are the low bits of lines, number 5 + p the bits above them; `byte` is a row's in the first line.
int read_number(const uint8_t* byte, int64_t number) {
  if (number < 5) return byte[number * kLine] & 31;
  const int64_t p = number - 5;
  return byte[p * kLine] >> 5 | (byte[3 * kLine] >> (5 + p) & 1) << 3 | (byte[4 * kLine] >> (5 + p) & 1) << 4;
}

/// The bits must be 0 before.
void write_number(uint8_t* byte, int64_t number, int value) {
  const auto put = [byte](int64_t line, int bits) {
    byte[line * kLine] = static_cast<uint8_t>(byte[line * kLine] | bits);
  };
  if (number < 5) return put(number, value);
  const int64_t p = number - 5;
  put(p, (value & 7) << 5);
  put(3, (value >> 3 & 1) << (5 + p));
  put(4, (value >> 4 & 1) << (5 + p));
}

/// Byte 0 of row n in the first line of the block that holds `unit`.
int64_t ternary_offset(int64_t n, int64_t unit, int64_t units) {
  return n / kTileRows * tile_bytes(ElementType::Ternary, units) + unit / kTernaryUnits * kTernaryBlockBytes +
         n % kTileRows * 4;
}

void interleave_ternary(int64_t n, int64_t k, const uint8_t* rows, uint8_t* interleaved) {
  const int64_t units = units_of(k), block = kTernaryUnits * kUnitLength;
  std::fill_n(interleaved, interleaved_bytes(ElementType::Ternary, n, k), uint8_t{0});
  std::vector<uint8_t> codes(static_cast<size_t>(k));
  for (int64_t row = 0; row < n; ++row) {
    unpack_codes(ElementType::Ternary, rows + row * row_bytes(ElementType::Ternary, k), codes);
    for (int64_t begin = 0; begin < k; begin += block) {
      int numbers[4][8] = {};
      for (int64_t e = begin; e < std::min(k, begin + block); ++e) {
        const Trit at = trit_of(e / kUnitLength, e % kUnitLength / 4);
        numbers[e % 4][at.number] += codes[static_cast<size_t>(e)] * kPowersOfThree[at.digit];
      }
      uint8_t* first = interleaved + ternary_offset(row, begin / kUnitLength, units);
      for (int64_t i = 0; i < 4; ++i)
        for (int64_t number = 0; number < 8; ++number) write_number(first + i, number, numbers[i][number]);
    }
  }
}

int ternary_code(int64_t k_total, const uint8_t* interleaved, int64_t n, int64_t k) {
  const int64_t unit = k / kUnitLength;
  const Trit at = trit_of(unit, k % kUnitLength / 4);
  const uint8_t* byte = interleaved + ternary_offset(n, unit, units_of(k_total)) + k % 4;
  return read_number(byte, at.number) / kPowersOfThree[at.digit] % 3;
}

}  // namespace

void interleave(ElementType type, int64_t n, int64_t k, const uint8_t* rows, uint8_t* interleaved) {
  if (type == ElementType::Ternary) return interleave_ternary(n, k, rows, interleaved);
  const int64_t units = units_of(k);
  std::fill(interleaved + n / kTileRows * tile_bytes(type, units), interleaved + interleaved_bytes(type, n, k),
            uint8_t{0});  // rows past n; all others are written whole
  const std::span<const Plane> planes = planes_of(type);
  const uint8_t offset = type == ElementType::Int8 ? 128 : 0;
  std::vector<uint8_t> codes(static_cast<size_t>(units * kUnitLength));
  for (int64_t row = 0; row < n; ++row) {
    const auto present = std::span(codes).first(static_cast<size_t>(k));
    unpack_codes(type, rows + row * row_bytes(type, k), present);
    for (uint8_t& code : present) code = static_cast<uint8_t>(code + offset);
    for (const Plane& plane : planes)
      for (int64_t u = 0; u < units; ++u)
        write_unit(plane, codes.data() + u * kUnitLength, interleaved + unit_offset(type, row, u, units));
  }
}

void deinterleave_row(ElementType type, int64_t n, int64_t k, const uint8_t* interleaved, uint8_t* row) {
  const int64_t units = units_of(k);
  std::vector<uint8_t> codes(static_cast<size_t>(units * kUnitLength));
  if (type == ElementType::Ternary) {
    for (int64_t i = 0; i < k; ++i)
      codes[static_cast<size_t>(i)] = static_cast<uint8_t>(ternary_code(k, interleaved, n, i));
  } else {
    for (const Plane& plane : planes_of(type))
      for (int64_t u = 0; u < units; ++u)
        read_unit(plane, interleaved + unit_offset(type, n, u, units), codes.data() + u * kUnitLength);
  }
  if (type == ElementType::Int8)
    for (uint8_t& code : codes) code = static_cast<uint8_t>(code - 128);
  pack_codes(type, std::span(codes).first(static_cast<size_t>(k)), row);
}

void deinterleave(ElementType type, int64_t n, int64_t k, const uint8_t* interleaved, uint8_t* rows) {
  for (int64_t row = 0; row < n; ++row) deinterleave_row(type, row, k, interleaved, rows + row * row_bytes(type, k));
}

int interleaved_code(ElementType type, int64_t k_total, const uint8_t* interleaved, int64_t n, int64_t k) {
  if (type == ElementType::Ternary) return ternary_code(k_total, interleaved, n, k);
  const uint8_t* first = interleaved + unit_offset(type, n, k / kUnitLength, units_of(k_total));
  int code = 0;
  for (const Plane& plane : planes_of(type)) {
    const Place at = place(plane, k % kUnitLength);
    code |= (first[at.byte] >> at.shift & ((1 << plane.bits) - 1)) << plane.from;
  }
  return code;
}

}  // namespace halftone
