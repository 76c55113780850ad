// Run-time quantisation, plainly; see quantize.h.
#include "numerics/reference/quantize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "numerics/half.h"

namespace halftone::reference {

int64_t quantize_rows(int64_t rows, int64_t k, const float* x, int64_t x_stride, int8_t* codes, int64_t code_stride,
                      float* scales) {
  int64_t bad = -1;
  for (int64_t r = 0; r < rows; ++r) {
    const float* row = x + r * x_stride;
    int8_t* out = codes + r * code_stride;
    std::fill(out, out + code_stride, int8_t{0});
    float largest = 0;
    bool finite = true;
    for (int64_t i = 0; i < k; ++i) {
      finite = finite && std::isfinite(row[i]);
      largest = std::max(largest, std::fabs(row[i]));
    }
    if (!finite) {
      scales[r] = std::numeric_limits<float>::quiet_NaN();
      if (bad < 0) bad = r;
      continue;
    }
    const float scale = largest / 127;
    scales[r] = scale == 0 ? 1 : scale;
    for (int64_t i = 0; i < k; ++i)
      out[i] = static_cast<int8_t>(std::clamp(std::nearbyint(double{row[i]} / scales[r]), -127.0, 127.0));
  }
  return bad;
}

AsymmetricScale asymmetric_scale(float low, float high, int levels) {
  if (!std::isfinite(low) || !std::isfinite(high)) return {0x7e00, 0x7e00};
  const float largest = std::max(std::fabs(low), std::fabs(high));
  const float wanted = std::max((high - low) / static_cast<float>(levels), largest / 2047);
  uint16_t scale = f32_to_f16(wanted);
  if (f16_to_f32(scale) < wanted) ++scale;
  if (scale == 0) scale = 0x3c00;  // 1
  return {scale, f32_to_f16(-low / f16_to_f32(scale))};
}

namespace {

void store_integers(ElementType format, int64_t k, const float* x, unsigned char* out, uint16_t* scales) {
  const int levels = format == ElementType::Int8 ? 255 : 15;
  float low = x[0], high = x[0];
  for (int64_t i = 0; i < k; ++i) {
    if (!std::isfinite(x[i])) low = std::numeric_limits<float>::quiet_NaN();
    low = std::isnan(low) ? low : std::min(low, x[i]);
    high = std::max(high, x[i]);
  }
  const AsymmetricScale s = asymmetric_scale(low, high, levels);
  scales[0] = s.scale;
  scales[1] = s.zero;
  std::memset(out, 0, static_cast<size_t>(row_bytes(format, k)));
  if (std::isnan(low)) return;
  for (int64_t i = 0; i < k; ++i) {
    const double code = std::nearbyint(double{x[i]} / f16_to_f32(s.scale) + f16_to_f32(s.zero));
    const int stored = static_cast<int>(std::clamp(code, 0.0, static_cast<double>(levels)));
    if (format == ElementType::Int8)
      out[i] = static_cast<unsigned char>(stored);
    else
      out[i / 64 * 32 + i % 32] |= static_cast<unsigned char>(i % 64 < 32 ? stored : stored << 4);
  }
}

}  // namespace

void store_kv(int64_t tokens, int64_t kv_heads, int64_t head_dim, ElementType format, const float* x, int64_t x_stride,
              void* codes, uint16_t* scales, int64_t capacity) {
  const int64_t bytes = row_bytes(format, head_dim);
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t h = 0; h < kv_heads; ++h) {
      const float* row = x + t * x_stride + h * head_dim;
      const int64_t at = h * capacity + t;
      auto* out = static_cast<unsigned char*>(codes) + at * bytes;
      if (format == ElementType::Float32) {
        std::memcpy(out, row, static_cast<size_t>(bytes));
      } else if (format == ElementType::Float16) {
        for (int64_t i = 0; i < head_dim; ++i) reinterpret_cast<uint16_t*>(out)[i] = f32_to_f16(row[i]);
      } else {
        store_integers(format, head_dim, row, out, scales + 2 * at);
      }
    }
}

}  // namespace halftone::reference
