// Run-time quantisation, plainly; see quantize.h.
#include "numerics/reference/quantize.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "numerics/half.h"

namespace halftone::reference {

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

/// Codes of a row, and its scale and zero point to scale[0] and scale[kKvGroup].
void integer_codes(int levels, std::span<const float> x, std::span<int> codes, uint16_t* scale) {
  float low = x[0], high = x[0];
  for (const float v : x) {
    if (!std::isfinite(v)) low = std::numeric_limits<float>::quiet_NaN();
    low = std::isnan(low) ? low : std::min(low, v);
    high = std::max(high, v);
  }
  const AsymmetricScale s = asymmetric_scale(low, high, levels);
  scale[0] = s.scale;
  scale[kKvGroup] = s.zero;
  for (size_t i = 0; i < x.size(); ++i) {
    const double code = std::nearbyint(double{x[i]} / f16_to_f32(s.scale) + f16_to_f32(s.zero));
    codes[i] = std::isnan(low) ? 0 : static_cast<int>(std::clamp(code, 0.0, static_cast<double>(levels)));
  }
}

void store_code(KvSide side, ElementType format, int code, unsigned char* at, int shift) {
  if (format == ElementType::Int8)
    *at = static_cast<unsigned char>(side == KvSide::Keys ? code : code - 128);
  else
    *at = static_cast<unsigned char>((*at & ~(15 << shift)) | code << shift);
}

void store_row(const StoreKv& s, std::span<const float> row, int64_t position, unsigned char* head, uint16_t* scales) {
  std::vector<int> codes(row.size());
  if (bits_of(s.format) <= 8)
    integer_codes(s.format == ElementType::Int8 ? 255 : 15, row, codes, scales + kv_scale_index(position));
  for (size_t i = 0; i < row.size(); ++i) {
    const KvPlace place = kv_place(s.side, s.format, s.head_dim, position, static_cast<int64_t>(i));
    unsigned char* at = head + place.byte;
    if (s.format == ElementType::Float32)
      *reinterpret_cast<float*>(at) = row[i];
    else if (s.format == ElementType::Float16)
      *reinterpret_cast<uint16_t*>(at) = f32_to_f16(row[i]);
    else
      store_code(s.side, s.format, codes[i], at, place.shift);
  }
}

}  // namespace

void store_kv(const StoreKv& s) {
  for (int64_t t = 0; t < s.tokens; ++t)
    for (int64_t h = 0; h < s.kv_heads; ++h)
      store_row(s, {s.x + t * s.x_stride + h * s.head_dim, static_cast<size_t>(s.head_dim)}, s.start + t,
                static_cast<unsigned char*>(s.codes) + h * kv_head_bytes(s.format, s.head_dim, s.capacity),
                s.scales + h * kv_head_scales(s.format, s.capacity));
}

}  // namespace halftone::reference
