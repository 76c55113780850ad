// Run-time quantisation in double precision: the oracle of the kernels in kernels/api/quantize.h.
#pragma once

#include <cstdint>

#include "numerics/kv_layout.h"

namespace halftone::reference {

/// Scale and zero point, both f16, of an asymmetric row with values in [low, high] and codes 0 .. levels:
///   scale = max((high - low) / levels, max|x| / 2047), rounded up to f16 (1 for an all-zero row);
///   zero = f16(-low / scale).
/// QServe's rule (arXiv:2405.04532 section 5.3) is the first term alone. The second keeps |zero| within 2047, where f16
/// resolves it to half a code or better: rows far from 0 for their width would lose more to the rounding of zero than
/// to that of the codes, and constant rows need no case of their own. Rounding up keeps every value inside the codes.
/// A value's error is at most scale / 2, up to f32 rounding, for rows whose scale does not overflow f16.
struct AsymmetricScale {
  uint16_t scale;
  uint16_t zero;
};
AsymmetricScale asymmetric_scale(float low, float high, int levels);

struct StoreKv {
  int64_t tokens, start;  ///< positions start .. start + tokens - 1 are written
  int64_t kv_heads, head_dim;
  ElementType format;
  KvSide side;
  const float* x;  ///< [tokens, kv_heads, head_dim], rows `x_stride` apart
  int64_t x_stride;
  void* codes;       ///< the whole cache, as numerics/kv_layout.h draws it
  uint16_t* scales;  ///< likewise; null for the float formats
  int64_t capacity;
};

/// A row with a NaN or an infinity reads back as NaN from integer formats.
void store_kv(const StoreKv& s);

}  // namespace halftone::reference
