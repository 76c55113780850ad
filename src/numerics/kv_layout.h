// Where the key-value cache keeps each element: one contract for the writer (kernels/api/quantize.h), the readers
// (kernels/api/attention.h) and the reference.
//
// Tokens of a head go in groups of kKvGroup = 16, and a head has room for whole groups. Keys of a group are interleaved
// so that one vector holds the same piece of 16 keys; integer values are interleaved so that one 32-bit word holds
// neighbouring tokens: what integer dot products of 4 bytes want on both sides. Dp is D rounded up to 8.
//
//   keys    f32, f16  [group][D][16 tokens]
//           Int8      [group][Dp/4][16 tokens][4 bytes]: elements 4w .. 4w+3 of a token, codes 0 .. 255
//           Int4      [group][Dp/8][16 tokens][4 bytes]: byte i holds element 8w+i in its low nibble, 8w+4+i in its
//           high
//   values  f32, f16  [token][D]
//           Int8      [token/4][Dp][4 tokens]: codes - 128 as two's complement
//           Int4      [token/8][Dp][4 bytes]: byte i holds token 8g+i in its low nibble, 8g+4+i in its high
//   scales  Int8, Int4 only, both sides alike: f16 [group][2][16 tokens], first the scales, then the zero points;
//           value = (code - zero) * scale with codes 0 .. 255 or 0 .. 15
#pragma once

#include <cstdint>

#include "numerics/formats.h"

namespace halftone {

inline constexpr int64_t kKvGroup = 16;

enum class KvSide : uint8_t { Keys, Values };

/// Bytes that one token takes on one side of one head, scales apart.
constexpr int64_t kv_token_bytes(ElementType format, int64_t head_dim) {
  if (bits_of(format) >= 16) return head_dim * bits_of(format) / 8;
  return (head_dim + 7) / 8 * bits_of(format);
}

/// Tokens that a head has room for when it must hold `capacity`.
constexpr int64_t kv_padded_tokens(int64_t capacity) { return (capacity + kKvGroup - 1) / kKvGroup * kKvGroup; }

/// Bytes between two heads of a cache for `capacity` tokens.
constexpr int64_t kv_head_bytes(ElementType format, int64_t head_dim, int64_t capacity) {
  return kv_padded_tokens(capacity) * kv_token_bytes(format, head_dim);
}

/// f16 values between the scales of two heads; 0 for the float formats.
constexpr int64_t kv_head_scales(ElementType format, int64_t capacity) {
  return bits_of(format) >= 16 ? 0 : 2 * kv_padded_tokens(capacity);
}

/// Where a token's scale is within its head; its zero point is kKvGroup further.
constexpr int64_t kv_scale_index(int64_t position) { return position / kKvGroup * 2 * kKvGroup + position % kKvGroup; }

/// An element's first byte within its head, and for Int4 the bit of that byte where its nibble starts.
struct KvPlace {
  int64_t byte;
  int shift;
};

constexpr KvPlace kv_place(KvSide side, ElementType format, int64_t head_dim, int64_t position, int64_t element) {
  const int64_t token_bytes = kv_token_bytes(format, head_dim), padded = (head_dim + 7) / 8 * 8;
  const int64_t group = position / kKvGroup * kKvGroup * token_bytes, lane = position % kKvGroup;
  const int64_t width = bits_of(format) / 8;
  if (bits_of(format) >= 16)
    return {
        side == KvSide::Keys ? group + (element * kKvGroup + lane) * width : position * token_bytes + element * width,
        0};
  if (format == ElementType::Int8)
    return {side == KvSide::Keys ? group + (element / 4 * kKvGroup + lane) * 4 + element % 4
                                 : (position / 4 * padded + element) * 4 + position % 4,
            0};
  return side == KvSide::Keys
             ? KvPlace{group + (element / 8 * kKvGroup + lane) * 4 + element % 4, element % 8 < 4 ? 0 : 4}
             : KvPlace{(position / 8 * padded + element) * 4 + position % 4, position % 8 < 4 ? 0 : 4};
}

}  // namespace halftone
