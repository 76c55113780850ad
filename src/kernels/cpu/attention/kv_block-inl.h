// Reading a block of keys or values out of any cache format: keys transposed to [dim][kKeyBlock], so that scores of
// neighbouring keys sit in one vector and are summed over dim in order; values to [key][dim] floats.
#pragma once

#include "kernels/cpu/attention/attention_kernel.h"
#include "kernels/cpu/simd-inl.h"

namespace halftone::kernels::HALFTONE_ISA_NAMESPACE {

// Each format says how many elements a 32-bit word holds and, per word w of a row, which element part i is.
struct Float32Words {
  static constexpr int kParts = 1;
  static constexpr bool kScaled = false;
  static int64_t words(int64_t dim) { return dim; }
  static int64_t element(int64_t w, int) { return w; }
  static F part(I word, int) { return as_float(word); }
  static F load_row(const unsigned char* row, int64_t e) { return load(reinterpret_cast<const float*>(row) + e); }
};
struct Float16Words {
  static constexpr int kParts = 2;
  static constexpr bool kScaled = false;
  static int64_t words(int64_t dim) { return dim / 2; }
  static int64_t element(int64_t w, int i) { return 2 * w + i; }
  static F part(I word, int i) { return half_words(i == 0 ? word : shift_right(word, 16)); }
  static F load_row(const unsigned char* row, int64_t e) {
    return load_half(reinterpret_cast<const uint16_t*>(row) + e);
  }
};
struct Int8Words {
  static constexpr int kParts = 4;
  static constexpr bool kScaled = true;
  static int64_t words(int64_t dim) { return dim / 4; }
  static int64_t element(int64_t w, int i) { return 4 * w + i; }
  static F part(I word, int i) { return to_float(bit_and(shift_right(word, 8 * i), set_int(255))); }
  static F load_row(const unsigned char* row, int64_t e) { return to_float(load_bytes(row + e)); }
};
struct Int4Words {  // nibble layout of numerics/formats.h: a chunk of 64 elements is 8 words
  static constexpr int kParts = 8;
  static constexpr bool kScaled = true;
  static int64_t words(int64_t dim) { return (dim + 63) / 64 * 8; }
  static int64_t element(int64_t w, int i) { return w / 8 * 64 + (i & 1) * 32 + w % 8 * 4 + i / 2; }
  static F part(I word, int i) { return to_float(bit_and(shift_right(word, 4 * i), set_int(15))); }
  static F load_row(const unsigned char* row, int64_t e) {
    const I bytes = load_bytes(row + e / 64 * 32 + e % 32);
    return to_float(bit_and(shift_right(bytes, e % 64 < 32 ? 0 : 4), set_int(15)));
  }
};

/// Keys 0 .. count-1 of `rows` to kt [dim][kKeyBlock]; columns past `count` get values that no query looks at.
template <class Format>
static void load_keys(const unsigned char* rows, const uint16_t* scales, int64_t row_bytes, int64_t dim, int64_t count,
                      float* kt) {
  const int64_t words = Format::words(dim);
  for (int64_t k0 = 0; k0 < count; k0 += kLanes) {
    const int64_t keys = count - k0 < kLanes ? count - k0 : kLanes;
    F scale = zero(), offset = zero();
    if constexpr (Format::kScaled) {
      const I pairs = load_words(scales + 2 * k0, keys);
      scale = half_words(pairs);
      offset = half_words(shift_right(pairs, 16));
    }
    for (int64_t w0 = 0; w0 < words; w0 += kLanes) {
      const int64_t here = words - w0 < kLanes ? words - w0 : kLanes;
      I column[kLanes];
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i)
        column[i] = i < keys ? load_words(rows + (k0 + i) * row_bytes + 4 * w0, here) : set_int(0);
      transpose(column);
      for (int64_t w = 0; w < here; ++w) {
#pragma GCC unroll 8
        for (int i = 0; i < Format::kParts; ++i) {
          const int64_t e = Format::element(w0 + w, i);
          if (Format::kParts == 8 && e >= dim) continue;
          F value = Format::part(column[w], i);
          if constexpr (Format::kScaled) value = mul(sub(value, offset), scale);
          store(kt + e * kKeyBlock + k0, value);
        }
      }
    }
  }
}

/// Values 0 .. count-1 of `rows` to v [kKeyBlock][dim].
template <class Format>
static void load_values(const unsigned char* rows, const uint16_t* scales, int64_t row_bytes, int64_t dim,
                        int64_t count, float* v) {
  for (int64_t k = 0; k < count; ++k) {
    F scale = zero(), offset = zero();
    if constexpr (Format::kScaled) {
      scale = set(_cvtsh_ss(scales[2 * k]));
      offset = set(_cvtsh_ss(scales[2 * k + 1]));
    }
    for (int64_t e = 0; e < dim; e += kLanes) {
      F value = Format::load_row(rows + k * row_bytes, e);
      if constexpr (Format::kScaled) value = mul(sub(value, offset), scale);
      store(v + k * dim + e, value);
    }
  }
}

/// Both halves of a block of `count` keys; returns the values, which need no copy when they are floats already.
static const float* load_block(const AttentionParams& p, int64_t kv_head, int64_t first, int64_t count, float* kt,
                               float* v) {
  const int64_t row = kv_head * p.capacity + first;
  const unsigned char* keys = p.keys + row * p.row_bytes;
  const unsigned char* values = p.values + row * p.row_bytes;
  const uint16_t* key_scales = p.key_scales == nullptr ? nullptr : p.key_scales + 2 * row;
  const uint16_t* value_scales = p.value_scales == nullptr ? nullptr : p.value_scales + 2 * row;
  switch (p.format) {
    case KvFormat::Float32:
      load_keys<Float32Words>(keys, key_scales, p.row_bytes, p.dim, count, kt);
      return reinterpret_cast<const float*>(values);
    case KvFormat::Float16:
      load_keys<Float16Words>(keys, key_scales, p.row_bytes, p.dim, count, kt);
      load_values<Float16Words>(values, value_scales, p.row_bytes, p.dim, count, v);
      return v;
    case KvFormat::Int8:
      load_keys<Int8Words>(keys, key_scales, p.row_bytes, p.dim, count, kt);
      load_values<Int8Words>(values, value_scales, p.row_bytes, p.dim, count, v);
      return v;
    case KvFormat::Int4:
      load_keys<Int4Words>(keys, key_scales, p.row_bytes, p.dim, count, kt);
      load_values<Int4Words>(values, value_scales, p.row_bytes, p.dim, count, v);
      return v;
  }
  return v;
}

}  // namespace halftone::kernels::HALFTONE_ISA_NAMESPACE
