// Attention in double precision, one query at a time: what every attention kernel is measured against.
#pragma once

#include <cstdint>

#include "numerics/formats.h"

namespace halftone::reference {

/// Layouts as in kernels/api/attention.h: the cache is [kv_heads][capacity][row_bytes(format, head_dim)], scales
/// [kv_heads][capacity][2] f16 {scale, zero}; q and out are [tokens, heads, head_dim].
struct Attention {
  int64_t tokens, start, heads, kv_heads, head_dim;
  int64_t window;  ///< 0 for none
  ElementType format;
  const float* q;
  int64_t q_stride;
  const void* keys;
  const uint16_t* key_scales;
  const void* values;
  const uint16_t* value_scales;
  int64_t capacity;
  float softmax_scale;
  float* out;
  int64_t out_stride;
};

/// out = softmax(softmax_scale * q k^T) v over the visible positions, each output rounded once.
void attention(const Attention& a);

/// Element `index` of row `row` of a cache (row = kv_head * capacity + position), exactly.
double kv_element(const void* codes, const uint16_t* scales, ElementType format, int64_t head_dim, int64_t row,
                  int64_t index);

}  // namespace halftone::reference
