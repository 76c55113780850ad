// One row at a time between the two layouts; see interleaved.h.
#include "numerics/interleaved.h"

#include <algorithm>
#include <span>
#include <vector>

#include "base/error.h"
#include "numerics/packing.h"

namespace halftone {
namespace {

/// Where element k of a row lies inside a unit: byte relative to the row's first, and bit shift.
struct Place {
  int64_t byte;
  int shift;
};

Place place(ElementType type, int64_t element) {
  switch (type) {
    case ElementType::Int8:
      return {element / 4 * 64 + element % 4, 0};
    case ElementType::Int4:
      return {element % 16 / 4 * 64 + element % 4, element < 16 ? 0 : 4};
    default:
      return {element % 8 / 4 * 64 + element % 4, static_cast<int>(element / 8) * 2};
  }
}

void check(ElementType type) {
  if (bits_of(type) > 8)
    throw InvalidArgument("interleaved weights are int8, int4 or int2; {} is not quantised", to_string(type));
}

/// Calls body(code, byte, shift) for every element: code is a reference into the row's codes.
template <class Bytes, class Body>
void walk_row(ElementType type, int64_t n, int64_t k, Bytes* interleaved, std::span<uint8_t> codes, Body body) {
  Bytes* first = interleaved + n / kTileRows * units_of(k) * unit_bytes(type) + n % kTileRows * 4;
  Place places[kUnitLength];
  for (int64_t e = 0; e < kUnitLength; ++e) places[e] = place(type, e);
  for (int64_t u = 0; u < units_of(k); ++u, first += unit_bytes(type)) {
    const int64_t count = std::min(kUnitLength, k - u * kUnitLength);
    for (int64_t e = 0; e < count; ++e) body(codes[u * kUnitLength + e], first[places[e].byte], places[e].shift);
  }
}

}  // namespace

void interleave(ElementType type, int64_t n, int64_t k, const uint8_t* rows, uint8_t* interleaved) {
  check(type);
  std::fill_n(interleaved, interleaved_bytes(type, n, k), uint8_t{0});
  const uint8_t offset = type == ElementType::Int8 ? 128 : 0;
  std::vector<uint8_t> codes(static_cast<size_t>(k));
  for (int64_t row = 0; row < n; ++row) {
    unpack_codes(type, rows + row * row_bytes(type, k), codes);
    walk_row(type, row, k, interleaved, codes, [offset](uint8_t code, uint8_t& byte, int shift) {
      byte = static_cast<uint8_t>(byte | static_cast<uint8_t>(code + offset) << shift);
    });
  }
}

void deinterleave(ElementType type, int64_t n, int64_t k, const uint8_t* interleaved, uint8_t* rows) {
  check(type);
  const uint8_t offset = type == ElementType::Int8 ? 128 : 0;
  const int mask = (1 << bits_of(type)) - 1;
  std::vector<uint8_t> codes(static_cast<size_t>(k));
  for (int64_t row = 0; row < n; ++row) {
    walk_row(type, row, k, interleaved, codes, [=](uint8_t& code, uint8_t byte, int shift) {
      code = static_cast<uint8_t>((byte >> shift & mask) - offset);
    });
    pack_codes(type, codes, rows + row * row_bytes(type, k));
  }
}

int interleaved_code(ElementType type, int64_t k_total, const uint8_t* interleaved, int64_t n, int64_t k) {
  const Place at = place(type, k % kUnitLength);
  const int64_t unit = n / kTileRows * units_of(k_total) + k / kUnitLength;
  const uint8_t byte = interleaved[unit * unit_bytes(type) + n % kTileRows * 4 + at.byte];
  return byte >> at.shift & ((1 << bits_of(type)) - 1);
}

}  // namespace halftone
