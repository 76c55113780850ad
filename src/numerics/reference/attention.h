// Attention in double precision, one query at a time: what every attention kernel is measured against.
#pragma once

#include <cstdint>

#include "numerics/kv_layout.h"

namespace halftone::reference {

/// The cache is laid out as numerics/kv_layout.h draws it; q and out are [tokens, heads, head_dim].
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

/// One side of a cache in the layout of numerics/kv_layout.h.
struct KvCache {
  KvSide side;
  ElementType format;
  int64_t head_dim, capacity;
  const void* codes;
  const uint16_t* scales;  ///< may be null for the float formats
};

/// Element `index` of the token at `position` of `head`, exactly.
double kv_element(const KvCache& cache, int64_t head, int64_t position, int64_t index);

}  // namespace halftone::reference
