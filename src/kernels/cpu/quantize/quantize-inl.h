// Run-time quantisation of one row; the rules are those of numerics/reference/quantize.h.
#pragma once

#include "kernels/cpu/quantize/quantize_kernel.h"
#include "kernels/cpu/simd-inl.h"

namespace halftone::kernels::HALFTONE_ISA_NAMESPACE {

inline constexpr int32_t kInfinityBits = 0x7f800000;
inline constexpr uint16_t kHalfNaN = 0x7e00;
inline constexpr uint16_t kHalfOne = 0x3c00;

/// Bits of max|x|: floats without their sign compare like integers, and anything not finite comes out on top.
static int32_t magnitude_bits(const float* x, int64_t k) {
  const I mask = set_int(0x7fffffff);
  I top = set_int(0);
  for (int64_t i = 0; i < k; i += kLanes) top = max_int(bit_and(as_int(load(x + i, k - i)), mask), top);
  return maximum_int(top);
}

/// x times the inverse of the scale: a tie may fall to the other side when x / scale is within 2^-16 of it.
static bool quantize_row(const float* x, int64_t k, int8_t* codes, int64_t code_stride, float* scale) {
  const int32_t bits = magnitude_bits(x, k);
  if (bits >= kInfinityBits) {
    for (int64_t i = 0; i < code_stride; i += kLanes) store_bytes(codes + i, set_int(0));
    *scale = __builtin_nanf("");
    return false;
  }
  float step = __builtin_bit_cast(float, bits) / 127;
  if (step == 0) step = 1;
  *scale = step;
  const bool invertible = step > 1e-37f;  // else 1 / step overflows
  const F by = set(invertible ? 1 / step : step);
  int64_t i = 0;
  for (; i < k; i += kLanes) {
    const F v = load(x + i, k - i);
    const F code = invertible ? mul(v, by) : div(v, by);
    store_bytes(codes + i, to_int(max(set(-127.0f), min(set(127.0f), code))));
  }
  for (; i < code_stride; i += kLanes) store_bytes(codes + i, set_int(0));
  return true;
}

static void store_half_row(const float* x, int64_t dim, uint16_t* out) {
  for (int64_t i = 0; i < dim; i += kLanes) store_half(out + i, load(x + i));
}

struct Affine {  ///< code = clamp(round(x * inverse + zero), 0, levels)
  float inverse;
  float zero;
};

/// Finds and stores {scale, zero}; false for rows that are not finite, whose scale and zero become NaN.
static bool affine_of(const float* x, int64_t dim, int levels, uint16_t* stored, Affine& affine) {
  const int32_t bits = magnitude_bits(x, dim);
  if (bits >= kInfinityBits) {
    stored[0] = stored[1] = kHalfNaN;
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
  stored[1] = static_cast<uint16_t>(_cvtss_sh(-least / scale, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  affine = {1 / scale, _cvtsh_ss(stored[1])};
  return true;
}

static inline I affine_codes(const float* x, const Affine& affine, float levels) {
  const F code = fma(load(x), set(affine.inverse), set(affine.zero));
  return to_int(max(zero(), min(set(levels), code)));
}

static void store_int8(const float* x, int64_t dim, unsigned char* out, uint16_t* scale) {
  Affine affine;
  const bool finite = affine_of(x, dim, 255, scale, affine);
  for (int64_t i = 0; i < dim; i += kLanes)
    store_bytes(out + i, finite ? affine_codes(x + i, affine, 255) : set_int(0));
}

static void store_int4(const float* x, int64_t dim, unsigned char* out, uint16_t* scale) {
  Affine affine;
  const bool finite = affine_of(x, dim, 15, scale, affine);
  for (int64_t chunk = 0; chunk < dim; chunk += 64, out += 32) {
    unsigned char codes[64];
    for (int64_t i = 0; i < 64; i += kLanes)
      store_bytes(codes + i, finite && chunk + i < dim ? affine_codes(x + chunk + i, affine, 15) : set_int(0));
    for (int j = 0; j < 32; ++j) out[j] = static_cast<unsigned char>(codes[j] | codes[j + 32] << 4);
  }
}

const QuantizeKernel kQuantize = {quantize_row, store_half_row, store_int8, store_int4};

}  // namespace halftone::kernels::HALFTONE_ISA_NAMESPACE
