// Every attention entry against a double-precision evaluation written out here, with an error bound derived per output.
#include "kernels/api/attention.h"

#include <cstring>

#include "attention_oracle.h"

namespace halftone::kernels {
namespace {

int check_all(const AttentionProblem& p, Data data, uint64_t seed) {
  const int64_t width = p.heads * p.head_dim, out_stride = width + 5;
  const Cache cache(p, 3, data, seed);
  const auto q = random_normal(p.tokens * width, seed + 2, 1.5f);
  const float scale = 1 / std::sqrt(static_cast<float>(p.head_dim));
  const Expected expected = expect(p, cache, q, scale);
  return for_each_entry(attention_table(), p, [&](ExecContext& context, const auto& entry) {
    auto out = poisoned_outputs(p, out_stride);
    entry.run(context, p, cache.args(q.data(), out.data(), width, out_stride, scale));
    check_outputs(p, out, out_stride, expected);
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
  EXPECT_NE(rejection(attention_table()[0], p, Isa::Amx).text().find("head_dim 20"), std::string::npos);
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
  EXPECT_NE(rejection(attention_batch_table()[0], {problems}, Isa::Amx).text().find("sequence 1: head_dim 20"),
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
