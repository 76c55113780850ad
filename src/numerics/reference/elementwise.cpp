// Double-precision element-wise operations; see elementwise.h.
#include "numerics/reference/elementwise.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace halftone::reference {

void rms_norm(int64_t rows, int64_t k, const float* x, int64_t x_stride, const float* weight, float epsilon, float* y,
              int64_t y_stride) {
  for (int64_t r = 0; r < rows; ++r) {
    const float* row = x + r * x_stride;
    double squares = 0;
    for (int64_t i = 0; i < k; ++i) squares += double{row[i]} * row[i];
    const double root = std::sqrt(squares / static_cast<double>(k) + epsilon);
    for (int64_t i = 0; i < k; ++i)
      y[r * y_stride + i] = static_cast<float>(row[i] / root * (weight == nullptr ? 1.0 : weight[i]));
  }
}

void rope(int64_t tokens, int64_t heads, int64_t head_dim, int64_t rotary_dim, bool adjacent, float* x,
          int64_t x_stride, int64_t start, const double* inverse_frequency) {
  const int64_t pairs = rotary_dim / 2;
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t i = 0; i < pairs; ++i) {
      const double angle = static_cast<double>(start + t) * inverse_frequency[i];
      const double c = std::cos(angle), s = std::sin(angle);
      for (int64_t h = 0; h < heads; ++h) {
        float* head = x + t * x_stride + h * head_dim;
        float& first = head[adjacent ? 2 * i : i];
        float& second = head[adjacent ? 2 * i + 1 : i + pairs];
        const double a = first, b = second;
        first = static_cast<float>(a * c - b * s);
        second = static_cast<float>(a * s + b * c);
      }
    }
}

void rope_angles(int64_t tokens, int64_t rotary_dim, bool adjacent, int64_t start, const double* inverse_frequency,
                 float* rows, int64_t row_floats) {
  for (int64_t t = 0; t < tokens; ++t) {
    float *cosines = rows + t * row_floats, *sines = cosines + row_floats / 2;
    for (int64_t i = 0; i < rotary_dim / 2; ++i) {
      const double angle = static_cast<double>(start + t) * inverse_frequency[i];
      const auto c = static_cast<float>(std::cos(angle)), s = static_cast<float>(std::sin(angle));
      if (!adjacent) {
        cosines[i] = c, sines[i] = s;
        continue;
      }
      cosines[2 * i] = cosines[2 * i + 1] = c;
      sines[2 * i] = -s, sines[2 * i + 1] = s;
    }
  }
}

double silu(double x) { return x / (1 + std::exp(-x)); }

double gelu_tanh(double x) {
  const double z = std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x);
  return x / (1 + std::exp(-2 * z));
}

void gated(int64_t n, bool gelu, const float* gate, const float* up, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = static_cast<float>((gelu ? gelu_tanh(gate[i]) : silu(gate[i])) * up[i]);
}

namespace {

double log_sum_exp_of(int64_t k, const float* x) {
  const double top = *std::max_element(x, x + k);
  double sum = 0;
  for (int64_t i = 0; i < k; ++i) sum += std::exp(x[i] - top);
  return top + std::log(sum);
}

}  // namespace

void softmax_stats(int64_t rows, int64_t k, const float* x, const float* reference, int32_t* argmax,
                   double* log_sum_exp, double* kl) {
  for (int64_t r = 0; r < rows; ++r) {
    const float* row = x + r * k;
    argmax[r] = static_cast<int32_t>(std::max_element(row, row + k) - row);
    log_sum_exp[r] = log_sum_exp_of(k, row);
    if (reference == nullptr) continue;
    const float* other = reference + r * k;
    const double other_log_sum = log_sum_exp_of(k, other);
    double sum = 0;  // of p_ref d + p - p_ref with d = log(p_ref / p): the same sum with terms that cannot cancel
    for (int64_t i = 0; i < k; ++i) {
      const double p = std::exp(other[i] - other_log_sum);
      if (p == 0) {
        sum += std::exp(row[i] - log_sum_exp[r]);
        continue;
      }
      const double d = (other[i] - other_log_sum) - (row[i] - log_sum_exp[r]);
      sum += std::isinf(d) ? d : p * (std::expm1(-d) + d);
    }
    kl[r] = sum;
  }
}

}  // namespace halftone::reference
