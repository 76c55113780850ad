// Activations to int8 for the packed GEMM; the rules are those of kernels/api/packed_gemm.h.
#pragma once

#include "kernels/cpu/packed_gemm/packed_task.h"
#include "kernels/cpu/simd-inl.h"

namespace halftone::kernels::HALFTONE_ISA_NAMESPACE {

inline constexpr float kLargestHalf = 65504;

/// Codes of the 32 elements at x, `left` of them real, and their sum.
static int32_t unit_codes(const float* x, int64_t left, float inverse, int8_t* codes) {
  I sum = set_int(0);
  for (int64_t i = 0; i < 32; i += kLanes) {
    const F scaled = i < left ? mul(load(x + i, left - i), set(inverse)) : zero();
    const I code = to_int(max(set(-127.0f), min(set(127.0f), scaled)));
    store_bytes(codes + i, code);
    sum = add_int(sum, code);
  }
  return sum_int(sum);
}

static void clear(int8_t* codes, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) codes[i] = 0;
}

inline constexpr float kLeastTop = 127 / 3.4e38f;  // 127 / less overflows
static float inverse_of(float top) { return top > kLeastTop ? 127 / top : 0; }

static bool by_row(const float* x, int64_t k, int8_t* codes, int64_t code_stride, float* scales, int32_t* sums) {
  const int32_t bits = magnitude_bits(x, k);
  const bool finite = bits < kInfinityBits;
  const float top = finite ? __builtin_bit_cast(float, bits) : 0;
  *scales = finite ? top / 127 : __builtin_nanf("");
  int64_t i = 0;
  for (; i < k; i += 32) sums[i / 32] = finite ? unit_codes(x + i, k - i, inverse_of(top), codes + i) : 0;
  clear(codes, finite ? i : 0, code_stride);
  return finite;
}

/// kLanes whole units at once, with the bits of by_unit; false, and nothing written, where x is not finite. |x *
/// inverse| is 127 and two roundings at most, so codes need no clamp.
static bool whole_units(const float* x, int8_t* codes, float* scales, int32_t* sums) {
  const I magnitude = set_int(0x7fffffff);
  I parts[kLanes];
  for (int u = 0; u < kLanes; ++u) {
    parts[u] = bit_and(as_int(load(x + u * 32)), magnitude);
    for (int i = kLanes; i < 32; i += kLanes)
      parts[u] = max_int(parts[u], bit_and(as_int(load(x + u * 32 + i)), magnitude));
  }
  transpose(parts);
  I bits = parts[0];
  for (int i = 1; i < kLanes; ++i) bits = max_int(bits, parts[i]);
  if (maximum_int(bits) >= kInfinityBits) return false;
  const F top = as_float(bits);
  uint16_t halves[kLanes];
  store_half(halves, min(div(top, set(127)), set(kLargestHalf)));
  store(scales, load_half(halves));
  float inverse[kLanes];
  store(inverse, select(greater(top, set(kLeastTop)), div(set(127), top), zero()));
  for (int u = 0; u < kLanes; ++u) {
    parts[u] = set_int(0);
    for (int i = 0; i < 32; i += kLanes) {
      const I code = to_int(mul(load(x + u * 32 + i), set(inverse[u])));
      store_bytes(codes + u * 32 + i, code);
      parts[u] = add_int(parts[u], code);
    }
  }
  transpose(parts);
  I total = parts[0];
  for (int i = 1; i < kLanes; ++i) total = add_int(total, parts[i]);
  store_words(sums, total);
  return true;
}

static bool by_unit(const float* x, int64_t k, int8_t* codes, int64_t code_stride, float* scales, int32_t* sums) {
  bool finite = true;
  int64_t i = 0;
  while (i + kLanes * 32 <= k && whole_units(x + i, codes + i, scales + i / 32, sums + i / 32)) i += kLanes * 32;
  for (; i < k; i += 32) {
    const int32_t bits = magnitude_bits(x + i, k - i < 32 ? k - i : 32);
    if (bits >= kInfinityBits) {
      finite = false;
      clear(codes, i, i + 32);
      scales[i / 32] = __builtin_nanf("");
      sums[i / 32] = 0;
      continue;
    }
    const float top = __builtin_bit_cast(float, bits);
    const float scale = top / 127 < kLargestHalf ? top / 127 : kLargestHalf;
    scales[i / 32] = _cvtsh_ss(static_cast<uint16_t>(_cvtss_sh(scale, _MM_FROUND_TO_NEAREST_INT)));
    sums[i / 32] = unit_codes(x + i, k - i, inverse_of(top), codes + i);
  }
  clear(codes, i, code_stride);
  return finite;
}

const QuantizeActivationRow kQuantizeActivation = {by_row, by_unit};

}  // namespace halftone::kernels::HALFTONE_ISA_NAMESPACE
