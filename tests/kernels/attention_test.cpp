// Every attention entry against a double-precision evaluation written out here, with an error bound derived per output.
#include "kernels/api/attention.h"

#include <cmath>
#include <cstring>

#include "kernel_test.h"
#include "kernels/api/quantize.h"
#include "numerics/reference/attention.h"

namespace halftone::kernels {
namespace {

enum class Data { Normal, Sink, ChannelBias };

/// A filled cache whose rows past the last one hold NaN (f32, f16) or NaN scales (integers).
struct Cache {
  Cache(const AttentionProblem& p, int64_t slack, Data data, uint64_t seed)
      : capacity(p.start + p.tokens + slack), row(row_bytes(p.format, p.head_dim)) {
    const int64_t filled = p.start + p.tokens, width = p.kv_heads * p.head_dim;
    auto k = random_normal(filled * width, seed), v = random_normal(filled * width, seed + 1);
    for (int64_t h = 0; h < p.kv_heads; ++h)
      for (int64_t d = 0; d < p.head_dim; ++d) {
        if (data == Data::Sink) {  // one key with a huge norm and a tiny value, as language models make of the first
          k[static_cast<size_t>(h * p.head_dim + d)] *= 60;
          v[static_cast<size_t>(h * p.head_dim + d)] *= 0.02f;
        }
        if (data == Data::ChannelBias && d % 7 == 3)
          for (int64_t t = 0; t < filled; ++t) k[static_cast<size_t>(t * width + h * p.head_dim + d)] += 12;
      }
    OwnedExecContext context(1);
    for (auto* side : {&keys, &values}) {
      side->codes.assign(static_cast<size_t>(p.kv_heads * capacity * row), 0xff);
      side->scales.assign(static_cast<size_t>(p.kv_heads * capacity * 2), 0x7e00);
      store_kv(context.get(), {filled, p.kv_heads, p.head_dim, p.format},
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
  int64_t capacity, row;
  Side keys, values;
};

struct Expected {
  std::vector<double> value, bound;  ///< [tokens, heads, head_dim]
};

/// The exact result, and how far f32 arithmetic may stray. A score is D fused steps and a scaling of keys known to two
/// roundings: |ds| <= (D + 4) u scale sum|q k|. A weight exp(s - m) errs by |ds| + u |s - m| + 4 u relative; it enters
/// the numerator and the denominator. Summing costs a rounding a key of a block and three a merge.
Expected expect(const AttentionProblem& p, const Cache& cache, const std::vector<float>& q, float scale) {
  const int64_t d_count = p.head_dim, width = p.heads * d_count;
  Expected e;
  e.value.resize(static_cast<size_t>(p.tokens * width));
  e.bound.resize(e.value.size());
  const auto element = [&](const Cache::Side& side, int64_t row, int64_t d) {
    return reference::kv_element(side.codes.data(), side.scales.data(), p.format, d_count, row, d);
  };
  for (int64_t t = 0; t < p.tokens; ++t)
    for (int64_t h = 0; h < p.heads; ++h) {
      const int64_t last = p.start + t, first = p.window > 0 ? std::max<int64_t>(0, last - p.window + 1) : 0;
      const int64_t row = h / (p.heads / p.kv_heads) * cache.capacity, n = last - first + 1;
      std::vector<double> s(static_cast<size_t>(n)), error(s.size());
      double top = -INFINITY, total = 0, total_error = 0;
      for (int64_t j = 0; j < n; ++j) {
        double dot = 0, size = 0;
        for (int64_t d = 0; d < d_count; ++d) {
          const double product =
              q[static_cast<size_t>(t * width + h * d_count + d)] * element(cache.keys, row + first + j, d);
          dot += product;
          size += std::fabs(product);
        }
        s[static_cast<size_t>(j)] = dot * scale;
        error[static_cast<size_t>(j)] = static_cast<double>(d_count + 4) * kUnit * scale * size;
        top = std::max(top, dot * scale);
      }
      for (size_t j = 0; j < s.size(); ++j) {
        error[j] += kUnit * (std::fabs(s[j] - top) + 4);
        s[j] = std::exp(s[j] - top);
        total += s[j];
        total_error += s[j] * error[j];
      }
      const double summing = kUnit * (70.0 + 4.0 * static_cast<double>(n / 64 + 2));
      for (int64_t d = 0; d < d_count; ++d) {
        double sum = 0, size = 0, weighted = 0;
        for (int64_t j = 0; j < n; ++j) {
          const double v = element(cache.values, row + first + j, d), weight = s[static_cast<size_t>(j)];
          sum += weight * v;
          size += weight * std::fabs(v);
          weighted += weight * std::fabs(v) * error[static_cast<size_t>(j)];
        }
        const size_t at = static_cast<size_t>(t * width + h * d_count + d);
        e.value[at] = sum / total;
        e.bound[at] =
            1.1 * ((weighted + summing * size) / total + std::fabs(sum) / total * total_error / total) + kTiny;
      }
    }
  return e;
}

int check_all(const AttentionProblem& p, Data data, uint64_t seed) {
  const int64_t width = p.heads * p.head_dim, out_stride = width + 5;
  const Cache cache(p, 3, data, seed);
  const auto q = random_normal(p.tokens * width, seed + 2, 1.5f);
  const float scale = 1 / std::sqrt(static_cast<float>(p.head_dim));
  const Expected expected = expect(p, cache, q, scale);
  return for_each_entry(attention_table(), p, [&](ExecContext& context, const auto& entry) {
    std::vector<float> out(static_cast<size_t>(p.tokens * out_stride), kPoison);
    for (int64_t t = 0; t < p.tokens; ++t) std::fill_n(out.begin() + t * out_stride + width, 5, 7.0f);
    entry.run(context, p,
              {.q = q.data(),
               .q_stride = width,
               .keys = cache.keys.view(),
               .values = cache.values.view(),
               .capacity = cache.capacity,
               .softmax_scale = scale,
               .out = out.data(),
               .out_stride = out_stride});
    for (int64_t t = 0; t < p.tokens; ++t) {
      for (int64_t i = 0; i < width; ++i) {
        const size_t at = static_cast<size_t>(t * width + i);
        const double got = out[static_cast<size_t>(t * out_stride + i)];
        ASSERT_LE(std::fabs(got - expected.value[at]), expected.bound[at]) << "token " << t << " element " << i;
      }
      for (int64_t i = width; i < out_stride; ++i) ASSERT_EQ(out[static_cast<size_t>(t * out_stride + i)], 7.0f);
    }
  });
}

constexpr ElementType kFormats[] = {ElementType::Float32, ElementType::Float16, ElementType::Int8, ElementType::Int4};

int isa_entries() {
  int count = 1;
  for (const Isa isa : attainable_isas()) count += isa == Isa::Avx2 || isa == Isa::Avx512;
  return count;
}

TEST(Attention, EveryEntryStaysWithinTheDerivedBound) {
  struct Shape {
    int64_t tokens, start, heads, kv_heads, dim;
  };
  const Shape shapes[] = {{1, 0, 9, 3, 64},   {1, 63, 4, 1, 64},   {1, 200, 9, 3, 64},
                          {3, 126, 8, 2, 48}, {8, 57, 3, 3, 80},   {9, 0, 7, 1, 16},
                          {70, 0, 9, 3, 64},  {35, 97, 4, 1, 256}, {33, 31, 6, 2, 128}};
  uint64_t seed = 100;
  for (const Shape& s : shapes)
    for (const ElementType format : kFormats)
      EXPECT_EQ(check_all({s.tokens, s.start, s.heads, s.kv_heads, s.dim, 0, format}, Data::Normal, seed += 10),
                isa_entries());
}

TEST(Attention, SinksAndChannelBias) {
  uint64_t seed = 5000;
  for (const Data data : {Data::Sink, Data::ChannelBias})
    for (const ElementType format : kFormats) {
      check_all({1, 150, 9, 3, 64, 0, format}, data, seed += 10);
      check_all({40, 60, 4, 2, 64, 0, format}, data, seed += 10);
    }
}

TEST(Attention, SlidingWindows) {
  uint64_t seed = 9000;
  for (const int64_t window : {1, 2, 63, 64, 65, 128, 1000})
    for (const ElementType format : {ElementType::Float16, ElementType::Int4}) {
      check_all({1, 190, 4, 1, 32, window, format}, Data::Normal, seed += 10);
      check_all({5, 127, 4, 1, 32, window, format}, Data::Sink, seed += 10);
      check_all({50, 64, 4, 2, 32, window, format}, Data::Normal, seed += 10);
    }
}

TEST(Attention, OddHeadDimGoesToTheReferenceAndSaysWhy) {
  const AttentionProblem p{2, 5, 4, 2, 20, 0, ElementType::Float16};
  EXPECT_EQ(check_all(p, Data::Normal, 7), 1);
  EXPECT_NE(rejection(attention_table()[0], p, Isa::Amx).find("head_dim 20"), std::string::npos);
}

/// A prefill, the same in two parts, and one token at a time, on one and three threads: the same bits.
TEST(Attention, BitsDoNotDependOnBatchOrThreads) {
  for (const ElementType format : kFormats)
    for (const int64_t window : {0, 70}) {
      const AttentionProblem all{150, 20, 9, 3, 64, window, format};
      const int64_t width = all.heads * all.head_dim;
      const Cache cache(all, 0, Data::Sink, 31);
      const auto q = random_normal(all.tokens * width, 32);
      for_each_entry(attention_table(), all, [&](ExecContext& context, const auto& entry) {
        if (entry.needs == Isa::Scalar) return;
        const auto run = [&](int64_t step) {
          std::vector<float> out(static_cast<size_t>(all.tokens * width), kPoison);
          for (int64_t t = 0; t < all.tokens; t += step) {
            AttentionProblem part = all;
            part.tokens = std::min(step, all.tokens - t);
            part.start = all.start + t;
            entry.run(context, part,
                      {.q = q.data() + t * width,
                       .q_stride = width,
                       .keys = cache.keys.view(),
                       .values = cache.values.view(),
                       .capacity = cache.capacity,
                       .softmax_scale = 0.125f,
                       .out = out.data() + t * width,
                       .out_stride = width});
          }
          return out;
        };
        static std::vector<float> single_thread;
        const auto whole = run(150);
        for (const int64_t step : {1, 4, 41}) {
          const auto parts = run(step);
          EXPECT_EQ(std::memcmp(whole.data(), parts.data(), whole.size() * sizeof(float)), 0) << "steps of " << step;
        }
        if (context.pool.threads() > 1) {
          EXPECT_EQ(std::memcmp(whole.data(), single_thread.data(), whole.size() * sizeof(float)), 0) << "threads";
        }
        single_thread = whole;
      });
    }
}

TEST(Attention, RefusesWhatItCannotRun) {
  OwnedExecContext context(1);
  std::vector<float> x(64, 0.0f);
  const AttentionArgs args{.q = x.data(),
                           .q_stride = 16,
                           .keys = {x.data()},
                           .values = {x.data()},
                           .capacity = 2,
                           .softmax_scale = 1,
                           .out = x.data(),
                           .out_stride = 16};
  const AttentionProblem good{1, 0, 1, 1, 16, 0, ElementType::Float32};
  EXPECT_NO_THROW(attention(context.get(), good, args));
  const auto with = [&](auto change) {
    AttentionProblem p = good;
    AttentionArgs a = args;
    change(p, a);
    EXPECT_THROW(attention(context.get(), p, a), InvalidArgument);
  };
  with([](auto& p, auto&) { p.tokens = 0; });
  with([](auto& p, auto&) { p.heads = 3, p.kv_heads = 2; });
  with([](auto& p, auto&) { p.format = ElementType::BFloat16; });
  with([](auto& p, auto&) { p.format = ElementType::Int8; });  // no scales given
  with([](auto& p, auto&) { p.start = 2; });                   // past the capacity
  with([](auto&, auto& a) { a.out = nullptr; });
}

}  // namespace
}  // namespace halftone::kernels
