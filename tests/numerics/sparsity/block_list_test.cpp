// Block lists: layout by hand, masks by definition, round trips with ragged edges, damage.
#include "numerics/sparsity/block_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <random>

#include "base/error.h"
#include "base/philox.h"

namespace halftone {
namespace {

std::vector<float> random_normal(int64_t n, uint64_t seed) {
  PhiloxStream stream(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(n));
  for (float& v : values) v = normal(stream);
  return values;
}

TEST(BlockListTest, LayoutByHand) {
  // 3 x 5 in blocks of 2 x 2: kept are (0,1), (1,0), (1,2).
  std::vector<float> dense(15);
  std::iota(dense.begin(), dense.end(), 1.0f);
  const auto packed = pack_blocks<float>({2, 2}, 3, 5, dense, std::vector<uint8_t>{0, 1, 0, 1, 0, 1});
  EXPECT_EQ(packed.row_offsets, (std::vector<int64_t>{0, 1, 3}));
  EXPECT_EQ(packed.columns, (std::vector<int32_t>{1, 0, 2}));
  EXPECT_EQ(packed.blocks, (std::vector<float>{3, 4, 8, 9, 11, 12, 0, 0, 15, 0, 0, 0}));
  EXPECT_EQ(unpack_blocks(packed), (std::vector<float>{0, 0, 3, 4, 0, 0, 0, 8, 9, 0, 11, 12, 0, 0, 15}));
  EXPECT_EQ(packed.bytes(), 12 * 4 + 3 * 4 + 3 * 8);
  EXPECT_EQ(packed.bytes(4), 6 + 12 + 24);
}

TEST(BlockListTest, RoundTripsExactly) {
  uint64_t seed = 9;
  for (const BlockShape& shape : {BlockShape{1, 1}, BlockShape{16, 16}, BlockShape{3, 7}, BlockShape{64, 8}})
    for (const int64_t rows : {1, 5, 64})
      for (const int64_t k : {1, 17, 130})
        for (const double density : {0.0, 0.3, 1.0}) {
          const auto w = random_normal(rows * k, ++seed);
          const auto mask = magnitude_mask(shape, rows, k, w, density);
          const int64_t blocks = shape.row_blocks(rows) * shape.column_blocks(k);
          ASSERT_EQ(std::accumulate(mask.begin(), mask.end(), int64_t{0}),
                    static_cast<int64_t>(std::ceil(density * static_cast<double>(blocks))));
          auto want = w;
          for (int64_t r = 0; r < rows; ++r)
            for (int64_t c = 0; c < k; ++c)
              if (mask[static_cast<size_t>(r / shape.rows * shape.column_blocks(k) + c / shape.columns)] == 0)
                want[static_cast<size_t>(r * k + c)] = -1;
          ASSERT_EQ(unpack_blocks(pack_blocks<float>(shape, rows, k, w, mask, -1.0f), -1.0f), want);
          if (density == 1.0) {
            ASSERT_EQ(want, w);
          }
        }
}

TEST(BlockListTest, MaskKeepsTheLargestMeans) {
  const BlockShape shape{4, 4};
  const int64_t rows = 10, k = 11;  // ragged: a corner block of 2 x 3
  const auto w = random_normal(rows * k, 3);
  const auto mask = magnitude_mask(shape, rows, k, w, 0.5);
  double least_kept = 1e9, most_dropped = 0;
  for (int64_t rb = 0; rb < 3; ++rb)
    for (int64_t cb = 0; cb < 3; ++cb) {
      double sum = 0, count = 0;
      for (int64_t r = 4 * rb; r < std::min<int64_t>(rows, 4 * rb + 4); ++r)
        for (int64_t c = 4 * cb; c < std::min<int64_t>(k, 4 * cb + 4); ++c)
          sum += std::fabs(w[static_cast<size_t>(r * k + c)]), ++count;
      if (mask[static_cast<size_t>(rb * 3 + cb)] != 0)
        least_kept = std::min(least_kept, sum / count);
      else
        most_dropped = std::max(most_dropped, sum / count);
    }
  EXPECT_GE(least_kept, most_dropped);
  EXPECT_THROW(magnitude_mask(shape, rows, k, w, 1.5), InvalidArgument);
  EXPECT_THROW(magnitude_mask(shape, rows, k, w, std::nan("")), InvalidArgument);
  EXPECT_THROW(magnitude_mask(BlockShape{0, 4}, rows, k, w, 0.5), InvalidArgument);
}

TEST(BlockListTest, DamageIsNamed) {
  const auto w = random_normal(7 * 9, 4);
  const BlockShape shape{3, 4};
  const auto packed = pack_blocks<float>(shape, 7, 9, w, std::vector<uint8_t>(9, 1));
  const auto message = [&](auto&& spoil) {
    auto damaged = packed;
    spoil(damaged);
    try {
      unpack_blocks(damaged);
    } catch (const InvalidArgument& error) {
      return std::string(error.what());
    }
    return std::string("nothing thrown");
  };
  EXPECT_THAT(message([](auto& m) { m.row_offsets[1] = 7; }), testing::HasSubstr("block row 1 runs from 7 to 6"));
  EXPECT_THAT(message([](auto& m) { m.row_offsets[1] = 100; }), testing::HasSubstr("block row 0"));
  EXPECT_THAT(message([](auto& m) { m.row_offsets[1] = -1; }), testing::HasSubstr("block row 0"));
  EXPECT_THAT(message([](auto& m) { m.row_offsets.back() = 8; }), testing::HasSubstr("from 0 to 8"));
  EXPECT_THAT(message([](auto& m) { m.row_offsets.clear(); }), testing::HasSubstr("row_offsets has 0 entries"));
  EXPECT_THAT(message([](auto& m) { m.columns[4] = 0; }), testing::HasSubstr("column 0 of block 4 in block row 1"));
  EXPECT_THAT(message([](auto& m) { m.columns[8] = 3; }), testing::HasSubstr("stay below 3"));
  EXPECT_THAT(message([](auto& m) { m.columns[0] = -1; }), testing::HasSubstr("column -1"));
  EXPECT_THAT(message([](auto& m) { m.blocks.pop_back(); }), testing::HasSubstr("blocks has 107 entries, not 108"));
  EXPECT_THAT(message([](auto& m) { m.blocks.back() = 1; }), testing::HasSubstr("past the matrix's edge"));
}

}  // namespace
}  // namespace halftone
