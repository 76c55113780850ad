// Every element-wise entry against double precision, with bounds counted in roundings (u = 2^-24).
#include "kernels/api/elementwise.h"

#include <cfenv>
#include <cmath>
#include <cstring>

#include "kernel_test.h"
#include "numerics/reference/elementwise.h"

namespace halftone::kernels {
namespace {

constexpr int64_t kRows[] = {1, 3, 129};
constexpr int64_t kWidths[] = {1, 17, 64, 576, 640, 1536};

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// x * inverse * weight with a rounded inverse: three roundings, one more for the weight's product.
TEST(RmsNorm, EveryEntryWithinFourRoundings) {
  uint64_t seed = 1;
  for (const int64_t rows : kRows)
    for (const int64_t k : kWidths)
      for (const float size : {1.0f, 1e25f, 1e-18f}) {
        const int64_t stride = k + 3;
        auto x = random_normal(rows * stride, ++seed, size);
        x[0] *= 1e4f;  // an outlier channel
        const auto weight = random_normal(k, seed + 1000);
        const RmsNormProblem p{rows, k};
        for_each_entry(rms_norm_table(), p, [&](ExecContext& context, const auto& entry) {
          for (const bool weighted : {true, false})
            for (const bool in_place : {true, false}) {
              std::vector<float> y(x.size(), kPoison);
              if (in_place) y = x;
              entry.run(context, p,
                        {in_place ? y.data() : x.data(), stride, weighted ? weight.data() : nullptr, 1e-5f, y.data(),
                         stride});
              for (int64_t r = 0; r < rows; ++r) {
                double squares = 0;
                for (int64_t i = 0; i < k; ++i) squares += std::pow(double{x[static_cast<size_t>(r * stride + i)]}, 2);
                const double root = std::sqrt(squares / static_cast<double>(k) + 1e-5f);
                for (int64_t i = 0; i < k; ++i) {
                  const size_t at = static_cast<size_t>(r * stride + i);
                  const double want = x[at] / root * (weighted ? weight[static_cast<size_t>(i)] : 1);
                  ASSERT_LE(std::fabs(y[at] - want), 4 * kUnit * std::fabs(want) + kTiny) << r << "," << i;
                }
                if (!in_place) {
                  ASSERT_TRUE(std::isnan(y[static_cast<size_t>(r * stride + k)])) << "padding";
                }
              }
            }
        });
      }
}

// Cosine, sine, two products and a sum: a c - b s errs by at most 4 u (|a| + |b|). std::cos of the same double angle is
// exact enough at any position; a float angle would be off by 1e5 u.
TEST(Rope, BothStylesAtAnyPosition) {
  for (const RopeStyle style : {RopeStyle::Adjacent, RopeStyle::HalfSplit})
    for (const int64_t start : {int64_t{0}, int64_t{4095}, int64_t{131072}, int64_t{10000000}})
      for (const auto& [dim, rotary] :
           {std::pair<int64_t, int64_t>{64, 64}, {256, 256}, {80, 32}, {6, 6}, {2, 2}, {20, 14}}) {
        const RopeProblem p{5, 3, dim, rotary, style};
        const int64_t stride = p.heads * dim + 7;
        const auto x = random_normal(p.tokens * stride, static_cast<uint64_t>(start + dim));
        std::vector<double> frequency(static_cast<size_t>(rotary / 2));
        for (size_t i = 0; i < frequency.size(); ++i)
          frequency[i] = std::pow(10000.0, -2.0 * static_cast<double>(i) / static_cast<double>(rotary));
        for_each_entry(rope_table(), p, [&](ExecContext& context, const auto& entry) {
          auto y = x;
          entry.run(context, p, {y.data(), stride, start, frequency.data()});
          std::vector<bool> rotated(x.size(), false);
          for (int64_t t = 0; t < p.tokens; ++t)
            for (int64_t h = 0; h < p.heads; ++h)
              for (int64_t i = 0; i < rotary / 2; ++i) {
                const int64_t head = t * stride + h * dim;
                const size_t a = static_cast<size_t>(head + (style == RopeStyle::Adjacent ? 2 * i : i));
                const size_t b = style == RopeStyle::Adjacent ? a + 1 : a + static_cast<size_t>(rotary / 2);
                const double angle = static_cast<double>(start + t) * frequency[static_cast<size_t>(i)];
                const double bound = 4 * kUnit * (std::fabs(x[a]) + std::fabs(x[b]));
                ASSERT_LE(std::fabs(y[a] - (x[a] * std::cos(angle) - x[b] * std::sin(angle))), bound) << t << "," << i;
                ASSERT_LE(std::fabs(y[b] - (x[a] * std::sin(angle) + x[b] * std::cos(angle))), bound) << t << "," << i;
                rotated[a] = rotated[b] = true;
              }
          for (size_t i = 0; i < x.size(); ++i)
            ASSERT_TRUE(rotated[i] || y[i] == x[i]) << "element " << i << " is not part of a pair";
        });
      }
}

// Sine and cosine, rounded once: std::cos of the same double angle errs by far less.
TEST(RopeAngles, BothStyles) {
  for (const RopeStyle style : {RopeStyle::Adjacent, RopeStyle::HalfSplit})
    for (const int64_t rotary : {2, 14, 64}) {
      const RopeAnglesProblem p{40, rotary, style};
      const int64_t floats = rope_row_floats(rotary);
      std::vector<double> frequency(static_cast<size_t>(rotary / 2));
      for (size_t i = 0; i < frequency.size(); ++i) frequency[i] = std::pow(1e4, -static_cast<double>(i) / 32);
      for_each_entry(rope_angles_table(), p, [&](ExecContext& context, const auto& entry) {
        std::vector<float> rows(static_cast<size_t>(p.tokens * floats), kPoison);
        entry.run(context, p, {5000, frequency.data(), rows.data()});
        for (int64_t t = 0; t < p.tokens; ++t)
          for (int64_t i = 0; i < (style == RopeStyle::Adjacent ? rotary : rotary / 2); ++i) {
            const int64_t pair = style == RopeStyle::Adjacent ? i / 2 : i;
            const double angle = static_cast<double>(5000 + t) * frequency[static_cast<size_t>(pair)];
            const double sign = style == RopeStyle::Adjacent && i % 2 == 0 ? -1 : 1;
            const float* row = rows.data() + t * floats;
            ASSERT_LE(std::fabs(row[i] - std::cos(angle)), 1.01 * kUnit) << t << "," << i;
            ASSERT_LE(std::fabs(row[rotary + 16 + i] - sign * std::sin(angle)), 1.01 * kUnit) << t << "," << i;
          }
      });
    }
}

TEST(Rope, QuarterTurnsAndPositionZeroByHand) {
  const double frequency[] = {1.5707963267948966};
  const RopeProblem p{5, 1, 2, 2, RopeStyle::Adjacent};
  for_each_entry(rope_table(), p, [&](ExecContext& context, const auto& entry) {
    std::vector<float> x{3, 4, 3, 4, 3, 4, 3, 4, 3, 4};
    entry.run(context, p, {x.data(), 2, 0, frequency});
    const float want[] = {3, 4, -4, 3, -3, -4, 4, -3, 3, 4};
    for (size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(x[i], want[i], 1e-6);
    EXPECT_EQ(x[0], 3.0f);
  });
}

// The exponential (4 u), 1 +, the division, the product and the oracle's rounding: 8 u. GELU's exponent 2 z is itself
// known to 4 u relative, which the exponential turns into 4 u |2 z|. Below |gate| 2^-125, act is 0.
TEST(Gated, EveryEntry) {
  for (const GatedActivation activation : {GatedActivation::SwiGlu, GatedActivation::GeGlu})
    for (const int64_t rows : kRows)
      for (const int64_t k : kWidths) {
        const GatedProblem p{rows, k, activation};
        auto gate = random_normal(rows * k, static_cast<uint64_t>(rows * k), 4);
        const auto up = random_normal(rows * k, static_cast<uint64_t>(rows * k) + 1);
        const float special[] = {0.0f, -0.0f, 1e-30f, -87.0f, -88.5f, -100.0f, 100.0f, 1e15f, -1e15f, 3e37f, -3e37f};
        for (size_t i = 0; i < std::min(gate.size(), std::size(special)); ++i) gate[i] = special[i];
        for_each_entry(gated_table(), p, [&](ExecContext& context, const auto& entry) {
          for (const bool in_place : {false, true}) {
            std::vector<float> y(gate.size(), kPoison);
            if (in_place) y = gate;
            entry.run(context, p, {in_place ? y.data() : gate.data(), up.data(), y.data()});
            for (size_t i = 0; i < y.size(); ++i) {
              const bool gelu = activation == GatedActivation::GeGlu;
              const double g = gate[i];
              const double want = (gelu ? reference::gelu_tanh(g) : reference::silu(g)) * up[i];
              const double exponent = gelu ? std::fabs(1.5957691216057308 * (g + 0.044715 * g * g * g)) : 0;
              const double bound = (8 + 4 * exponent) * kUnit * std::fabs(want) +
                                   (std::fabs(g) * 0x1p-125 + kTiny) * (1 + std::fabs(up[i]));
              ASSERT_LE(std::fabs(y[i] - want), want == 0 ? kTiny + std::fabs(g) * 0x1p-125 : bound) << "gate " << g;
            }
          }
        });
      }
}

// Gradual underflow stops Intel's cores for 100 cycles and more: no gate may cause it, whatever its size.
TEST(Gated, NoGateUnderflows) {
  std::vector<float> gate, y;
  for (float g = 0x1p-20f; g < 0x1p20f; g *= 1.01f) gate.push_back(g), gate.push_back(-g);
  gate.resize(gate.size() / 16 * 16);
  const std::vector<float> up(gate.size(), 1.0f);
  for (const GatedActivation activation : {GatedActivation::SwiGlu, GatedActivation::GeGlu}) {
    const GatedProblem p{1, static_cast<int64_t>(gate.size()), activation};
    for_each_entry(gated_table(), p, [&](ExecContext& context, const auto& entry) {
      if (entry.needs == Isa::Scalar) return;  // in double precision, rounded at the end
      y.assign(gate.size(), kPoison);
      std::feclearexcept(FE_ALL_EXCEPT);
      entry.run(context, p, {gate.data(), up.data(), y.data()});
      EXPECT_EQ(std::fetestexcept(FE_UNDERFLOW), 0) << to_string(p);
    });
  }
}

struct Stats {
  std::vector<int32_t> argmax;
  std::vector<double> log_sum, kl;
};

template <class Entry>
Stats run_stats(ExecContext& context, const Entry& entry, const SoftmaxStatsProblem& p, const float* x,
                const float* r) {
  const size_t n = static_cast<size_t>(p.rows);
  Stats s{std::vector<int32_t>(n, -1), std::vector<double>(n, kPoison), std::vector<double>(n, kPoison)};
  entry.run(context, p, {x, r, s.argmax.data(), s.log_sum.data(), r == nullptr ? nullptr : s.kl.data()});
  return s;
}

// log-sum-exp: each exponential is known to u (|x - max| + 4), weighted by its probability.
// KL: a term p (e^-d - 1 + d) is known to its probability's u (|log p| + |lse| + 8), plus the derivative 1 - e^-d times
// the error u (|r - x| + 2 |shift| + |d|) of d; the two-sided form for |d| > 1/2 adds the rounding of its parts.
void check_stats(const SoftmaxStatsProblem& p, const std::vector<float>& x, const std::vector<float>& r) {
  for_each_entry(softmax_stats_table(), p, [&](ExecContext& context, const auto& entry) {
    const Stats got = run_stats(context, entry, p, x.data(), r.data());
    for (int64_t row = 0; row < p.rows; ++row) {
      const float* a = x.data() + row * p.k;
      const float* b = r.data() + row * p.k;
      const auto log_sum = [&](const float* v) {
        double sum = 0;
        const double top = *std::max_element(v, v + p.k);
        for (int64_t i = 0; i < p.k; ++i) sum += std::exp(v[i] - top);
        return top + std::log(sum);
      };
      const double la = log_sum(a), lb = log_sum(b), top = *std::max_element(a, a + p.k);
      double lse_bound = 1e-14 * std::fabs(la), kl = 0, kl_bound = 1e-15;
      for (int64_t i = 0; i < p.k; ++i) {
        const double q = std::exp(a[i] - la), w = std::exp(b[i] - lb), d = (b[i] - lb) - (a[i] - la);
        lse_bound += q * kUnit * (top - a[i] + 4);
        const double term = w * (std::expm1(-d) + d);
        kl += term;
        const double w_error = kUnit * (std::fabs(b[i] - lb) + std::fabs(lb) + 8);
        const double q_error = kUnit * (std::fabs(a[i] - la) + std::fabs(la) + 8);
        const double d_error = kUnit * (std::fabs(b[i] - a[i]) + 2 * std::fabs(lb - la) + std::fabs(d));
        kl_bound += w * std::fabs(std::expm1(-d)) * d_error;
        kl_bound +=
            std::fabs(d) < 0.499 ? term * (w_error + 4 * kUnit) : w * (1 + std::fabs(d)) * w_error + q * q_error;
      }
      ASSERT_EQ(got.argmax[static_cast<size_t>(row)], std::max_element(a, a + p.k) - a);
      ASSERT_LE(std::fabs(got.log_sum[static_cast<size_t>(row)] - la), 1.01 * lse_bound);
      ASSERT_LE(std::fabs(got.kl[static_cast<size_t>(row)] - kl), 1.01 * kl_bound) << "KL " << kl;
    }
  });
}

TEST(SoftmaxStats, EveryEntry) {
  uint64_t seed = 40;
  for (const int64_t rows : {1, 3, 33})
    for (const int64_t k : {1, 17, 64, 513, 1536, 49152}) {
      if (rows * k > 200000) continue;
      const auto x = random_normal(rows * k, ++seed, 4);
      const auto noise = random_normal(rows * k, ++seed);
      for (const float size : {3.0f, 0.1f, 1e-4f}) {
        auto r = x;
        for (size_t i = 0; i < r.size(); ++i) r[i] += size * noise[i] + 1.5f;
        check_stats({rows, k}, x, r);
      }
    }
}

TEST(SoftmaxStats, TiesMasksAndEqualRows) {
  const SoftmaxStatsProblem p{1, 700};
  std::vector<float> x(700, 1.0f), r(700, 1.0f);
  x[650] = x[64] = x[65] = 5;
  r[10] = x[10] = -INFINITY;  // masked in both: adds nothing
  r[11] = -INFINITY;
  for_each_entry(softmax_stats_table(), p, [&](ExecContext& context, const auto& entry) {
    const Stats tied = run_stats(context, entry, p, x.data(), r.data());
    EXPECT_EQ(tied.argmax[0], 64);
    EXPECT_TRUE(std::isfinite(tied.kl[0]));
    EXPECT_GT(tied.kl[0], 0.1);
    EXPECT_LE(std::fabs(run_stats(context, entry, p, x.data(), x.data()).kl[0]), 1e-12);
    EXPECT_EQ(run_stats(context, entry, p, r.data(), x.data()).kl[0], INFINITY);  // x gives mass where r has none
    EXPECT_TRUE(std::isnan(run_stats(context, entry, p, x.data(), nullptr).kl[0]));
  });
}

TEST(Elementwise, BitsDoNotDependOnRowsOrThreads) {
  const int64_t rows = 129, k = 577;
  const auto x = random_normal(rows * k, 3, 3), up = random_normal(rows * k, 4);
  std::vector<double> frequency(288);
  for (size_t i = 0; i < 288; ++i) frequency[i] = std::pow(1e4, -static_cast<double>(i) / 288);
  OwnedExecContext one(1), three(3);
  for (const Isa isa : attainable_isas()) {
    one.get().isa = three.get().isa = isa;
    std::vector<float> whole(x.size()), alone(x.size());
    rms_norm(three.get(), {rows, k}, {x.data(), k, nullptr, 1e-5f, whole.data(), k});
    for (int64_t r = 0; r < rows; ++r)
      rms_norm(one.get(), {1, k}, {x.data() + r * k, k, nullptr, 1e-5f, alone.data() + r * k, k});
    EXPECT_TRUE(same_bits(whole, alone));
    gated(three.get(), {rows, k}, {x.data(), up.data(), whole.data()});
    for (int64_t r = 0; r < rows; ++r)
      gated(one.get(), {1, k}, {x.data() + r * k, up.data() + r * k, alone.data() + r * k});
    EXPECT_TRUE(same_bits(whole, alone));
    whole = alone = x;
    rope(three.get(), {rows, 1, k, 576, RopeStyle::HalfSplit}, {whole.data(), k, 77, frequency.data()});
    for (int64_t r = 0; r < rows; ++r)
      rope(one.get(), {1, 1, k, 576, RopeStyle::HalfSplit}, {alone.data() + r * k, k, 77 + r, frequency.data()});
    EXPECT_TRUE(same_bits(whole, alone));
  }
}

TEST(Elementwise, RefusesMalformedProblems) {
  OwnedExecContext context(1);
  float x[4] = {};
  const double frequency[1] = {1};
  EXPECT_THROW(rms_norm(context.get(), {1, 0}, {x, 4, nullptr, 1e-5f, x, 4}), InvalidArgument);
  EXPECT_THROW(rms_norm(context.get(), {2, 4}, {x, 3, nullptr, 1e-5f, x, 4}), InvalidArgument);
  EXPECT_THROW(rope(context.get(), {1, 1, 4, 3, RopeStyle::Adjacent}, {x, 4, 0, frequency}), InvalidArgument);
  EXPECT_THROW(rope(context.get(), {1, 1, 2, 4, RopeStyle::Adjacent}, {x, 4, 0, frequency}), InvalidArgument);
  EXPECT_THROW(gated(context.get(), {1, 4}, {x, nullptr, x}), InvalidArgument);
  EXPECT_THROW(softmax_stats(context.get(), {1, 4}, {x, x, nullptr, nullptr, nullptr}), InvalidArgument);
}

}  // namespace
}  // namespace halftone::kernels
