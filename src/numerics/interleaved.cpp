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
      throw InvalidArgument("interleaved weights are int8, int4, int3 or int2; {} is not quantised", to_string(type));
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

}  // namespace

void interleave(ElementType type, int64_t n, int64_t k, const uint8_t* rows, uint8_t* interleaved) {
  const std::span<const Plane> planes = planes_of(type);
  std::fill_n(interleaved, interleaved_bytes(type, n, k), uint8_t{0});
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
  const std::span<const Plane> planes = planes_of(type);
  const uint8_t offset = type == ElementType::Int8 ? 128 : 0;
  std::vector<uint8_t> codes(static_cast<size_t>(k));
  for (int64_t row = 0; row < n; ++row) {
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
