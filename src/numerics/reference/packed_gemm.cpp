// Plain loops in double; see packed_gemm.h.
#include "numerics/reference/packed_gemm.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "numerics/formats/element_codec.h"
#include "numerics/half.h"

namespace halftone::reference {
namespace {

/// Where the value of (n, k) lies in an array of one value every `group` elements.
int64_t group_index(const PackedWeights& w, int64_t group, int64_t n, int64_t k) {
  const int64_t groups = (w.k + group - 1) / group;
  return (n / kTileRows * groups + k / group) * kTileRows + n % kTileRows;
}

/// An f16 number, times the i8 factor `factors[at]` where those are given.
double scaled(const uint16_t* halves, int64_t half_at, const uint8_t* factors, int64_t at) {
  const double factor = factors != nullptr ? static_cast<int8_t>(factors[at]) : 1;
  return static_cast<double>(f16_to_f32(halves[half_at])) * factor;
}

/// Codes, scale and sums of the `count` elements at x; false when one is not finite.
bool quantize_run(const float* x, int64_t count, int8_t* codes, float* scale) {
  float top = 0;
  bool finite = true;
  for (int64_t i = 0; i < count; ++i) {
    finite = finite && std::isfinite(x[i]);
    top = std::max(top, std::fabs(x[i]));
  }
  *scale = finite ? top / 127 : std::numeric_limits<float>::quiet_NaN();
  const float inverse = finite && top > 127 / 3.4e38f ? 127 / top : 0;
  for (int64_t i = 0; i < count; ++i)
    codes[i] = finite ? static_cast<int8_t>(std::nearbyint(std::clamp(x[i] * inverse, -127.0f, 127.0f))) : int8_t{0};
  return finite;
}

}  // namespace

double packed_weight_value(const PackedWeights& w, int64_t n, int64_t k) {
  const int64_t at = group_index(w, w.group, n, k), half_at = w.super ? group_index(w, kSuperGroup, n, k) : at;
  const int symmetric = w.mins != nullptr ? 0 : symmetric_zero(w.type);
  const int zero = w.zeros != nullptr ? w.zeros[at] : w.type == ElementType::Int8 ? 128 : symmetric;
  const int code = interleaved_code(w.type, w.k, w.codes, n, k);
  double value = w.values != nullptr ? w.values[code] : code - zero;
  if (w.scale_format != nullptr)
    value *= static_cast<double>(decode(*w.scale_format, w.group_scales[at]));
  else if (w.group_scales != nullptr && !w.super)
    value *= w.group_scales[at];
  if (w.scales != nullptr) value *= scaled(w.scales, half_at, w.super ? w.group_scales : nullptr, at);
  if (w.mins != nullptr) value += scaled(w.mins, half_at, w.super ? w.group_mins : nullptr, at);
  if (w.row_scales != nullptr) value *= static_cast<double>(w.row_scales[n]);
  return value;
}

void packed_gemm(const PackedActivations& x, int64_t m, const PackedWeights& w, int64_t n0, int64_t n1,
                 const float* bias, bool accumulate, float* y, int64_t y_stride) {
  std::vector<double> row(static_cast<size_t>(w.k));
  const int64_t units = units_of(w.k);
  for (int64_t n = n0; n < n1; ++n) {
    for (int64_t k = 0; k < w.k; ++k) row[static_cast<size_t>(k)] = packed_weight_value(w, n, k);
    for (int64_t t = 0; t < m; ++t) {
      double sum = 0;
      for (int64_t k = 0; k < w.k; ++k) {
        const float scale = x.unit_scales ? x.scales[t * units + k / kUnitLength] : x.scales[t];
        sum += row[static_cast<size_t>(k)] * (x.codes[t * x.stride + k] * static_cast<double>(scale));
      }
      float& to = y[t * y_stride + n];
      const auto value = static_cast<float>(bias != nullptr ? sum + static_cast<double>(bias[n]) : sum);
      to = accumulate ? to + value : value;
    }
  }
}

int64_t quantize_activations(int64_t rows, int64_t k, const float* x, int64_t x_stride, bool unit_scales, int8_t* codes,
                             int64_t code_stride, float* scales, int32_t* sums) {
  int64_t bad = -1;
  const int64_t units = units_of(k), run = unit_scales ? kUnitLength : k;
  for (int64_t r = 0; r < rows; ++r) {
    int8_t* row = codes + r * code_stride;
    std::fill_n(row, code_stride, int8_t{0});
    for (int64_t i = 0; i < k; i += run) {
      float* scale = scales + (unit_scales ? r * units + i / kUnitLength : r);
      if (!quantize_run(x + r * x_stride + i, std::min(run, k - i), row + i, scale)) {
        if (bad < 0) bad = r;
      } else if (unit_scales) {
        *scale = f16_to_f32(f32_to_f16(std::min(*scale, 65504.0f)));
      }
    }
    for (int64_t u = 0; u < units; ++u) {
      int32_t& sum = sums[r * units + u] = 0;
      for (int64_t i = u * kUnitLength; i < std::min(k, (u + 1) * kUnitLength); ++i) sum += row[i];
    }
  }
  return bad;
}

}  // namespace halftone::reference
