// Double-precision attention; see attention.h.
#include "numerics/reference/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "numerics/half.h"

namespace halftone::reference {

double kv_element(const void* codes, const uint16_t* scales, ElementType format, int64_t head_dim, int64_t row,
                  int64_t index) {
  const auto* bytes = static_cast<const unsigned char*>(codes) + row * row_bytes(format, head_dim);
  if (format == ElementType::Float32) return reinterpret_cast<const float*>(bytes)[index];
  if (format == ElementType::Float16) return f16_to_f32(reinterpret_cast<const uint16_t*>(bytes)[index]);
  int code = 0;
  if (format == ElementType::Int8) {
    code = bytes[index];
  } else {
    const int byte = bytes[index / 64 * 32 + index % 32];
    code = index % 64 < 32 ? byte & 15 : byte >> 4;
  }
  const double scale = f16_to_f32(scales[2 * row]), zero = f16_to_f32(scales[2 * row + 1]);
  return (code - zero) * scale;
}

void attention(const Attention& a) {
  std::vector<double> p;
  for (int64_t t = 0; t < a.tokens; ++t) {
    const int64_t last = a.start + t;
    const int64_t first = a.window > 0 ? std::max<int64_t>(0, last - a.window + 1) : 0;
    for (int64_t h = 0; h < a.heads; ++h) {
      const float* q = a.q + t * a.q_stride + h * a.head_dim;
      float* out = a.out + t * a.out_stride + h * a.head_dim;
      const int64_t row = h / (a.heads / a.kv_heads) * a.capacity;
      p.assign(static_cast<size_t>(last - first + 1), 0);
      double top = -std::numeric_limits<double>::infinity();
      for (int64_t j = first; j <= last; ++j) {
        double dot = 0;
        for (int64_t d = 0; d < a.head_dim; ++d)
          dot += q[d] * kv_element(a.keys, a.key_scales, a.format, a.head_dim, row + j, d);
        p[static_cast<size_t>(j - first)] = dot * a.softmax_scale;
        top = std::max(top, dot * a.softmax_scale);
      }
      double total = 0;
      for (double& x : p) total += x = std::exp(x - top);
      for (int64_t d = 0; d < a.head_dim; ++d) {
        double sum = 0;
        for (int64_t j = first; j <= last; ++j)
          sum += p[static_cast<size_t>(j - first)] *
                 kv_element(a.values, a.value_scales, a.format, a.head_dim, row + j, d);
        out[d] = static_cast<float>(sum / total);
      }
    }
  }
}

}  // namespace halftone::reference
