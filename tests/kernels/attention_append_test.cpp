// Attention that appends its new tokens itself, against rope, store_kv and attention one after the other.
#include <cstring>

#include "attention_oracle.h"

namespace halftone::kernels {
namespace {

/// A sequence whose new tokens are yet to be appended: rows of queries, keys and values side by side.
struct Sequence {
  Sequence(const AttentionProblem& problem, int64_t rotary_dim, RopeStyle rope_style, uint64_t seed)
      : p(problem),
        rotary(rotary_dim),
        style(rope_style),
        stride((p.heads + 2 * p.kv_heads) * p.head_dim + 3),
        cache(p, 2, Data::Normal, seed),
        rows(random_normal(p.tokens * stride, seed + 2)),
        angles(static_cast<size_t>(p.tokens * rope_row_floats(rotary)), kPoison),
        out(static_cast<size_t>(p.tokens * p.heads * p.head_dim), kPoison) {
    for (int64_t i = 0; i < rotary / 2; ++i)
      frequency.push_back(std::pow(1e4, -2.0 * static_cast<double>(i) / static_cast<double>(rotary)));
  }
  float* k() { return rows.data() + p.heads * p.head_dim; }
  float* v() { return k() + p.kv_heads * p.head_dim; }
  AttentionArgs args() {
    AttentionArgs a = cache.args(rows.data(), out.data(), stride, p.heads * p.head_dim, 0.13f);
    if (bits_of(p.format) >= 16) a.keys.scales = a.values.scales = nullptr;
    return a;
  }
  AttentionAppend append() {
    const bool scaled = bits_of(p.format) <= 8;
    return {.q = rows.data(),
            .k = k(),
            .v = v(),
            .angles = angles.data(),
            .rotary_dim = rotary,
            .style = style,
            .key_codes = cache.keys.codes.data(),
            .value_codes = cache.values.codes.data(),
            .key_scales = scaled ? cache.keys.scales.data() : nullptr,
            .value_scales = scaled ? cache.values.scales.data() : nullptr};
  }
  void make_angles(ExecContext& context) {
    rope_angles(context, {p.tokens, rotary, style}, {p.start, frequency.data(), angles.data()});
  }
  void append_by_parts(ExecContext& context) {
    rope(context, {p.tokens, p.heads + p.kv_heads, p.head_dim, rotary, style},
         {rows.data(), stride, p.start, frequency.data()});
    for (const KvSide side : {KvSide::Keys, KvSide::Values}) {
      Cache::Side& to = side == KvSide::Keys ? cache.keys : cache.values;
      store_kv(context, {p.tokens, p.start, p.kv_heads, p.head_dim, p.format, side},
               {side == KvSide::Keys ? k() : v(), stride, to.codes.data(), to.scales.data(), cache.capacity});
    }
  }

