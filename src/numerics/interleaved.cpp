// One row at a time between the two layouts; see interleaved.h.
#include "numerics/interleaved.h"

#include <algorithm>
#include <span>
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

/// Calls body(code, byte, shift) for every element: code is a reference into the row's codes.
template <class Bytes, class Body>
void walk_row(ElementType type, const Plane& plane, int64_t n, int64_t k, Bytes* interleaved, std::span<uint8_t> codes,
              Body body) {
  Bytes* first = interleaved + n / kTileRows * units_of(k) * unit_bytes(type) + n % kTileRows * 4;
  Place places[kUnitLength];
  for (int64_t e = 0; e < kUnitLength; ++e) places[e] = place(plane, e);
  for (int64_t u = 0; u < units_of(k); ++u, first += unit_bytes(type)) {
    const int64_t count = std::min(kUnitLength, k - u * kUnitLength);
    for (int64_t e = 0; e < count; ++e) body(codes[u * kUnitLength + e], first[places[e].byte], places[e].shift);
  }
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
  std::fill_n(interleaved, interleaved_bytes(type, n, k), uint8_t{0});
  if (type == ElementType::Ternary) return interleave_ternary(n, k, rows, interleaved);
  const std::span<const Plane> planes = planes_of(type);
  const uint8_t offset = type == ElementType::Int8 ? 128 : 0;
  std::vector<uint8_t> codes(static_cast<size_t>(k));
  for (int64_t row = 0; row < n; ++row) {
    unpack_codes(type, rows + row * row_bytes(type, k), codes);
    for (const Plane& plane : planes)
      walk_row(type, plane, row, k, interleaved, codes,
               [offset, from = plane.from, mask = (1 << plane.bits) - 1](uint8_t code, uint8_t& byte, int shift) {
                 const int part = static_cast<uint8_t>(code + offset) >> from & mask;
                 byte = static_cast<uint8_t>(byte | part << shift);
               });
  }
}

void deinterleave(ElementType type, int64_t n, int64_t k, const uint8_t* interleaved, uint8_t* rows) {
  const bool ternary = type == ElementType::Ternary;
  const std::span<const Plane> planes = ternary ? std::span<const Plane>() : planes_of(type);
  const uint8_t offset = type == ElementType::Int8 ? 128 : 0;
  std::vector<uint8_t> codes(static_cast<size_t>(k));
  for (int64_t row = 0; row < n; ++row) {
    if (ternary) {
      for (int64_t i = 0; i < k; ++i)
        codes[static_cast<size_t>(i)] = static_cast<uint8_t>(ternary_code(k, interleaved, row, i));
      pack_codes(type, codes, rows + row * row_bytes(type, k));
      continue;
    }
    std::fill(codes.begin(), codes.end(), uint8_t{0});
    for (const Plane& plane : planes)
      walk_row(type, plane, row, k, interleaved, codes,
               [from = plane.from, mask = (1 << plane.bits) - 1](uint8_t& code, uint8_t byte, int shift) {
                 code = static_cast<uint8_t>(code | (byte >> shift & mask) << from);
               });
    for (uint8_t& code : codes) code = static_cast<uint8_t>(code - offset);
    pack_codes(type, codes, rows + row * row_bytes(type, k));
  }
}

int interleaved_code(ElementType type, int64_t k_total, const uint8_t* interleaved, int64_t n, int64_t k) {
  if (type == ElementType::Ternary) return ternary_code(k_total, interleaved, n, k);
  const int64_t unit = n / kTileRows * units_of(k_total) + k / kUnitLength;
  const uint8_t* first = interleaved + unit * unit_bytes(type) + n % kTileRows * 4;
  int code = 0;
  for (const Plane& plane : planes_of(type)) {
    const Place at = place(plane, k % kUnitLength);
    code |= (first[at.byte] >> at.shift & ((1 << plane.bits) - 1)) << plane.from;
  }
  return code;
}

}  // namespace halftone
