// Attention with bf16 products: the entry for matrix instructions, where this CPU has them, against results of operands
// rounded beforehand and against the exact ones; the other entries keep their own bounds.
#include <cstring>
#include <string_view>

#include "attention_oracle.h"

namespace halftone::kernels {
namespace {

constexpr ElementType kFormats[] = {ElementType::Float32, ElementType::Float16, ElementType::Int8, ElementType::Int4};

bool has_tiles() { return detected_isa() >= Isa::Amx; }

const KernelEntry<AttentionProblem, AttentionArgs>& entry_named(std::string_view name) {
  for (const auto& entry : attention_table())
    if (entry.name == name) return entry;
  throw InvalidArgument("no attention entry {}", name);
}

/// The entry for tiles, on one thread and on three, within the bound of its arithmetic and the one promised.
void check_tiles(AttentionProblem p, Data data, uint64_t seed) {
  static OwnedExecContext one(1), three(3);
  p.bf16 = true;
  SCOPED_TRACE(to_string(p));
  const auto& entry = entry_named("amx");
  ASSERT_EQ(rejection(entry, p, Isa::Amx).text(), "");
  const int64_t width = p.heads * p.head_dim, out_stride = width + 5;
  const Cache cache(p, 3, data, seed);
  const auto q = random_normal(p.tokens * width, seed + 2, 1.5f);
  const float scale = 1 / std::sqrt(static_cast<float>(p.head_dim));
  const Expected promised = expect(p, cache, q, scale, Products::BFloat16);
  Expected rounded;
  if (bits_of(p.format) >= 16) rounded = expect(p, cache, q, scale, Products::Rounded);
  for (OwnedExecContext* context : {&one, &three}) {
    auto out = poisoned_outputs(p, out_stride);
    entry.run(context->get(), p, cache.args(q.data(), out.data(), width, out_stride, scale));
    if (bits_of(p.format) >= 16) check_outputs(p, out, out_stride, rounded);
    check_outputs(p, out, out_stride, promised);
  }
}

TEST(AttentionBf16, StaysWithinItsBound) {
  if (!has_tiles()) GTEST_SKIP() << "this CPU has no AMX";
  struct Shape {
    int64_t tokens, start, heads, kv_heads, dim;
  };
  const Shape shapes[] = {{16, 0, 1, 1, 32},   {70, 0, 9, 3, 64},   {129, 0, 3, 1, 64},  {60, 250, 6, 2, 64},
                          {33, 31, 6, 2, 128}, {35, 97, 2, 1, 256}, {40, 250, 5, 1, 96}, {17, 200, 32, 1, 64},
                          {19, 3, 100, 1, 32}, {200, 0, 2, 1, 64},  {41, 129, 3, 3, 160}};
  uint64_t seed = 100;
  for (const Shape& s : shapes)
    for (const ElementType format : kFormats)
      check_tiles({s.tokens, s.start, s.heads, s.kv_heads, s.dim, 0, format}, Data::Normal, seed += 10);
}

/// A late sink makes the largest score grow by far more than the exponent of a float holds.
TEST(AttentionBf16, SinksAndChannelBias) {
  if (!has_tiles()) GTEST_SKIP() << "this CPU has no AMX";
  uint64_t seed = 5000;
  for (const Data data : {Data::Sink, Data::LateSink, Data::ChannelBias})
    for (const ElementType format : kFormats) {
      check_tiles({150, 0, 3, 1, 64, 0, format}, data, seed += 10);
      check_tiles({40, 220, 4, 2, 64, 0, format}, data, seed += 10);
      check_tiles({33, 90, 2, 1, 32, 0, format}, data, seed += 10);
      check_tiles({20, 150, 3, 1, 160, 0, format}, data, seed += 10);
    }
}

TEST(AttentionBf16, SlidingWindows) {
  if (!has_tiles()) GTEST_SKIP() << "this CPU has no AMX";
  uint64_t seed = 9000;
  for (const int64_t window : {1, 2, 31, 32, 33, 127, 128, 129, 1000})
    for (const ElementType format : {ElementType::Float16, ElementType::Int8}) {
      check_tiles({150, 0, 4, 2, 32, window, format}, Data::Normal, seed += 10);
      check_tiles({50, 290, 4, 1, 64, window, format}, Data::LateSink, seed += 10);
    }
}

TEST(AttentionBf16, EntrySaysWhatItDoesNotServe) {
  const auto& entry = attention_table()[0];
  ASSERT_STREQ(entry.name, "amx");
  const AttentionProblem good{16, 0, 9, 3, 64, 0, ElementType::Float16, true};
  EXPECT_EQ(rejection(entry, good, Isa::Amx).text(), "");
  EXPECT_EQ(rejection(entry, good, Isa::Avx512).text(), "needs amx");
  const auto with = [&](auto change) {
    AttentionProblem p = good;
    change(p);
    return std::string(rejection(entry, p, Isa::Amx).text());
  };
  EXPECT_NE(with([](auto& p) { p.bf16 = false; }).find("precision"), std::string::npos);
  EXPECT_NE(with([](auto& p) { p.tokens = 15; }).find("15 tokens"), std::string::npos);
  EXPECT_NE(with([](auto& p) { p.head_dim = 48; }).find("head_dim 48"), std::string::npos);
  EXPECT_NE(to_string(good).find("bf16"), std::string::npos);
}

std::vector<float> run(ExecContext& context, const AttentionProblem& p, const Cache& cache, const std::vector<float>& q,
                       const KernelEntry<AttentionProblem, AttentionArgs>& entry) {
  const int64_t width = p.heads * p.head_dim;
  auto out = poisoned_outputs(p, width);
  entry.run(context, p, cache.args(q.data(), out.data(), width, width, 0.125f));
  return out;
}

/// bf16 is a permission: the other entries give the bits that they give without it.
TEST(AttentionBf16, OtherEntriesDoNotRound) {
  AttentionProblem p{40, 90, 6, 2, 64, 0, ElementType::Float16};
  const Cache cache(p, 0, Data::Normal, 20);
  const auto q = random_normal(40 * 6 * 64, 21);
  for_each_entry(attention_table(), p, [&](ExecContext& context, const auto& entry) {
    p.bf16 = false;
    const auto without = run(context, p, cache, q, entry);
    p.bf16 = true;
    const auto with = run(context, p, cache, q, entry);
    EXPECT_EQ(std::memcmp(without.data(), with.data(), with.size() * sizeof(float)), 0);
  });
}

/// Threads and the other queries of a prompt do not change a query's bits, as long as this entry serves all parts.
TEST(AttentionBf16, BitsDoNotDependOnPartsOrThreads) {
  if (!has_tiles()) GTEST_SKIP() << "this CPU has no AMX";
  OwnedExecContext one(1), three(3);
  for (const ElementType format : kFormats)
    for (const int64_t window : {0, 70}) {
      const AttentionProblem all{150, 120, 9, 3, 64, window, format, true};
      const int64_t width = all.heads * all.head_dim;
      const Cache cache(all, 0, Data::LateSink, 31);
      const auto q = random_normal(all.tokens * width, 32);
      const auto whole = run(one.get(), all, cache, q, attention_table()[0]);
      const auto threads = run(three.get(), all, cache, q, attention_table()[0]);
      EXPECT_EQ(std::memcmp(whole.data(), threads.data(), whole.size() * sizeof(float)), 0);
      for (int64_t t = 0; t < all.tokens; t += 37) {
        AttentionProblem part = all;
        part.tokens = std::min<int64_t>(37, all.tokens - t);
        part.start = all.start + t;
        if (part.tokens < 16) continue;
        const auto out = run(one.get(), part, cache, {q.begin() + t * width, q.end()}, attention_table()[0]);
        EXPECT_EQ(std::memcmp(whole.data() + t * width, out.data(), out.size() * sizeof(float)), 0) << t;
      }
    }
}

/// A query or key that is not finite shows in the rows that see it and in no other.
TEST(AttentionBf16, NotFiniteShowsWhereItIsSeen) {
  const AttentionProblem p{40, 140, 2, 1, 32, 0, ElementType::Float16, true};
  Cache cache(p, 0, Data::Normal, 90);
  const auto place = kv_place(KvSide::Keys, p.format, p.head_dim, 170, 5);
  const uint16_t nan = 0x7e00;
  std::memcpy(cache.keys.codes.data() + place.byte, &nan, 2);
  auto q = random_normal(40 * 64, 91);
  q[2 * 64 + 37] = INFINITY;  // token 2, head 1
  for_each_entry(attention_table(), p, [&](ExecContext& context, const auto& entry) {
    if (entry.needs == Isa::Scalar) return;
    const auto out = run(context, p, cache, q, entry);
    for (size_t i = 0; i < out.size(); ++i) EXPECT_EQ(std::isnan(out[i]), i >= 30 * 64 || i / 32 == 5) << i;
  });
}

/// Weights of 0 would not hide such values from the queries that do not see them, so they go the way of f32 products.
TEST(AttentionBf16, ValuesNotFiniteOrHugeTakeTheOtherWay) {
  if (!has_tiles()) GTEST_SKIP() << "this CPU has no AMX";
  OwnedExecContext context(3);
  const AttentionProblem p{40, 140, 2, 1, 32, 0, ElementType::Float32, true};
  const auto q = random_normal(40 * 64, 95);
  for (const float value : {INFINITY, kPoison, 1e38f}) {
    Cache cache(p, 0, Data::Normal, 94);
    std::memcpy(cache.values.codes.data() + kv_place(KvSide::Values, p.format, p.head_dim, 170, 5).byte, &value, 4);
    const auto out = run(context.get(), p, cache, q, entry_named("amx"));
    const auto wanted = run(context.get(), p, cache, q, entry_named("avx512"));
    EXPECT_EQ(std::memcmp(out.data(), wanted.data(), out.size() * sizeof(float)), 0) << value;
    for (size_t i = 0; i < 30 * 64; ++i) EXPECT_TRUE(std::isfinite(out[i])) << i;
  }
}

/// Prompts and single tokens together: each as alone.
TEST(AttentionBf16, BatchOfPromptsAndSingleTokens) {
  const AttentionProblem problems[] = {{1, 200, 9, 3, 64, 0, ElementType::Float16, true},
                                       {40, 130, 9, 3, 64, 0, ElementType::Float16, true},
                                       {12, 30, 4, 1, 48, 0, ElementType::Int8, true},
                                       {60, 0, 4, 2, 128, 70, ElementType::Int8, true}};
  std::vector<Cache> caches;
  std::vector<std::vector<float>> queries;
  for (const AttentionProblem& p : problems) {
    caches.emplace_back(p, 1, Data::Sink, 400 + caches.size());
    queries.push_back(random_normal(p.tokens * p.heads * p.head_dim, 500 + caches.size()));
  }
  for_each_entry(attention_batch_table(), {problems}, [&](ExecContext& context, const auto& entry) {
    std::vector<AttentionArgs> args;
    std::vector<std::vector<float>> together;
    for (size_t i = 0; i < caches.size(); ++i) {
      const int64_t width = problems[i].heads * problems[i].head_dim;
      together.push_back(poisoned_outputs(problems[i], width));
      args.push_back(caches[i].args(queries[i].data(), together[i].data(), width, width, 0.125f));
    }
    entry.run(context, {problems}, {args});
    for (size_t i = 0; i < caches.size(); ++i) {
      const auto alone = run(context, problems[i], caches[i], queries[i], entry_named(entry.name));
      EXPECT_EQ(std::memcmp(alone.data(), together[i].data(), alone.size() * sizeof(float)), 0) << "sequence " << i;
      for (const float x : together[i]) ASSERT_TRUE(std::isfinite(x)) << "sequence " << i;
    }
  });
}

}  // namespace
}  // namespace halftone::kernels
