// Every attention entry against a double-precision evaluation written out here, with an error bound derived per output.
#include "kernels/api/attention.h"

#include <cmath>
#include <cstring>
#include <tuple>

#include "kernel_test.h"
#include "kernels/api/quantize.h"
#include "numerics/half.h"
#include "numerics/reference/attention.h"

namespace halftone::kernels {
namespace {

enum class Data { Normal, Sink, ChannelBias };

/// A filled cache whose rows past the last one hold NaN (f32, f16) or NaN scales (integers).
struct Cache {
  Cache(const AttentionProblem& p, int64_t slack, Data data, uint64_t seed) : capacity(p.start + p.tokens + slack) {
    const int64_t filled = p.start + p.tokens, width = p.kv_heads * p.head_dim;
    auto k = random_normal(filled * width, seed), v = random_normal(filled * width, seed + 1);
    for (int64_t h = 0; h < p.kv_heads; ++h)
      for (int64_t d = 0; d < p.head_dim; ++d) {
        if (data == Data::Sink) {  // one key with a huge norm and a tiny value, as language models make of the first
          k[static_cast<size_t>(h * p.head_dim + d)] *= 60;
          v[static_cast<size_t>(h * p.head_dim + d)] *= 0.02f;
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

/// Rows of one head, read back exactly; for integers also scale and zero point of every token.
struct HeadRows {
  HeadRows(const AttentionProblem& p, const Cache& cache, KvSide side, int64_t head)
      : dim(p.head_dim), scaled(bits_of(p.format) <= 8) {
    const Cache::Side& from = side == KvSide::Keys ? cache.keys : cache.values;
    const reference::KvCache view{side, p.format, dim, cache.capacity, from.codes.data(), from.scales.data()};
    for (int64_t j = 0; j < p.start + p.tokens; ++j) {
      for (int64_t d = 0; d < dim; ++d) elements.push_back(reference::kv_element(view, head, j, d));
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
/// zero point's part is taken off in one step, and four roundings scale it.
std::pair<double, double> score(const HeadRows& k, const float* q, int64_t j, double scale) {
  double dot = 0, size = 0, norm = 0, largest = 0, codes = 0, sum = 0;
  for (int64_t d = 0; d < k.dim; ++d) {
    dot += q[d] * k.at(j, d);
    size += std::fabs(q[d] * k.at(j, d));
    norm += std::fabs(k.at(j, d));
    largest = std::max(largest, std::fabs(double{q[d]}));
    const auto row = static_cast<size_t>(j);
    if (k.scaled) codes += q[d] * (k.at(j, d) + k.zero[row] * k.scale[row]);
    sum += q[d];
  }
  if (!k.scaled) return {dot * scale, static_cast<double>(k.dim + 4) * kUnit * scale * size};
  return {dot * scale, scale * (kQueryStep * largest * norm + kUnit * (1.01 * std::fabs(codes) + 6 * std::fabs(dot)))};
}

/// The exact result, and how far f32 and integer arithmetic may stray. A weight 2^(s - m) errs by |ds| + u |s - m| + 4
/// u relative; it enters the numerator and the denominator. Summing costs a rounding a key of a block (floats) or a
/// lane's share of it and three a merge. Integers: a block's weights are rounded by kWeightStep of its largest weight
/// times scale, against codes less zero points; sums of codes and of zero points are rounded apart.
Expected expect(const AttentionProblem& p, const Cache& cache, const std::vector<float>& q, float scale) {
  const int64_t d_count = p.head_dim, width = p.heads * d_count;
  Expected e;
  e.value.resize(static_cast<size_t>(p.tokens * width));
  e.bound.resize(e.value.size());
  for (int64_t h = 0; h < p.heads; ++h) {
    const HeadRows keys(p, cache, KvSide::Keys, h / (p.heads / p.kv_heads));
    const HeadRows values(p, cache, KvSide::Values, h / (p.heads / p.kv_heads));
    for (int64_t t = 0; t < p.tokens; ++t) {
      const int64_t last = p.start + t, first = p.window > 0 ? std::max<int64_t>(0, last - p.window + 1) : 0;
      const int64_t n = last - first + 1;
      std::vector<double> s(static_cast<size_t>(n)), error(s.size()), most(static_cast<size_t>(last / kBlock + 1));
      double top = -INFINITY, total = 0, total_error = 0;
      for (int64_t j = 0; j < n; ++j) {
        const auto at = static_cast<size_t>(j);
        std::tie(s[at], error[at]) = score(keys, q.data() + t * width + h * d_count, first + j, scale);
        top = std::max(top, s[at]);
      }
      for (size_t j = 0; j < s.size(); ++j) {
        error[j] += kUnit * (std::fabs(s[j] - top) + std::fabs(s[j]) + 4);
        s[j] = std::exp(s[j] - top);
        total += s[j];
        total_error += s[j] * error[j];
        const size_t row = j + static_cast<size_t>(first), block = row / kBlock;
        most[block] = std::max(most[block], s[j] * values.scale[row]);
      }
      const double merging = kUnit * 4.0 * static_cast<double>(n / kBlock + 2);
      const double summing = merging + kUnit * (values.scaled ? 22.0 : kBlock + 6.0);
      for (int64_t d = 0; d < d_count; ++d) {
        double sum = 0, size = 0, weighted = 0, rounding = 0;
        for (int64_t j = 0; j < n; ++j) {
          const auto row = static_cast<size_t>(first + j);
          const double v = values.at(first + j, d), weight = s[static_cast<size_t>(j)];
          sum += weight * v;
          size += weight * std::fabs(v);
          weighted += weight * std::fabs(v) * error[static_cast<size_t>(j)];
          if (!values.scaled) continue;
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

int check_all(const AttentionProblem& p, Data data, uint64_t seed) {
  const int64_t width = p.heads * p.head_dim, out_stride = width + 5;
  const Cache cache(p, 3, data, seed);
  const auto q = random_normal(p.tokens * width, seed + 2, 1.5f);
  const float scale = 1 / std::sqrt(static_cast<float>(p.head_dim));
  const Expected expected = expect(p, cache, q, scale);
  return for_each_entry(attention_table(), p, [&](ExecContext& context, const auto& entry) {
    std::vector<float> out(static_cast<size_t>(p.tokens * out_stride), kPoison);
    for (int64_t t = 0; t < p.tokens; ++t) std::fill_n(out.begin() + t * out_stride + width, 5, 7.0f);
    entry.run(context, p, cache.args(q.data(), out.data(), width, out_stride, scale));
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
  const Shape shapes[] = {{1, 0, 9, 3, 64},    {1, 63, 4, 1, 64},  {1, 200, 9, 3, 64},  {3, 126, 8, 2, 48},
                          {8, 57, 3, 3, 80},   {9, 0, 7, 1, 16},   {70, 0, 9, 3, 64},   {35, 97, 4, 1, 256},
                          {33, 31, 6, 2, 128}, {1, 127, 2, 2, 16}, {1, 300, 4, 1, 256}, {40, 250, 5, 1, 112}};
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
  for (const int64_t window : {1, 2, 63, 127, 128, 129, 1000})
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
      const AttentionProblem all{150, 120, 9, 3, 64, window, format};
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
            entry.run(context, part, cache.args(q.data() + t * width, out.data() + t * width, width, width, 0.125f));
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

/// Sequences of unlike lengths, shapes and formats together: the bits of each alone, on one and three threads.
TEST(AttentionBatch, BitsOfEachSequenceAlone) {
  const AttentionProblem problems[] = {
      {1, 200, 9, 3, 64, 0, ElementType::Int8},   {1, 0, 9, 3, 64, 0, ElementType::Int8},
      {1, 700, 9, 3, 64, 0, ElementType::Int4},   {20, 130, 9, 3, 64, 0, ElementType::Int8},
      {5, 126, 4, 1, 256, 70, ElementType::Int4}, {1, 383, 4, 1, 256, 100, ElementType::Float16},
      {8, 60, 7, 7, 48, 0, ElementType::Float32}, {1, 129, 9, 3, 64, 0, ElementType::Float16}};
  std::vector<Cache> caches;
  std::vector<std::vector<float>> queries, alone, together;
  for (const AttentionProblem& p : problems) {
    caches.emplace_back(p, 1, Data::Sink, 400 + caches.size());
    queries.push_back(random_normal(p.tokens * p.heads * p.head_dim, 500 + caches.size()));
  }
  const AttentionBatchProblem batch{problems};
  const auto poison = [&](std::vector<std::vector<float>>& out) {
    out.clear();
    for (const auto& q : queries) out.emplace_back(q.size(), kPoison);
  };
  const auto args_of = [&](size_t i, std::vector<std::vector<float>>& out) {
    const int64_t width = problems[i].heads * problems[i].head_dim;
    return caches[i].args(queries[i].data(), out[i].data(), width, width, 0.11f);
  };
  size_t entries = 0;
  for_each_entry(attention_batch_table(), batch, [&](ExecContext& context, const auto& entry) {
    ++entries;
    poison(alone);
    poison(together);
    std::vector<AttentionArgs> args;
    for (size_t i = 0; i < caches.size(); ++i) args.push_back(args_of(i, together));
    entry.run(context, batch, {args});
    for (const auto& single : attention_table())
      if (std::string_view(single.name) == entry.name)
        for (size_t i = 0; i < caches.size(); ++i) single.run(context, problems[i], args_of(i, alone));
    for (size_t i = 0; i < caches.size(); ++i) {
      EXPECT_EQ(std::memcmp(alone[i].data(), together[i].data(), alone[i].size() * sizeof(float)), 0)
          << "sequence " << i;
      for (const float x : together[i]) ASSERT_TRUE(std::isfinite(x)) << "sequence " << i;
    }
  });
  EXPECT_EQ(entries, 2 * static_cast<size_t>(isa_entries()));
}

TEST(AttentionBatch, RefusesWhatDoesNotMatch) {
  OwnedExecContext context(1);
  const AttentionProblem good{1, 0, 1, 1, 16, 0, ElementType::Float16}, wide{1, 0, 1, 1, 20, 0, ElementType::Float16};
  const AttentionProblem problems[] = {good, wide};
  EXPECT_THROW(attention_batch(context.get(), {problems}, {}), InvalidArgument);
  const AttentionArgs args[2] = {};
  EXPECT_THROW(attention_batch(context.get(), {problems}, {args}), InvalidArgument);  // null pointers
  EXPECT_NO_THROW(attention_batch(context.get(), {}, {}));
  EXPECT_NE(rejection(attention_batch_table()[0], {problems}, Isa::Amx).find("sequence 1: head_dim 20"),
            std::string::npos);
}

/// A query, key or value that is not finite shows in the rows that see it, and in no other.
TEST(Attention, NotFiniteShowsWhereItIsSeen) {
  for (const ElementType format : {ElementType::Int8, ElementType::Int4}) {
    const AttentionProblem p{3, 140, 2, 1, 32, 0, format};
    for (const KvSide side : {KvSide::Keys, KvSide::Values}) {
      Cache cache(p, 0, Data::Normal, 90);
      auto& scales = (side == KvSide::Keys ? cache.keys : cache.values).scales;
      for (const int64_t offset : {int64_t{0}, kKvGroup})
        scales[static_cast<size_t>(kv_scale_index(141) + offset)] = 0x7e00;
      auto q = random_normal(3 * 64, 91);
      q[2 * 64 + 5] = INFINITY;
      for_each_entry(attention_table(), p, [&](ExecContext& context, const auto& entry) {
        std::vector<float> out(3 * 64, 0.0f);
        entry.run(context, p, cache.args(q.data(), out.data(), 64, 64, 0.1f));
        for (size_t i = 0; i < out.size(); ++i) EXPECT_EQ(std::isnan(out[i]), i >= 64) << to_string(format) << " " << i;
      });
    }
    const Cache clean(p, 0, Data::Normal, 92);
    auto q = random_normal(3 * 64, 93);
    q[64 + 5] = INFINITY;  // token 1, head 0
    for_each_entry(attention_table(), p, [&](ExecContext& context, const auto& entry) {
      if (entry.needs == Isa::Scalar) return;
      std::vector<float> out(3 * 64, 0.0f);
      entry.run(context, p, clean.args(q.data(), out.data(), 64, 64, 0.1f));
      for (size_t i = 0; i < out.size(); ++i) EXPECT_EQ(std::isnan(out[i]), i >= 64 && i < 96) << i;
    });
  }
}

TEST(Attention, RefusesWhatItCannotRun) {
  OwnedExecContext context(1);
  std::vector<float> x(16 * 16, 0.0f);  // a cache of up to 16 tokens: heads are padded to 16
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
