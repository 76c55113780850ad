// Chunked sub-byte layouts; see formats.h for the picture.
#include "numerics/packing.h"

#include <algorithm>
#include <cstring>

namespace halftone {
namespace {

/// Where element `i` of a row lies: byte index and bit shift.
struct Place {
  int64_t byte;
  int shift;
};

constexpr Place place_of(int bits, int64_t i) {
  const int64_t lanes = kChunk * bits / 8;  // bytes in a chunk
  const int64_t within = i % kChunk;
  return {i / kChunk * lanes + within % lanes, static_cast<int>(within / lanes) * bits};
}

static_assert(place_of(4, 33).byte == 1 && place_of(4, 33).shift == 4);
static_assert(place_of(2, 17).byte == 1 && place_of(2, 17).shift == 2);

}  // namespace

void pack_codes(ElementType type, std::span<const uint8_t> codes, uint8_t* packed) {
  const auto count = static_cast<int64_t>(codes.size());
  if (type == ElementType::Int8) {
    std::memcpy(packed, codes.data(), codes.size());
    return;
  }
  std::fill_n(packed, row_bytes(type, count), uint8_t{0});
  for (int64_t i = 0; i < count; ++i) {
    const Place place = place_of(bits_of(type), i);
    packed[place.byte] = static_cast<uint8_t>(packed[place.byte] | codes[i] << place.shift);
  }
}

void unpack_codes(ElementType type, const uint8_t* packed, std::span<uint8_t> codes) {
  const auto count = static_cast<int64_t>(codes.size());
  if (type == ElementType::Int8) {
    std::memcpy(codes.data(), packed, codes.size());
    return;
  }
  const int mask = (1 << bits_of(type)) - 1;
  for (int64_t i = 0; i < count; ++i) {
    const Place place = place_of(bits_of(type), i);
    codes[i] = static_cast<uint8_t>(packed[place.byte] >> place.shift & mask);
  }
}

}  // namespace halftone
