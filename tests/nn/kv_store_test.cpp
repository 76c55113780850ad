// The cache: exact bytes, what is written where, and what does not fit.
#include "nn/kv_store.h"

#include <ATen/TensorOperators.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "nn/testing/tiny_decoder.h"
#include "numerics/reference/attention.h"

namespace halftone::nn {
namespace {

constexpr KvShape kShape{2, 3, 48};
const std::vector<ElementType> kFormats = {ElementType::Float32, ElementType::Float16, ElementType::Int8,
                                           ElementType::Int4};

/// Row of `head` at `position`, decoded as numerics/kv_layout.h draws it.
std::vector<double> stored_row(const kernels::KvView& view, KvSide side, ElementType format, int64_t capacity,
                               int64_t head, int64_t position) {
  std::vector<double> row(kShape.head_dim);
  for (int64_t d = 0; d < kShape.head_dim; ++d)
    row[d] =
        reference::kv_element({side, format, kShape.head_dim, capacity, view.codes, view.scales}, head, position, d);
  return row;
}

/// Largest distance from a value in [-1, 1] to what the format keeps of it: half a step (of at most 2 / levels), plus
/// the rounding of scale and zero point to f16, each 2^-11 of at most the range.
double tolerance(ElementType format) {
  switch (format) {
    case ElementType::Float32:
      return 0;
    case ElementType::Float16:
      return 0x1p-11;
    case ElementType::Int8:
      return 1.0 / 255 + 3 * 0x1p-10;
    default:
      return 1.0 / 15 + 3 * 0x1p-10;
  }
}

TEST(KvStoreTest, BytesPerToken) {
  EXPECT_EQ(kv_bytes_per_token({30, 3, 64}, ElementType::Float16), 23040);  // SmolLM2-135M
  EXPECT_EQ(kv_bytes_per_token({30, 3, 64}, ElementType::Int4), 2 * 30 * 3 * (32 + 4));
  EXPECT_EQ(kv_bytes_per_token({18, 1, 256}, ElementType::Float16), 18432);  // Gemma 3 270M
  EXPECT_EQ(kv_bytes_per_token({18, 1, 256}, ElementType::Int8), 2 * 18 * (256 + 4));
  EXPECT_EQ(kv_bytes_per_token({1, 1, 64}, ElementType::Float32), 512);
}

TEST(KvStoreTest, ParsesItsFormats) {
  for (const auto format : kFormats) EXPECT_EQ(parse_kv_format(to_string(format)), format);
  for (const char* bad : {"int2", "bf16", "", "F16"}) EXPECT_THROW(parse_kv_format(bad), InvalidArgument) << bad;
}

TEST(KvStoreTest, KeepsWhatItWasGivenWhereItBelongs) {
  OwnedExecContext exec(2);
  for (const auto format : kFormats) {
    PhiloxStream random(static_cast<uint64_t>(format) + 1);
    KvStore cache(kShape, format, 21);
    const auto tokens = [&](int64_t count) {
      return uniform_matrix(random, count, kShape.kv_heads * kShape.head_dim, 1.0f);
    };
    std::vector<at::Tensor> keys, values;
    for (const int64_t count : {4, 1, 13}) {  // a prompt, then more
      for (int64_t layer = 0; layer < kShape.layers; ++layer) {
        keys.push_back(tokens(count));
        values.push_back(tokens(count));
        cache.append(exec.get(), layer, keys.back(), values.back());
      }
      cache.advance(count);
    }
    EXPECT_EQ(cache.length(), 18);
    int64_t start = 0;
    for (size_t step = 0; step < keys.size(); ++step) {
      const auto layer = static_cast<int64_t>(step) % kShape.layers;
      for (int64_t t = 0; t < keys[step].size(0); ++t)
        for (int64_t i = 0; i < kShape.kv_heads * kShape.head_dim; ++i) {
          const int64_t head = i / kShape.head_dim, d = i % kShape.head_dim;
          ASSERT_NEAR(stored_row(cache.keys(layer), KvSide::Keys, format, 21, head, start + t)[d],
                      keys[step][t][i].item<double>(), tolerance(format))
              << to_string(format) << " layer " << layer << " token " << start + t;
          ASSERT_NEAR(stored_row(cache.values(layer), KvSide::Values, format, 21, head, start + t)[d],
                      values[step][t][i].item<double>(), tolerance(format));
        }
      if (layer == kShape.layers - 1) start += keys[step].size(0);
    }
  }
}

/// Cut in the middle of a group and of a shared byte, then appended to: what stays keeps its bits, what is new is read.
TEST(KvStoreTest, TruncateForgets) {
  OwnedExecContext exec(2);
  constexpr int64_t kCapacity = 40;
  for (const auto format : kFormats) {
    PhiloxStream random(5);
    KvStore cache(kShape, format, kCapacity);
    const auto append = [&](int64_t count) {
      const at::Tensor x = uniform_matrix(random, count, kShape.kv_heads * kShape.head_dim, 1.0f);
      for (int64_t layer = 0; layer < kShape.layers; ++layer) cache.append(exec.get(), layer, x, x);
      cache.advance(count);
      return x;
    };
    const auto row = [&](KvSide side, int64_t head, int64_t position) {
      return stored_row(side == KvSide::Keys ? cache.keys(1) : cache.values(1), side, format, kCapacity, head,
                        position);
    };
    append(33);
    std::vector<std::vector<double>> before;
    for (const auto side : {KvSide::Keys, KvSide::Values})
      for (int64_t t = 0; t < 21; ++t) before.push_back(row(side, 2, t));
    cache.truncate(21);
    EXPECT_EQ(cache.length(), 21);
    const at::Tensor again = append(7);
    size_t index = 0;
    for (const auto side : {KvSide::Keys, KvSide::Values}) {
      for (int64_t t = 0; t < 21; ++t) EXPECT_EQ(row(side, 2, t), before[index++]) << to_string(format) << " " << t;
      for (int64_t t = 0; t < 7; ++t)
        for (int64_t d = 0; d < kShape.head_dim; ++d)
          ASSERT_NEAR(row(side, 2, 21 + t)[d], again[t][2 * kShape.head_dim + d].item<double>(), tolerance(format));
    }
    EXPECT_THROW(cache.truncate(29), InvalidArgument);
    EXPECT_THROW(cache.truncate(-1), InvalidArgument);
  }
}

TEST(KvStoreTest, RefusesWhatDoesNotFit) {
  OwnedExecContext exec(1);
  PhiloxStream random(6);
  KvStore cache(kShape, ElementType::Float16, 4);
  const at::Tensor five = uniform_matrix(random, 5, kShape.kv_heads * kShape.head_dim, 1.0f);
  try {
    cache.append(exec.get(), 0, five, five);
    FAIL() << "five tokens went into four places";
  } catch (const InvalidArgument& problem) {
    EXPECT_THAT(problem.what(), testing::AllOf(testing::HasSubstr("5 more"), testing::HasSubstr("context of 4")));
  }
  EXPECT_THROW(KvStore(kShape, ElementType::Float16, 0), InvalidArgument);
  EXPECT_THROW(KvStore(kShape, ElementType::Int2, 4), InvalidArgument);
  const at::Tensor narrow = uniform_matrix(random, 1, 10, 1.0f);
  EXPECT_THROW(cache.append(exec.get(), 0, narrow, narrow), InvalidArgument);
}

}  // namespace
}  // namespace halftone::nn
