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

// |x - code * scale| <= scale / 2, and three roundings of a product up to 127 beyond it.
TEST(QuantizeRows, EveryEntryWithinHalfAStep) {
  uint64_t seed = 1;
  for (const int64_t rows : {1, 3, 129})
    for (const int64_t k : {1, 17, 64, 576, 640, 1536})
      for (const float size : {1.0f, 1e30f, 1e-30f}) {
        const int64_t stride = k + 1, code_stride = (k + 63) / 64 * 64 + 64;
        auto x = random_normal(rows * stride, ++seed, size);
        x[0] *= 1000;  // an outlier
        const QuantizeRowsProblem p{rows, k};
        for_each_entry(quantize_rows_table(), p, [&](ExecContext& context, const auto& entry) {
          std::vector<int8_t> codes(static_cast<size_t>(rows * code_stride), 99);
          std::vector<float> scales(static_cast<size_t>(rows), kPoison);
          entry.run(context, p, {x.data(), stride, codes.data(), code_stride, scales.data()});
          for (int64_t r = 0; r < rows; ++r) {
            float largest = 0;
            int top = 0;
            for (int64_t i = 0; i < k; ++i)
              largest = std::max(largest, std::fabs(x[static_cast<size_t>(r * stride + i)]));
            const double scale = scales[static_cast<size_t>(r)];
            ASSERT_EQ(scales[static_cast<size_t>(r)], largest / 127);
            for (int64_t i = 0; i < code_stride; ++i) {
              const int code = codes[static_cast<size_t>(r * code_stride + i)];
              top = std::max(top, std::abs(code));
              const double value = i < k ? x[static_cast<size_t>(r * stride + i)] : 0;
              ASSERT_LE(std::fabs(value - code * scale), i < k ? scale * (0.5 + 127 * 3 * kUnit) : 0);
            }
            ASSERT_EQ(top, 127);
          }
        });
      }
}

TEST(QuantizeRows, ZeroTinyAndExactRows) {
  const QuantizeRowsProblem p{4, 20};
  std::vector<float> x(80, 0.0f);
  for (size_t i = 0; i < 20; ++i) {
    x[20 + i] = (i % 2 == 0 ? 1e-44f : -1e-44f);                             // max / 127 rounds to 0
    x[40 + i] = 0.25f * static_cast<float>(static_cast<int>(i) * 13 - 120);  // codes times 2^-2, the largest 127 below
    x[60 + i] = 1e-39f * static_cast<float>(i);                              // 1 / scale overflows
  }
  x[40] = 0.25f * 127;
  x[41] = 0.125f;  // ties: half to even
  x[42] = 0.375f;
  for_each_entry(quantize_rows_table(), p, [&](ExecContext& context, const auto& entry) {
    std::vector<int8_t> codes(4 * 64, 99);
    std::vector<float> scales(4, kPoison);
    entry.run(context, p, {x.data(), 20, codes.data(), 64, scales.data()});
    EXPECT_EQ(scales[0], 1.0f);
    EXPECT_EQ(scales[1], 1.0f);
    EXPECT_EQ(scales[2], 0.25f);
    for (size_t i = 0; i < 20; ++i) {
      EXPECT_EQ(codes[i], 0);
      EXPECT_EQ(codes[64 + i], 0);
      EXPECT_TRUE(i < 3 || codes[128 + i] == static_cast<int>(i) * 13 - 120) << i;
      EXPECT_LE(std::fabs(x[60 + i] - codes[192 + i] * scales[3]), 0.51 * scales[3]);
    }
    EXPECT_EQ(codes[128], 127);
    EXPECT_EQ(codes[129], 0);
    EXPECT_EQ(codes[130], 2);
  });
}

TEST(QuantizeRows, NamesTheFirstRowThatIsNotFinite) {
  for (const float bad : {kPoison, -kPoison, INFINITY, -INFINITY}) {
    const QuantizeRowsProblem p{200, 100};
    auto x = random_normal(200 * 100, 5);
    x[150 * 100 + 99] = x[42 * 100 + 17] = bad;
    for_each_entry(quantize_rows_table(), p, [&](ExecContext& context, const auto& entry) {
      std::vector<int8_t> codes(200 * 128, 99);
      std::vector<float> scales(200, 0.0f);
      try {
        entry.run(context, p, {x.data(), 100, codes.data(), 128, scales.data()});
        FAIL() << "no error for " << bad;
      } catch (const NumericError& error) {
        EXPECT_THAT(error.what(), testing::HasSubstr("row 42 "));
      }
    });
  }
}

struct Stored {
  std::vector<unsigned char> codes;
  std::vector<uint16_t> scales;
  int64_t capacity;
};

