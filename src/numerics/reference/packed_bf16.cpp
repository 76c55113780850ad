// Plain loops in double; see packed_bf16.h.
#include "numerics/reference/packed_bf16.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "numerics/half.h"

namespace halftone::reference {
namespace {

constexpr int64_t kTokens = 16, kLength = 32;

int64_t tiled_index(int64_t units, int64_t m, int64_t k) {
  return (m / kTokens * units + k / kLength) * kTokens * kLength + m % kTokens * kLength + k % kLength;
}

double activated(double gate, bool gelu) {
  const double exponent = gelu ? 2 * std::sqrt(2 / std::numbers::pi) * (gate + 0.044715 * gate * gate * gate) : gate;
  return gate / (1 + std::exp(-exponent));
}

/// Matrix instructions take denormals for zero.
float without_denormals(uint16_t bits) { return (bits & 0x7f80u) == 0 ? 0.0f : bf16_to_f32(bits); }

std::vector<double> rounded_row(const PackedWeights& w, int64_t n) {
  std::vector<double> row;
  for (int64_t k = 0; k < w.k; ++k)
    row.push_back(without_denormals(f32_to_bf16(static_cast<float>(packed_weight_value(w, n, k)))));
  return row;
}

double dot(const uint16_t* x, int64_t t, const std::vector<double>& row) {
  const auto k = static_cast<int64_t>(row.size());
  double sum = 0;
  for (int64_t i = 0; i < k; ++i)
    sum += row[static_cast<size_t>(i)] * static_cast<double>(without_denormals(x[tiled_index(units_of(k), t, i)]));
  return sum;
}

}  // namespace

void packed_bf16(const uint16_t* x, int64_t m, const PackedWeights& w, int64_t n0, int64_t n1, const float* bias,
                 bool accumulate, float* y, int64_t y_stride) {
  for (int64_t n = n0; n < n1; ++n) {
    const std::vector<double> row = rounded_row(w, n);
    for (int64_t t = 0; t < m; ++t) {
      float& out = y[t * y_stride + n];
      const double begin = accumulate ? static_cast<double>(out) : bias != nullptr ? static_cast<double>(bias[n]) : 0;
      out = static_cast<float>(begin + dot(x, t, row));
    }
  }
}

void packed_bf16_gated(const uint16_t* x, int64_t m, const PackedWeights& w, bool gelu, uint16_t* y) {
  const int64_t half = w.n / 2, units = units_of(half);
  std::fill_n(y, (m + 31) / 32 * 32 * units * kLength, uint16_t{0});
  for (int64_t n = 0; n < half; ++n) {
    const std::vector<double> gate = rounded_row(w, n), up = rounded_row(w, half + n);
    for (int64_t t = 0; t < m; ++t)
      y[tiled_index(units, t, n)] = f32_to_bf16(static_cast<float>(activated(dot(x, t, gate), gelu) * dot(x, t, up)));
  }
}

void round_activations(const float* x, int64_t x_stride, int64_t rows, int64_t k, uint16_t* y) {
  const int64_t units = units_of(k);
  std::fill_n(y, (rows + 31) / 32 * 32 * units * kLength, uint16_t{0});
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < k; ++i) {
      const uint16_t bits = f32_to_bf16(x[r * x_stride + i]);
      y[tiled_index(units, r, i)] = (bits & 0x7f80u) == 0 ? static_cast<uint16_t>(bits & 0x8000u) : bits;
    }
}

}  // namespace halftone::reference