  AttentionProblem p;
  int64_t rotary;
  RopeStyle style;
  int64_t stride;
  Cache cache;
  std::vector<float> rows, angles, out;
  std::vector<double> frequency;
};

bool same(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/// The reference rounds angles before it turns by them, as kernels do, but `rope`'s does not: a rounding of sine and
/// cosine each, against three of its own.
void expect_near(const Sequence& got, const Sequence& want) {
  for (size_t i = 0; i < got.rows.size(); ++i) {
    double most = 0;  // a pair is within the same head
    for (size_t j = 0; j < got.rows.size(); ++j) most = std::max(most, std::fabs(double{want.rows[j]}));
    ASSERT_LE(std::fabs(got.rows[i] - want.rows[i]), 6 * kUnit * most) << i;
    if (i > 200) break;  // quadratic
  }
}

void check(const std::vector<Sequence>& start) {
  std::vector<AttentionProblem> problems;
  for (const Sequence& s : start) problems.push_back(s.p);
  const AttentionBatchProblem batch{problems};
  for_each_entry(attention_batch_table(), batch, [&](ExecContext& given, const auto& entry) {
    ExecContext context = given;
    context.isa = entry.needs;
    std::vector<Sequence> fused = start, parts = start;
    std::vector<AttentionAppend> appends;
    std::vector<AttentionArgs> args, plain;
    for (size_t i = 0; i < start.size(); ++i) {
      fused[i].make_angles(context);
      parts[i].append_by_parts(context);
      appends.push_back(fused[i].append());
      args.push_back(fused[i].args());
      plain.push_back(parts[i].args());
    }
    for (size_t i = 0; i < start.size(); ++i) args[i].q = nullptr, args[i].append = &appends[i];
    attention_batch(context, batch, {args});
    attention_batch(context, batch, {plain});
    for (size_t i = 0; i < start.size(); ++i) {
      SCOPED_TRACE(to_string(problems[i]));
      for (const float x : fused[i].out) ASSERT_TRUE(std::isfinite(x));
      if (entry.needs == Isa::Scalar) {
        expect_near(fused[i], parts[i]);
        continue;
      }
      EXPECT_TRUE(same(fused[i].rows, parts[i].rows)) << "queries and keys";
      EXPECT_EQ(fused[i].cache.keys.codes, parts[i].cache.keys.codes);
      EXPECT_EQ(fused[i].cache.keys.scales, parts[i].cache.keys.scales);
      EXPECT_EQ(fused[i].cache.values.codes, parts[i].cache.values.codes);
      EXPECT_EQ(fused[i].cache.values.scales, parts[i].cache.values.scales);
      EXPECT_TRUE(same(fused[i].out, parts[i].out));
    }
  });
}

constexpr ElementType kFormats[] = {ElementType::Float32, ElementType::Float16, ElementType::Int8, ElementType::Int4};

/// Few heads, whose blocks are spread over threads, and a prompt.
TEST(AttentionAppend, BitsOfItsParts) {
  uint64_t seed = 7000;
  for (const ElementType format : kFormats)
    for (const RopeStyle style : {RopeStyle::Adjacent, RopeStyle::HalfSplit})
      for (const int64_t tokens : {1, 5, 40})
        check({Sequence({tokens, 125, 6, 2, 48, 0, format}, style == RopeStyle::Adjacent ? 48 : 20, style, ++seed)});
}

/// Heads enough for each thread to take whole ones, of unlike sequences.
TEST(AttentionAppend, BitsOfItsPartsInABatch) {
  for (const RopeStyle style : {RopeStyle::Adjacent, RopeStyle::HalfSplit})
    check({Sequence({1, 64, 9, 3, 64, 0, ElementType::Float16}, 64, style, 1),
           Sequence({1, 300, 9, 3, 64, 0, ElementType::Int8}, 64, style, 2),
           Sequence({20, 130, 9, 3, 64, 0, ElementType::Int4}, 64, style, 3),
           Sequence({5, 126, 4, 1, 256, 70, ElementType::Int4}, 128, style, 4),
           Sequence({8, 0, 7, 7, 48, 0, ElementType::Float32}, 32, style, 5)});
}

TEST(AttentionAppend, RefusesWhatDoesNotMatch) {
  OwnedExecContext context(1);
  Sequence s({1, 3, 2, 1, 32, 0, ElementType::Int8}, 32, RopeStyle::Adjacent, 1);
  s.make_angles(context.get());
  const auto run = [&](auto change) {
    AttentionAppend append = s.append();
    AttentionArgs args = s.args();
    args.append = &append;
    change(append);
    attention(context.get(), s.p, args);
  };
  EXPECT_NO_THROW(run([](auto&) {}));
  EXPECT_THROW(run([](auto& a) { a.k = nullptr; }), InvalidArgument);
  EXPECT_THROW(run([](auto& a) { a.angles = nullptr; }), InvalidArgument);
  EXPECT_THROW(run([](auto& a) { a.rotary_dim = 34; }), InvalidArgument);
  EXPECT_THROW(run([](auto& a) { a.key_scales = nullptr; }), InvalidArgument);
  EXPECT_THROW(run([&](auto& a) { a.value_codes = a.key_codes; }), InvalidArgument);
}

}  // namespace
}  // namespace halftone::kernels
