// Chunked sub-byte layouts, and base 3; see formats.h for the picture.
#include "numerics/packing.h"

#include <algorithm>
#include <cstring>

namespace halftone {
namespace {

/// Bytes of a chunk in kBits bits an element: element i at bit i / lanes * kBits of byte i % lanes.
template <int kBits>
inline constexpr int kLanes = kChunk* kBits / 8;

template <int kBits>
void pack_chunk(const uint8_t* codes, uint8_t* bytes) {
  for (int j = 0; j < kLanes<kBits>; ++j) {
    int byte = 0;
    for (int i = 0; i < 8 / kBits; ++i) byte |= codes[i * kLanes<kBits> + j] << i * kBits;
    bytes[j] = static_cast<uint8_t>(byte);
  }
}

template <int kBits>
void unpack_chunk(const uint8_t* bytes, uint8_t* codes) {
  for (int i = 0; i < 8 / kBits; ++i)
    for (int j = 0; j < kLanes<kBits>; ++j)
      codes[i * kLanes<kBits> + j] = static_cast<uint8_t>(bytes[j] >> i * kBits & ((1 << kBits) - 1));
}

/// One bit an element, in order.
void pack_bits(const uint8_t* codes, uint8_t* bytes) {
  for (int64_t j = 0; j < kChunk / 8; ++j) {
    int byte = 0;
    for (int i = 0; i < 8; ++i) byte |= codes[8 * j + i] << i;
    bytes[j] = static_cast<uint8_t>(byte);
  }
}

void pack_trits(std::span<const uint8_t> codes, uint8_t* packed) {
  for (size_t begin = 0; begin < codes.size(); begin += kTritsPerByte) {
    int byte = 0;
    for (size_t i = std::min<size_t>(begin + kTritsPerByte, codes.size()); i-- > begin;) byte = 3 * byte + codes[i];
    *packed++ = static_cast<uint8_t>(byte);
  }
}

void unpack_trits(const uint8_t* packed, std::span<uint8_t> codes) {
  for (size_t begin = 0; begin < codes.size(); begin += kTritsPerByte) {
    int byte = *packed++;
    for (size_t i = begin; i < std::min<size_t>(begin + kTritsPerByte, codes.size()); ++i, byte /= 3)
      codes[i] = static_cast<uint8_t>(byte % 3);
  }
}

/// Calls body(first element, elements of the chunk) for every chunk of a row.
template <class Body>
void for_each_chunk(size_t elements, const Body& body) {
  for (size_t begin = 0; begin < elements; begin += kChunk) body(begin, std::min<size_t>(kChunk, elements - begin));
}

}  // namespace

void pack_codes(ElementType type, std::span<const uint8_t> codes, uint8_t* packed) {
  if (type == ElementType::Int8) {
    std::memcpy(packed, codes.data(), codes.size());
    return;
  }
  if (type == ElementType::Ternary) return pack_trits(codes, packed);
  const int64_t chunk_bytes = row_bytes(type, kChunk);
  for_each_chunk(codes.size(), [&](size_t begin, size_t count) {
    uint8_t chunk[kChunk] = {};
    std::memcpy(chunk, codes.data() + begin, count);
    if (type == ElementType::Int4) {
      pack_chunk<4>(chunk, packed);
    } else {
      uint8_t high[kChunk];
      for (int64_t i = 0; i < kChunk; ++i) high[i] = chunk[i] >> 2, chunk[i] &= 3;
      pack_chunk<2>(chunk, packed);
      if (type == ElementType::Int3) pack_bits(high, packed + kLanes<2>);
    }
    packed += chunk_bytes;
  });
}

void unpack_codes(ElementType type, const uint8_t* packed, std::span<uint8_t> codes) {
  if (type == ElementType::Int8) {
    std::memcpy(codes.data(), packed, codes.size());
    return;
  }
  if (type == ElementType::Ternary) return unpack_trits(packed, codes);
  const int64_t chunk_bytes = row_bytes(type, kChunk);
  for_each_chunk(codes.size(), [&](size_t begin, size_t count) {
    uint8_t chunk[kChunk];
    type == ElementType::Int4 ? unpack_chunk<4>(packed, chunk) : unpack_chunk<2>(packed, chunk);
    if (type == ElementType::Int3) {
      for (int64_t i = 0; i < kChunk; ++i) {
        const int bit = packed[kLanes<2> + i / 8] >> i % 8 & 1;
        chunk[i] = static_cast<uint8_t>(chunk[i] | bit << 2);
      }
    }
    std::memcpy(codes.data() + begin, chunk, count);
    packed += chunk_bytes;
  });
}

}  // namespace halftone
