// Double-precision attention; see attention.h.
#include "numerics/reference/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "numerics/half.h"

namespace halftone::reference {

double kv_element(const KvCache& cache, int64_t head, int64_t position, int64_t index) {
  const KvPlace place = kv_place(cache.side, cache.format, cache.head_dim, position, index);
  const auto* at = static_cast<const unsigned char*>(cache.codes) +
                   head * kv_head_bytes(cache.format, cache.head_dim, cache.capacity) + place.byte;
  if (cache.format == ElementType::Float32) return *reinterpret_cast<const float*>(at);
  if (cache.format == ElementType::Float16) return f16_to_f32(*reinterpret_cast<const uint16_t*>(at));
  int code = *at >> place.shift & 15;
  if (cache.format == ElementType::Int8) code = cache.side == KvSide::Keys ? *at : static_cast<int8_t>(*at) + 128;
  const uint16_t* scale = cache.scales + head * kv_head_scales(cache.format, cache.capacity) + kv_scale_index(position);
  return (code - double{f16_to_f32(scale[kKvGroup])}) * f16_to_f32(scale[0]);
}

void attention(const Attention& a) {
  const KvCache keys{KvSide::Keys, a.format, a.head_dim, a.capacity, a.keys, a.key_scales};
  const KvCache values{KvSide::Values, a.format, a.head_dim, a.capacity, a.values, a.value_scales};
  std::vector<double> p;
  for (int64_t t = 0; t < a.tokens; ++t) {
    const int64_t last = a.start + t;
    const int64_t first = a.window > 0 ? std::max<int64_t>(0, last - a.window + 1) : 0;
    for (int64_t h = 0; h < a.heads; ++h) {
      const float* q = a.q + t * a.q_stride + h * a.head_dim;
      float* out = a.out + t * a.out_stride + h * a.head_dim;
      const int64_t kv_head = h / (a.heads / a.kv_heads);
      p.assign(static_cast<size_t>(last - first + 1), 0);
      double top = -std::numeric_limits<double>::infinity();
      for (int64_t j = first; j <= last; ++j) {
        double dot = 0;
        for (int64_t d = 0; d < a.head_dim; ++d) dot += q[d] * kv_element(keys, kv_head, j, d);
        p[static_cast<size_t>(j - first)] = dot * a.softmax_scale;
        top = std::max(top, dot * a.softmax_scale);
      }
      double total = 0;
      for (double& x : p) total += x = std::exp(x - top);
      for (int64_t d = 0; d < a.head_dim; ++d) {
        double sum = 0;
        for (int64_t j = first; j <= last; ++j)
          sum += p[static_cast<size_t>(j - first)] * kv_element(values, kv_head, j, d);
        out[d] = static_cast<float>(sum / total);
      }
    }
  }
}

}  // namespace halftone::reference
