// RMSNorm, RoPE and gated activations of one row or token.
#pragma once

#include "kernels/cpu/elementwise/elementwise_kernel.h"
#include "kernels/cpu/elementwise/gate-inl.h"
#include "kernels/cpu/elementwise/norm-inl.h"

namespace halftone::kernels::HALFTONE_ISA_NAMESPACE {

static void rms_norm(const float* x, const float* weight, int64_t k, float epsilon, float* y) {
  const F inverse = inverse_rms(x, k, epsilon);
  for (int64_t i = 0; i < k; i += kLanes) {
    const int64_t n = k - i;
    F v = mul(load(x + i, n), inverse);
    if (weight != nullptr) v = mul(v, load(weight + i, n));
    store(y + i, v, n);
  }
}

/// Sines and cosines of doubles up to 2^50 or so, to about 1e-15: the angle less the nearest multiple of pi/2, in three
/// parts whose sum is pi/2 to 160 bits, then Taylor polynomials on |r| <= pi/4.
static inline void sine_cosine(D angle, D& sine, D& cosine) {
  const D magic = set_d(0x1.8p52);  // adding it leaves the nearest integer in the low bits
  const D shifted = add(mul(angle, set_d(0.63661977236758134308)), magic);
  const D n = sub(shifted, magic);
  D r = fnma(n, set_d(0x1.921fb54442d18p+0), angle);
  r = fnma(n, set_d(0x1.1a62633145c07p-54), r);
  r = fnma(n, set_d(-0x1.f1976b7ed8fbcp-110), r);
  const D r2 = mul(r, r);
  D s = set_d(-1.0 / 1307674368000);
  s = fma(s, r2, set_d(1.0 / 6227020800));
  s = fma(s, r2, set_d(-1.0 / 39916800));
  s = fma(s, r2, set_d(1.0 / 362880));
  s = fma(s, r2, set_d(-1.0 / 5040));
  s = fma(s, r2, set_d(1.0 / 120));
  s = fma(s, r2, set_d(-1.0 / 6));
  s = fma(mul(s, r2), r, r);
  D c = set_d(1.0 / 20922789888000);
  c = fma(c, r2, set_d(-1.0 / 87178291200));
  c = fma(c, r2, set_d(1.0 / 479001600));
  c = fma(c, r2, set_d(-1.0 / 3628800));
  c = fma(c, r2, set_d(1.0 / 40320));
  c = fma(c, r2, set_d(-1.0 / 720));
  c = fma(c, r2, set_d(1.0 / 24));
  c = fma(c, r2, set_d(-0.5));
  c = fma(c, r2, set_d(1.0));
  const auto quadrant = as_int(shifted);
  const D minus_s = sub(zero_d(), s);
  const D turned_s = select_bit(quadrant, 0, c, s), turned_c = select_bit(quadrant, 0, minus_s, c);
  sine = select_bit(quadrant, 1, sub(zero_d(), turned_s), turned_s);
  cosine = select_bit(quadrant, 1, sub(zero_d(), turned_c), turned_c);
}

static void rope_angles(const RopeRow& row, int64_t position, const double* inverse_frequency) {
  const int64_t pairs = row.rotary_dim / 2;
  const D p = set_d(static_cast<double>(position));
  // Adjacent pairs want every value twice: made in the upper half of the row, then spread from the front.
  const int64_t at = row.adjacent ? pairs : 0;
  for (int64_t i = 0; i < pairs; i += kDoubles) {
    D s, c;
    sine_cosine(mul(p, load_d(inverse_frequency + i, pairs - i)), s, c);
    store_narrow(row.sines + at + i, s);
    store_narrow(row.cosines + at + i, c);
  }
  if (!row.adjacent) return;
  for (int64_t i = 0; i < pairs; ++i) {
    const float c = row.cosines[pairs + i], s = row.sines[pairs + i];
    row.cosines[2 * i] = row.cosines[2 * i + 1] = c;
    row.sines[2 * i] = -s;
    row.sines[2 * i + 1] = s;
  }
}

static void rope_rotate(const RopeRow& row, int64_t heads, int64_t head_dim, float* x) {
  const int64_t pairs = row.rotary_dim / 2;
  for (int64_t h = 0; h < heads; ++h, x += head_dim) {
    if (row.adjacent) {
      for (int64_t i = 0; i < row.rotary_dim; i += kLanes) {
        const int64_t n = row.rotary_dim - i;
        const F v = load(x + i, n);
        store(x + i, fma(swap_pairs(v), load(row.sines + i, n), mul(v, load(row.cosines + i, n))), n);
      }
      continue;
    }
    for (int64_t i = 0; i < pairs; i += kLanes) {
      const int64_t n = pairs - i;
      const F a = load(x + i, n), b = load(x + pairs + i, n);
      const F c = load(row.cosines + i, n), s = load(row.sines + i, n);
      store(x + i, fnma(b, s, mul(a, c)), n);
      store(x + pairs + i, fma(a, s, mul(b, c)), n);
    }
  }
}

template <class Activation>
static void gated(int64_t n, const float* gate, const float* up, float* y) {
  for (int64_t i = 0; i < n; i += kLanes)
    store(y + i, gated<Activation>(load(gate + i, n - i), load(up + i, n - i)), n - i);
}

}  // namespace halftone::kernels::HALFTONE_ISA_NAMESPACE
