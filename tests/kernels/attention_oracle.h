// What the attention tests share: filled caches, and a double-precision evaluation with an error bound derived per
// output.
#pragma once

#include <cmath>
#include <tuple>

#include "kernel_test.h"
#include "kernels/api/attention.h"
#include "kernels/api/quantize.h"
#include "numerics/half.h"
#include "numerics/reference/attention.h"

namespace halftone::kernels {

enum class Data { Normal, Sink, LateSink, ChannelBias };

/// A filled cache whose rows past the last one hold NaN (f32, f16) or NaN scales (integers).
struct Cache {
  Cache(const AttentionProblem& p, int64_t slack, Data data, uint64_t seed) : capacity(p.start + p.tokens + slack) {
    const int64_t filled = p.start + p.tokens, width = p.kv_heads * p.head_dim;
    auto k = random_normal(filled * width, seed), v = random_normal(filled * width, seed + 1);
    for (int64_t h = 0; h < p.kv_heads; ++h)
      for (int64_t d = 0; d < p.head_dim; ++d) {
        if (data == Data::Sink || data == Data::LateSink) {
          // One key with a huge norm and a tiny value, as language models make of the first.
          const int64_t at = data == Data::Sink ? 0 : 2 * filled / 3;
          k[static_cast<size_t>(at * width + h * p.head_dim + d)] *= 60;
          v[static_cast<size_t>(at * width + h * p.head_dim + d)] *= 0.02f;
        }
        if (data == Data::ChannelBias && d % 7 == 3)
          for (int64_t t = 0; t < filled; ++t) {
            k[static_cast<size_t>(t * width + h * p.head_dim + d)] += 12;
            v[static_cast<size_t>(t * width + h * p.head_dim + d)] -= 5;
          }
      }
    OwnedExecContext context(1);
    for (Side* side : {&keys, &values}) {
      side->codes.assign(static_cast<size_t>(p.kv_heads * kv_head_bytes(p.format, p.head_dim, capacity)), 0xff);
      side->scales.assign(static_cast<size_t>(p.kv_heads * 2 * kv_padded_tokens(capacity)), 0x7e00);
      store_kv(context.get(),
               {.tokens = filled,
                .kv_heads = p.kv_heads,
                .head_dim = p.head_dim,
                .format = p.format,
                .side = side == &keys ? KvSide::Keys : KvSide::Values},
               {.x = side == &keys ? k.data() : v.data(),
                .x_stride = width,
                .codes = side->codes.data(),
                .scales = side->scales.data(),
                .capacity = capacity});
    }
  }
  struct Side {
    std::vector<unsigned char> codes;
    std::vector<uint16_t> scales;
    KvView view() const { return {codes.data(), scales.data()}; }
  };
  AttentionArgs args(const float* q, float* out, int64_t width, int64_t out_stride, float scale) const {
    return {.q = q,
            .q_stride = width,
            .keys = keys.view(),
            .values = values.view(),
            .capacity = capacity,
            .softmax_scale = scale,
            .out = out,
            .out_stride = out_stride};
  }
  int64_t capacity;
  Side keys, values;
};

/// Whose arithmetic a bound is for.
enum class Products {
  Full,     ///< f32 and integers
  Rounded,  ///< bf16, against a result of operands that are rounded first (float caches): what is left is arithmetic
  BFloat16  ///< bf16, against the exact result: what kernels/api/attention.h promises
};

/// Rows of one head, read back exactly (or rounded to bf16); for integers also scale and zero point of every token.
struct HeadRows {
  HeadRows(const AttentionProblem& p, const Cache& cache, KvSide side, int64_t head, Products products)
      : dim(p.head_dim), scaled(bits_of(p.format) <= 8) {
    const Cache::Side& from = side == KvSide::Keys ? cache.keys : cache.values;
    const reference::KvCache view{side, p.format, dim, cache.capacity, from.codes.data(), from.scales.data()};
    for (int64_t j = 0; j < p.start + p.tokens; ++j) {
      for (int64_t d = 0; d < dim; ++d) {
        const double x = reference::kv_element(view, head, j, d);
        elements.push_back(products == Products::Rounded ? bf16_to_f32(f32_to_bf16(static_cast<float>(x))) : x);
      }
      const auto* pair = from.scales.data() + head * kv_head_scales(p.format, cache.capacity) + kv_scale_index(j);
      scale.push_back(scaled ? f16_to_f32(pair[0]) : 0);
      zero.push_back(scaled ? f16_to_f32(pair[kKvGroup]) : 0);
    }
  }
  double at(int64_t j, int64_t d) const { return elements[static_cast<size_t>(j * dim + d)]; }
  int64_t dim;
  bool scaled;
  std::vector<double> elements, scale, zero;
};

struct Expected {
  std::vector<double> value, bound;  ///< [tokens, heads, head_dim]
};

constexpr int64_t kBlock = 128;                // keys whose weights are rounded and summed together
constexpr double kQueryStep = 0.502 / 16256;   // largest rounding of a query element, per largest one
constexpr double kWeightStep = 0.502 / 32767;  // of a weight times scale, per largest one of its block

/// A score and how far arithmetic may stray from it. Floats: D fused steps and two roundings, (D + 4) u sum|q k|.
/// Integers: rounding the query moves it by kQueryStep max|q| sum|k|; the exact integer sum is rounded to f32, the
/// zero point's part is taken off in one step, and four roundings scale it. bf16: rounding both operands by 2^-9 of
/// them (and f32 before that: a few units each, of code - zero too) moves it by little more than 2^-7 sum|q k|.
inline std::pair<double, double> score(const HeadRows& k, const float* q, int64_t j, double scale, Products products) {
  double dot = 0, size = 0, norm = 0, largest = 0, codes = 0, sum = 0, sizes = 0;
  for (int64_t d = 0; d < k.dim; ++d) {
    dot += q[d] * k.at(j, d);
    size += std::fabs(q[d] * k.at(j, d));
    norm += std::fabs(k.at(j, d));
    largest = std::max(largest, std::fabs(double{q[d]}));
    const auto row = static_cast<size_t>(j);
    if (k.scaled) codes += q[d] * (k.at(j, d) + k.zero[row] * k.scale[row]);
    sum += q[d];
    sizes += std::fabs(q[d]);
  }
  if (products == Products::BFloat16) {
    const double zero_point = std::fabs(k.zero[static_cast<size_t>(j)] * k.scale[static_cast<size_t>(j)]);
    const double rounding = 1.01 * 0x1p-7 * size + kUnit * (static_cast<double>(k.dim + 8) * size + zero_point * sizes);
    return {dot * scale, scale * rounding};
  }
  if (!k.scaled) return {dot * scale, static_cast<double>(k.dim + 4) * kUnit * scale * size};
  return {dot * scale, scale * (kQueryStep * largest * norm + kUnit * (1.01 * std::fabs(codes) + 6 * std::fabs(dot)))};
}

/// The exact result, and how far f32 and integer arithmetic may stray. A weight 2^(s - m) errs by |ds| + u |s - m| + 4
/// u relative; it enters the numerator and the denominator. Summing costs a rounding a key of a block (floats) or a
/// lane's share of it and three a merge. Integers: a block's weights are rounded by kWeightStep of its largest weight
/// times scale, against codes less zero points; sums of codes and of zero points are rounded apart. bf16: weights are
/// rounded by 2^-8 after an exponential good to 2^-13.6, in the sum of weights too, so the sum adds no error of its
/// own.
inline Expected expect(const AttentionProblem& p, const Cache& cache, std::vector<float> q, double scale,
                       Products products = Products::Full) {
  const bool bf16 = products != Products::Full;
  if (products == Products::Rounded) {  // what the kernel multiplies with: times log2(e), for weights 2^score
    const float factor = static_cast<float>(scale) * 1.44269504f;
    for (float& x : q) x = bf16_to_f32(f32_to_bf16(x * factor));
    scale = std::log(2.0);
  }
  const int64_t d_count = p.head_dim, width = p.heads * d_count;
  Expected e;
  e.value.resize(static_cast<size_t>(p.tokens * width));
  e.bound.resize(e.value.size());
  for (int64_t h = 0; h < p.heads; ++h) {
    const HeadRows keys(p, cache, KvSide::Keys, h / (p.heads / p.kv_heads), products);
    const HeadRows values(p, cache, KvSide::Values, h / (p.heads / p.kv_heads), products);
    for (int64_t t = 0; t < p.tokens; ++t) {
      const int64_t last = p.start + t, first = p.window > 0 ? std::max<int64_t>(0, last - p.window + 1) : 0;
      const int64_t n = last - first + 1;
      std::vector<double> s(static_cast<size_t>(n)), error(s.size()), most(static_cast<size_t>(last / kBlock + 1));
      double top = -INFINITY, total = 0, total_error = 0;
      for (int64_t j = 0; j < n; ++j) {
        const auto at = static_cast<size_t>(j);
        std::tie(s[at], error[at]) = score(keys, q.data() + t * width + h * d_count, first + j, scale, products);
        top = std::max(top, s[at]);
      }
      for (size_t j = 0; j < s.size(); ++j) {
        error[j] += kUnit * (std::fabs(s[j] - top) + std::fabs(s[j]) + 4);
        if (bf16) error[j] = std::expm1(error[j] + 1.01 * 0x1p-8 + 8e-5);
        s[j] = std::exp(s[j] - top);
        total += s[j];
        total_error += s[j] * error[j];
        const size_t row = j + static_cast<size_t>(first), block = row / kBlock;
        most[block] = std::max(most[block], s[j] * values.scale[row]);
      }
      const double merging = kUnit * 4.0 * static_cast<double>(n / kBlock + 2);
      // Tiles add two products at a time to one sum over all keys, which may round twice.
      const double summing = merging + kUnit * (bf16            ? 2.0 * static_cast<double>(n) + 40
                                                : values.scaled ? 22.0
                                                                : kBlock + 6.0);
      for (int64_t d = 0; d < d_count; ++d) {
        double sum = 0, size = 0, weighted = 0, rounding = 0;
        for (int64_t j = 0; j < n; ++j) {
          const auto row = static_cast<size_t>(first + j);
          const double v = values.at(first + j, d), weight = s[static_cast<size_t>(j)];
          sum += weight * v;
          size += weight * std::fabs(v);
          weighted += weight * std::fabs(v) * error[static_cast<size_t>(j)];
          if (products == Products::BFloat16)
            rounding +=
                weight * (1.01 * 0x1p-8 * std::fabs(v) + kUnit * std::fabs(values.zero[row] * values.scale[row]));
          if (!values.scaled || bf16) continue;
          size += weight * values.scale[row] * (std::fabs(values.zero[row]) + 256);  // zero points, codes apart
          rounding += kWeightStep * most[row / kBlock] * std::fabs(v) / values.scale[row];
        }
        const size_t at = static_cast<size_t>(t * width + h * d_count + d);
        e.value[at] = sum / total;
        e.bound[at] =
            1.1 * ((weighted + rounding + summing * size) / total + std::fabs(sum) / total * total_error / total) +
            kTiny;
      }
    }
  }
  return e;
}

/// The elements of `out`, rows `out_stride` apart, against what is expected.
inline void check_outputs(const AttentionProblem& p, const std::vector<float>& out, int64_t out_stride,
                          const Expected& expected) {
  const int64_t width = p.heads * p.head_dim;
  for (int64_t t = 0; t < p.tokens; ++t) {
    for (int64_t i = 0; i < width; ++i) {
      const size_t at = static_cast<size_t>(t * width + i);
      const double got = out[static_cast<size_t>(t * out_stride + i)];
      ASSERT_LE(std::fabs(got - expected.value[at]), expected.bound[at]) << "token " << t << " element " << i;
    }
    for (int64_t i = width; i < out_stride; ++i) ASSERT_EQ(out[static_cast<size_t>(t * out_stride + i)], 7.0f);
  }
}

/// Poison, and sevens between rows.
inline std::vector<float> poisoned_outputs(const AttentionProblem& p, int64_t out_stride) {
  std::vector<float> out(static_cast<size_t>(p.tokens * out_stride), 7.0f);
  for (int64_t t = 0; t < p.tokens; ++t) std::fill_n(out.begin() + t * out_stride, p.heads * p.head_dim, kPoison);
  return out;
}

}  // namespace halftone::kernels
