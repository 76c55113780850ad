// Maximum, log-sum-exp and divergence of rows of logits. Exponentials are single, their sums double.
#pragma once

#include "kernels/cpu/elementwise/elementwise_kernel.h"
#include "kernels/cpu/simd-inl.h"

namespace halftone::kernels::HALFTONE_ISA_NAMESPACE {

inline constexpr int64_t kChunkVectors = 32;
inline constexpr int64_t kChunkFloats = kChunkVectors * kLanes;

/// n floats from p, -infinity past them.
static inline F load_or_lowest(const float* p, int64_t n) {
  return select(first_lanes(n), load(p, n), set(-__builtin_inff()));
}

static float chunk_maximum(const float* x, int64_t n) {
  F top[4];
  for (F& t : top) t = set(-__builtin_inff());
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes)
    for (int v = 0; v < 4; ++v) top[v] = max(load(x + i + v * kLanes), top[v]);
  for (; i < n; i += kLanes) top[0] = max(load_or_lowest(x + i, n - i), top[0]);
  return maximum(max(max(top[0], top[1]), max(top[2], top[3])));
}

/// A chunk at a time, so that only the chunk with the maximum is searched for its place.
static SoftmaxSum softmax_sum(int64_t k, const float* x) {
  SoftmaxSum result = {0, -__builtin_inff(), 0};
  int64_t best = 0;
  for (int64_t i = 0; i < k; i += kChunkFloats) {
    const float top = chunk_maximum(x + i, k - i < kChunkFloats ? k - i : kChunkFloats);
    if (top > result.maximum) {
      result.maximum = top;
      best = i;
    }
  }
  result.argmax = best;
  while (result.argmax < k && x[result.argmax] != result.maximum) ++result.argmax;
  if (result.argmax == k) result.argmax = 0;  // a row of NaN

  const F top = set(result.maximum);
  D sums[2] = {zero_d(), zero_d()};
  int64_t i = 0;
  for (; i + 2 * kLanes <= k; i += 2 * kLanes)
    for (int v = 0; v < 2; ++v) sums[v] = add_halves(exp(sub(load(x + i + v * kLanes), top)), sums[v]);
  for (; i < k; i += kLanes) sums[0] = add_halves(exp(sub(load_or_lowest(x + i, k - i), top)), sums[0]);
  result.sum = sum(add(sums[0], sums[1]));
  return result;
}

/// e^-d - 1 + d for |d| <= 1/2, without cancellation: d^2 (1/2 - d/6 + d^2/24 - ...), ten terms.
static inline F small_divergence(F d) {
  F p = set(1.0f / 3628800);
  p = fma(p, d, set(-1.0f / 362880));
  p = fma(p, d, set(1.0f / 40320));
  p = fma(p, d, set(-1.0f / 5040));
  p = fma(p, d, set(1.0f / 720));
  p = fma(p, d, set(-1.0f / 120));
  p = fma(p, d, set(1.0f / 24));
  p = fma(p, d, set(-1.0f / 6));
  p = fma(p, d, set(0.5f));
  return mul(mul(d, d), p);
}

/// KL as the sum of r (e^-d - 1 + d) with d = log(r/x): every term is positive, so nothing cancels, and an error in the
/// log-sum-exps has no first-order effect. The plain sum of r d would lose divergences below 1e-6.
static double softmax_kl(int64_t k, const float* x, double x_log_sum, const float* r, double r_log_sum) {
  const F x_log = set(static_cast<float>(x_log_sum)), r_log = set(static_cast<float>(r_log_sum));
  const F shift = set(static_cast<float>(r_log_sum - x_log_sum));
  D total = zero_d();
  for (int64_t i = 0; i < k; i += kLanes) {
    const F a = load_or_lowest(x + i, k - i), b = load_or_lowest(r + i, k - i);
    const F p = exp(sub(b, r_log)), q = exp(sub(a, x_log));
    const F d = sub(sub(b, a), shift);
    const F large = fma(p, d, sub(q, p));
    const M small = both(greater(d, set(-0.5f)), greater(set(0.5f), d));
    F term = select(small, mul(p, small_divergence(d)), large);
    term = select(greater(p, zero()), term, q);  // p = 0: the limit, where p d could be 0 times infinity
    term = select(is_nan(p), p, term);
    total = add_halves(term, total);
  }
  return sum(total);
}

}  // namespace halftone::kernels::HALFTONE_ISA_NAMESPACE
