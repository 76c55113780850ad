// One row of keys or values into the cache; the rules are those of numerics/reference/quantize.h.
#pragma once

#include "kernels/cpu/quantize/quantize_kernel.h"
#include "kernels/cpu/simd-inl.h"

namespace halftone::kernels::HALFTONE_ISA_NAMESPACE {

inline constexpr uint16_t kHalfNaN = 0x7e00;
inline constexpr uint16_t kHalfOne = 0x3c00;

inline constexpr int64_t kLanesOfCache = 16;  // tokens that keys and scales are interleaved by: kKvGroup

struct Affine {  ///< code = clamp(round(x * inverse + zero), 0, levels)
  float inverse;
  float zero;
};

/// Finds and stores scale and zero point; false for rows that are not finite, whose scale and zero become NaN.
static bool affine_of(const float* x, int64_t dim, int levels, uint16_t* stored, Affine& affine) {
  const int32_t bits = magnitude_bits(x, dim);
  if (bits >= kInfinityBits) {
    stored[0] = stored[kLanesOfCache] = kHalfNaN;
    affine = {0, 0};
    return false;
  }
  F low = load(x), high = low;
  for (int64_t i = kLanes; i < dim; i += kLanes) {
    low = min(low, load(x + i));
    high = max(high, load(x + i));
  }
  const float least = -maximum(sub(zero(), low));
  const float by_range = (maximum(high) - least) / static_cast<float>(levels);
  const float by_offset = __builtin_bit_cast(float, bits) / 2047;
  const float wanted = by_range > by_offset ? by_range : by_offset;
  stored[0] = static_cast<uint16_t>(_cvtss_sh(wanted, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC));
  if (stored[0] == 0) stored[0] = kHalfOne;
  const float scale = _cvtsh_ss(stored[0]);
  stored[kLanesOfCache] =
      static_cast<uint16_t>(_cvtss_sh(-least / scale, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  affine = {1 / scale, _cvtsh_ss(stored[kLanesOfCache])};
  return true;
}

static inline I affine_codes(const float* x, const Affine& affine, float levels) {
  const F code = fma(load(x), set(affine.inverse), set(affine.zero));
  return to_int(max(zero(), min(set(levels), code)));
}

/// Elements of one token to every 16th place.
template <class T>
static inline void scatter(const T* from, int64_t n, T* to) {
  for (int64_t i = 0; i < n; ++i) to[i * kLanesOfCache] = from[i];
}

static void store_float(const KvRow& r) {
  auto* out = reinterpret_cast<float*>(r.head);
  const int64_t lane = r.position % kLanesOfCache, first = r.position * r.dim;
  if (r.keys) return scatter(r.x, r.dim, out + first - lane * r.dim + lane);
  for (int64_t i = 0; i < r.dim; i += kLanes) store(out + first + i, load(r.x + i));
}

static void store_half(const KvRow& r) {
  auto* out = reinterpret_cast<uint16_t*>(r.head);
  const int64_t lane = r.position % kLanesOfCache, first = r.position * r.dim;
  for (int64_t i = 0; i < r.dim; i += kLanes) {
    if (!r.keys) {
      store_half(out + first + i, load(r.x + i));
      continue;
    }
    uint16_t halves[kLanes];
    store_half(halves, load(r.x + i));
    scatter(halves, kLanes, out + first - lane * r.dim + i * kLanesOfCache + lane);
  }
}

/// Keys: 32-bit words of one token, 32 / kBits elements each.
template <int kBits>
static void store_key_codes(I codes, int64_t i, const KvRow& r) {
  constexpr int64_t kElements = 32 / kBits;
  unsigned char bytes[kLanes];
  store_bytes(bytes, codes);
  uint32_t words[kLanes / 4];
  __builtin_memcpy(words, bytes, sizeof(words));
  if constexpr (kBits == 4)
    for (int w = 0; w < kLanes / 8; ++w) words[w] = words[2 * w] | words[2 * w + 1] << 4;
  const int64_t lane = r.position % kLanesOfCache, group = (r.position - lane) * r.dim * kBits / 8;
  scatter(words, kLanes / kElements,
          reinterpret_cast<uint32_t*>(r.head + group) + i / kElements * kLanesOfCache + lane);
}

/// Values: one byte or nibble in each of kLanes 32-bit words, whose others stay.
template <int kBits>
static void store_value_codes(I codes, int64_t i, const KvRow& r) {
  constexpr int64_t kTokens = 32 / kBits;
  const int64_t token = r.position % kTokens;
  const int shift = static_cast<int>(token % 4 * 8 + token / 4 * 4);
  const int32_t mask = kBits == 8 ? 255 : 15;
  const I stored = kBits == 8 ? bit_and(add_int(codes, set_int(-128)), set_int(255)) : codes;
  auto* words = reinterpret_cast<float*>(r.head) + r.position / kTokens * r.dim + i;
  const I others = bit_and(as_int(load(words)), set_int(static_cast<int32_t>(~(static_cast<uint32_t>(mask) << shift))));
  store_words(words, bit_or(others, shift_left(stored, shift)));
}

template <int kBits>
static void store_integers(const KvRow& r) {
  constexpr int kLevels = (1 << kBits) - 1;
  Affine affine;
  const int64_t lane = r.position % kLanesOfCache;
  const bool finite = affine_of(r.x, r.dim, kLevels, r.scales + 2 * (r.position - lane) + lane, affine);
  for (int64_t i = 0; i < r.dim; i += kLanes) {
    const I codes = finite ? affine_codes(r.x + i, affine, kLevels) : set_int(0);
    r.keys ? store_key_codes<kBits>(codes, i, r) : store_value_codes<kBits>(codes, i, r);
  }
}

static void store_kv_row(const KvRow& row) {
  switch (row.bits) {
    case 32:
      return store_float(row);
    case 16:
      return store_half(row);
    case 8:
      return store_integers<8>(row);
    default:
      return store_integers<4>(row);
  }
}

const QuantizeKernel kQuantize = {store_kv_row};

}  // namespace halftone::kernels::HALFTONE_ISA_NAMESPACE