template <class Entry>
Stored store(ExecContext& context, const Entry& entry, const StoreKvProblem& p, const std::vector<float>& x,
             int64_t stride) {
  Stored s{{}, {}, p.tokens + 2};
  s.codes.assign(static_cast<size_t>(p.kv_heads * s.capacity * row_bytes(p.format, p.head_dim)), 0xee);
  s.scales.assign(static_cast<size_t>(p.kv_heads * s.capacity * 2), 0x7e00);
  entry.run(context, p, {x.data(), stride, s.codes.data(), s.scales.data(), s.capacity});
  return s;
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
        const int64_t at = h * s.capacity + t;
        const double scale = f16_to_f32(s.scales[static_cast<size_t>(2 * at)]);
        const double largest = std::max(std::fabs(double{*low}), std::fabs(double{*high}));
        const double wanted = std::max((double{*high} - *low) / levels, largest / 2047);
        if (bits_of(p.format) <= 8) {
          ASSERT_GE(scale, wanted * (1 - 4 * kUnit));
          if (largest > 0) {
            ASSERT_LE(scale, wanted * (1 + 0x1p-10 + 4 * kUnit) + 0x1p-24);
          }
          ASSERT_LE(std::fabs(f16_to_f32(s.scales[static_cast<size_t>(2 * at + 1)])), 2048);
        }
        for (int64_t i = 0; i < p.head_dim; ++i) {
          const double value = reference::kv_element(s.codes.data(), s.scales.data(), p.format, p.head_dim, at, i);
          const double bound = p.format == ElementType::Float32   ? 0
                               : p.format == ElementType::Float16 ? 0x1p-11 * std::fabs(row[i]) + 0x1p-25
                                                                  : scale * (0.5 + 2303 * 4 * kUnit);
          ASSERT_LE(std::fabs(value - row[i]), bound) << "token " << t << " head " << h << " element " << i;
        }
      }
    for (int64_t h = 0; h < p.kv_heads; ++h)  // rows past the last one stay as they were
      for (int64_t i = 0; i < 2 * row_bytes(p.format, p.head_dim); ++i)
        ASSERT_EQ(s.codes[static_cast<size_t>((h * s.capacity + p.tokens) * row_bytes(p.format, p.head_dim) + i)],
                  0xee);
  });
}

constexpr ElementType kFormats[] = {ElementType::Float32, ElementType::Float16, ElementType::Int8, ElementType::Int4};

TEST(StoreKv, RoundTripWithinHalfAStep) {
  uint64_t seed = 60;
  for (const ElementType format : kFormats)
    for (const int64_t tokens : {1, 3, 129})
      for (const int64_t dim : {16, 64, 80, 256, 20})
        for (const auto& [scale, offset] :
             {std::pair{1.0f, 0.0f}, {1.0f, 30.0f}, {0.001f, -7.0f}, {1e-6f, 0.0f}, {500.0f, 0.0f}}) {
          const int64_t stride = 3 * dim + 2;
          auto x = random_normal(tokens * stride, ++seed, scale);
          for (float& v : x) v += offset;
          check_store({tokens, 3, dim, format}, x, stride);
        }
}

TEST(StoreKv, ConstantRowsAndExactValues) {
  for (const ElementType format : kFormats)
    for (const float constant : {0.0f, 1.0f, -1.0f, 3.14159f, -1000.0f, 1e-7f, -2e-8f})
      check_store({2, 1, 64, format}, std::vector<float>(128, constant), 64);

  std::vector<float> x(64);
  for (size_t i = 0; i < 64; ++i) x[i] = 0.5f * static_cast<float>(static_cast<int>(i % 16) - 7);
  const StoreKvProblem p{1, 1, 64, ElementType::Int4};
  for_each_entry(store_kv_table(), p, [&](ExecContext& context, const auto& entry) {
    const Stored s = store(context, entry, p, x, 64);
    EXPECT_EQ(f16_to_f32(s.scales[0]), 0.5f);
    EXPECT_EQ(f16_to_f32(s.scales[1]), 7.0f);
    EXPECT_EQ(s.codes[3], 0x33);  // elements 3 and 35 share the byte and the code 3
    for (int64_t i = 0; i < 64; ++i)
      EXPECT_EQ(reference::kv_element(s.codes.data(), s.scales.data(), p.format, 64, 0, i), x[static_cast<size_t>(i)]);
  });
}

TEST(StoreKv, NotFiniteReadsBackAsNaN) {
  for (const ElementType format : {ElementType::Int8, ElementType::Int4})
    for (const float bad : {kPoison, INFINITY, -INFINITY}) {
      auto x = random_normal(64, 8);
      x[37] = bad;
      const StoreKvProblem p{1, 1, 64, format};
      for_each_entry(store_kv_table(), p, [&](ExecContext& context, const auto& entry) {
        const Stored s = store(context, entry, p, x, 64);
        EXPECT_TRUE(std::isnan(reference::kv_element(s.codes.data(), s.scales.data(), format, 64, 0, 5)));
      });
    }
}

TEST(Quantize, RefusesMalformedProblems) {
  OwnedExecContext context(1);
  std::vector<float> x(64);
  std::vector<int8_t> codes(64);
  float scale = 0;
  EXPECT_THROW(quantize_rows(context.get(), {0, 4}, {x.data(), 4, codes.data(), 64, &scale}), InvalidArgument);
  EXPECT_THROW(quantize_rows(context.get(), {1, 4}, {x.data(), 4, codes.data(), 32, &scale}), InvalidArgument);
  EXPECT_THROW(store_kv(context.get(), {1, 1, 64, ElementType::Int4}, {x.data(), 64, codes.data(), nullptr, 1}),
               InvalidArgument);
  EXPECT_THROW(store_kv(context.get(), {1, 1, 64, ElementType::Int2}, {x.data(), 64, codes.data(), nullptr, 1}),
               InvalidArgument);
}

}  // namespace
}  // namespace halftone::kernels
