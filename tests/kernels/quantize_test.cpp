// Run-time quantisation: every entry, error bounds from the scale, and the values that break careless code.
#include "kernels/api/quantize.h"

#include <gmock/gmock.h>

#include <cmath>
#include <cstring>

#include "kernel_test.h"
#include "numerics/half.h"
#include "numerics/reference/attention.h"

namespace halftone::kernels {
namespace {

struct Stored {
  StoreKvProblem p;
  std::vector<unsigned char> codes;
  std::vector<uint16_t> scales;
  int64_t capacity;

  reference::KvCache cache() const { return {p.side, p.format, p.head_dim, capacity, codes.data(), scales.data()}; }
  double value(int64_t head, int64_t position, int64_t element) const {
    return reference::kv_element(cache(), head, position, element);
  }
  /// Scale, or zero point with `offset` kKvGroup, of a token.
  double scale(int64_t head, int64_t position, int64_t offset = 0) const {
    const int64_t at = head * kv_head_scales(p.format, capacity) + kv_scale_index(position) + offset;
    return f16_to_f32(scales[static_cast<size_t>(at)]);
  }
  /// The first byte of an element, or its nibble.
  int raw(int64_t head, int64_t position, int64_t element) const {
    const KvPlace place = kv_place(p.side, p.format, p.head_dim, position, element);
    const int64_t at = head * kv_head_bytes(p.format, p.head_dim, capacity) + place.byte;
    const int byte = codes[static_cast<size_t>(at)];
    return p.format == ElementType::Int4 ? byte >> place.shift & 15 : byte;
  }
};

constexpr int64_t kGuard = 64;  // bytes behind the cache
constexpr unsigned char kUntouched = 0xee;

template <class Entry>
Stored store(ExecContext& context, const Entry& entry, const StoreKvProblem& p, const std::vector<float>& x,
             int64_t stride) {
  Stored s{p, {}, {}, p.start + p.tokens + 2};
  s.codes.assign(static_cast<size_t>(p.kv_heads * kv_head_bytes(p.format, p.head_dim, s.capacity) + kGuard),
                 kUntouched);
  s.scales.assign(static_cast<size_t>(p.kv_heads * 2 * kv_padded_tokens(s.capacity)), 0x7e00);
  entry.run(context, p, {x.data(), stride, s.codes.data(), s.scales.data(), s.capacity});
  return s;
}

void check_untouched(const Stored& s) {
  const StoreKvProblem& p = s.p;
  for (int64_t h = 0; h < p.kv_heads; ++h)
    for (int64_t t = 0; t < kv_padded_tokens(s.capacity); ++t) {
      if (t >= p.start && t < p.start + p.tokens) continue;
      for (int64_t i = 0; i < p.head_dim; ++i)
        ASSERT_EQ(s.raw(h, t, i) & 15, kUntouched & 15) << h << " " << t << " " << i;
      if (bits_of(p.format) <= 8) {
        ASSERT_TRUE(std::isnan(s.scale(h, t)) && std::isnan(s.scale(h, t, kKvGroup)));
      }
    }
  for (size_t i = s.codes.size() - kGuard; i < s.codes.size(); ++i) ASSERT_EQ(s.codes[i], kUntouched);
}

// Integers: half a step of the stored scale, as derived in numerics/reference/quantize.h, plus four roundings of
// x / scale + zero, whose parts stay below 2048 + 255. The scale is the range's or the magnitude's, rounded up to f16.
void check_store(const StoreKvProblem& p, const std::vector<float>& x, int64_t stride) {
  for_each_entry(store_kv_table(), p, [&](ExecContext& context, const auto& entry) {
    const Stored s = store(context, entry, p, x, stride);
    const int levels = p.format == ElementType::Int8 ? 255 : 15;
    for (int64_t t = 0; t < p.tokens; ++t)
      for (int64_t h = 0; h < p.kv_heads; ++h) {
        const float* row = x.data() + t * stride + h * p.head_dim;
        const auto [low, high] = std::minmax_element(row, row + p.head_dim);
        const int64_t at = p.start + t;
        const double scale = bits_of(p.format) <= 8 ? s.scale(h, at) : 0;
        const double largest = std::max(std::fabs(double{*low}), std::fabs(double{*high}));
        const double wanted = std::max((double{*high} - *low) / levels, largest / 2047);
        if (bits_of(p.format) <= 8) {
          ASSERT_GE(scale, wanted * (1 - 4 * kUnit));
          if (largest > 0) {
            ASSERT_LE(scale, wanted * (1 + 0x1p-10 + 4 * kUnit) + 0x1p-24);
          }
          ASSERT_LE(std::fabs(s.scale(h, at, kKvGroup)), 2048);
        }
        for (int64_t i = 0; i < p.head_dim; ++i) {
          const double bound = p.format == ElementType::Float32   ? 0
                               : p.format == ElementType::Float16 ? 0x1p-11 * std::fabs(row[i]) + 0x1p-25
                                                                  : scale * (0.5 + 2303 * 4 * kUnit);
          ASSERT_LE(std::fabs(s.value(h, at, i) - row[i]), bound) << "token " << t << " head " << h << " element " << i;
        }
      }
    check_untouched(s);
  });
}

constexpr ElementType kFormats[] = {ElementType::Float32, ElementType::Float16, ElementType::Int8, ElementType::Int4};

constexpr KvSide kSides[] = {KvSide::Keys, KvSide::Values};

TEST(StoreKv, RoundTripWithinHalfAStep) {
  uint64_t seed = 60;
  for (const ElementType format : kFormats)
    for (const KvSide side : kSides)
      for (const auto& [tokens, start] : {std::pair<int64_t, int64_t>{1, 0}, {1, 21}, {3, 6}, {129, 0}, {50, 13}})
        for (const int64_t dim : {16, 64, 80, 256, 20})
          for (const auto& [scale, offset] :
               {std::pair{1.0f, 0.0f}, {1.0f, 30.0f}, {0.001f, -7.0f}, {1e-6f, 0.0f}, {500.0f, 0.0f}}) {
            if (dim > 64 && offset != 0) continue;
            const int64_t stride = 3 * dim + 2;
            auto x = random_normal(tokens * stride, ++seed, scale);
            for (float& v : x) v += offset;
            check_store({tokens, start, 3, dim, format, side}, x, stride);
          }
}

/// Where each layout of numerics/kv_layout.h puts a few elements, counted by hand for D = 32.
TEST(StoreKv, LayoutsAsDrawn) {
  const auto at = [](KvSide side, ElementType format, int64_t position, int64_t element) {
    const KvPlace place = kv_place(side, format, 32, position, element);
    return std::pair(place.byte, place.shift);
  };
  using P = std::pair<int64_t, int>;
  EXPECT_EQ(at(KvSide::Keys, ElementType::Float16, 18, 5), P(16 * 64 + 5 * 32 + 2 * 2, 0));
  EXPECT_EQ(at(KvSide::Values, ElementType::Float32, 18, 5), P(18 * 128 + 5 * 4, 0));
  EXPECT_EQ(at(KvSide::Keys, ElementType::Int8, 18, 6), P(16 * 32 + 64 + 2 * 4 + 2, 0));
  EXPECT_EQ(at(KvSide::Values, ElementType::Int8, 18, 6), P(16 * 32 + 6 * 4 + 2, 0));
  EXPECT_EQ(at(KvSide::Keys, ElementType::Int4, 18, 13), P(16 * 16 + 64 + 2 * 4 + 1, 4));
  EXPECT_EQ(at(KvSide::Values, ElementType::Int4, 22, 13), P(16 * 16 + 13 * 4 + 2, 4));
  EXPECT_EQ(kv_scale_index(18), 34);
  EXPECT_EQ(kv_head_bytes(ElementType::Int4, 20, 17), 32 * 12);  // 24 nibbles a token, 32 tokens
}

TEST(StoreKv, ConstantRowsAndExactValues) {
  for (const ElementType format : kFormats)
    for (const KvSide side : kSides)
      for (const float constant : {0.0f, 1.0f, -1.0f, 3.14159f, -1000.0f, 1e-7f, -2e-8f})
        check_store({2, 3, 1, 64, format, side}, std::vector<float>(128, constant), 64);

  std::vector<float> x(64);
  for (size_t i = 0; i < 64; ++i) x[i] = 0.5f * static_cast<float>(static_cast<int>(i % 16) - 7);
  for (const KvSide side : kSides) {
    const StoreKvProblem p{1, 5, 1, 64, ElementType::Int4, side};
    for_each_entry(store_kv_table(), p, [&](ExecContext& context, const auto& entry) {
      const Stored s = store(context, entry, p, x, 64);
      EXPECT_EQ(s.scale(0, 5), 0.5);
      EXPECT_EQ(s.scale(0, 5, kKvGroup), 7.0);
      for (int64_t i = 0; i < 64; ++i) {
        EXPECT_EQ(s.raw(0, 5, i), i % 16);
        EXPECT_EQ(s.value(0, 5, i), x[static_cast<size_t>(i)]);
      }
    });
  }
}

/// Tokens one by one, in an order of parts that cut groups and shared bytes, leave the same cache as all at once.
TEST(StoreKv, PartsLeaveTheSameCache) {
  for (const ElementType format : kFormats)
    for (const KvSide side : kSides) {
      const StoreKvProblem all{37, 0, 2, 48, format, side};
      const auto x = random_normal(37 * 96, 77);
      for_each_entry(store_kv_table(), all, [&](ExecContext& context, const auto& entry) {
        const Stored whole = store(context, entry, all, x, 96);
        Stored parts = whole;
        std::fill(parts.codes.begin(), parts.codes.end(), kUntouched);
        std::fill(parts.scales.begin(), parts.scales.end(), uint16_t{0x7e00});
        const auto write = [&](int64_t start, int64_t tokens) {
          entry.run(context, {tokens, start, 2, 48, format, side},
                    {x.data() + start * 96, 96, parts.codes.data(), parts.scales.data(), parts.capacity});
        };
        write(0, 30);  // what truncation to 5 leaves is written over
        for (const auto& [start, tokens] : {std::pair<int64_t, int64_t>{5, 1}, {6, 13}, {19, 17}, {36, 1}})
          write(start, tokens);
        EXPECT_EQ(whole.codes, parts.codes) << to_string(format);
        EXPECT_EQ(whole.scales, parts.scales) << to_string(format);
      });
    }
}

TEST(StoreKv, NotFiniteReadsBackAsNaN) {
  for (const ElementType format : {ElementType::Int8, ElementType::Int4})
    for (const KvSide side : kSides)
      for (const float bad : {kPoison, INFINITY, -INFINITY}) {
        auto x = random_normal(64, 8);
        x[37] = bad;
        const StoreKvProblem p{1, 2, 1, 64, format, side};
        for_each_entry(store_kv_table(), p, [&](ExecContext& context, const auto& entry) {
          EXPECT_TRUE(std::isnan(store(context, entry, p, x, 64).value(0, 2, 5)));
        });
      }
}

TEST(StoreKv, RefusesMalformedProblems) {
  OwnedExecContext context(1);
  std::vector<float> x(64);
  std::vector<int8_t> codes(64);
  const auto refuses = [&](const StoreKvProblem& p, uint16_t* scales) {
    EXPECT_THROW(store_kv(context.get(), p, {x.data(), 64, codes.data(), scales, 1}), InvalidArgument);
  };
  uint16_t scales[32];
  refuses({1, 0, 1, 64, ElementType::Int4}, nullptr);
  refuses({1, 0, 1, 64, ElementType::Int2}, scales);
  refuses({1, 1, 1, 64, ElementType::Int4}, scales);  // past the capacity
  refuses({1, -1, 1, 64, ElementType::Int4}, scales);
}

}  // namespace
}  // namespace halftone::kernels
