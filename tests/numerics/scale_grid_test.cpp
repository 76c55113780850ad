// Granularities: every element of odd-sized matrices lies in the window of its scale, and windows tile the matrix.
#include "numerics/formats/scale_grid.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "base/error.h"

namespace halftone {
namespace {

TEST(ScaleGrid, WindowsTileTheMatrixAndAgreeWithTheIndex) {
  for (const char* name : {"tensor", "row", "channel", "token", "group:1", "group:7", "group:32", "group:1000",
                           "block:1x128", "block:32x32", "block:128x128", "block:32x1", "block:3x5", "token-head:13"})
    for (const auto& [rows, columns] : {std::pair<int64_t, int64_t>{1, 13}, {33, 65}, {129, 130}, {64, 26}, {5, 1}}) {
      const ScaleGranularity layout = parse_scale_granularity(name);
      EXPECT_EQ(to_string(layout), name);
      if (layout.sharing == ScaleSharing::TokenHead && columns % 13 != 0) continue;
      const ScaleGrid grid(layout, rows, columns);
      std::vector<int> covered(static_cast<size_t>(rows * columns));
      for (int64_t index = 0; index < grid.count(); ++index) {
        const MatrixWindow window = grid.window(index);
        ASSERT_LT(window.first_row, window.end_row) << name;
        ASSERT_LT(window.first_column, window.end_column) << name;
        for (int64_t row = window.first_row; row < window.end_row; ++row)
          for (int64_t column = window.first_column; column < window.end_column; ++column) {
            ASSERT_EQ(grid.index(row, column), index) << name;
            ++covered[static_cast<size_t>(row * columns + column)];
          }
      }
      for (const int times : covered) ASSERT_EQ(times, 1) << name;
    }
}

TEST(ScaleGrid, CountsAreThoseOfTheGranularity) {
  const auto count = [](const char* name) { return ScaleGrid(parse_scale_granularity(name), 130, 260).count(); };
  EXPECT_EQ(count("tensor"), 1);
  EXPECT_EQ(count("row"), 130);
  EXPECT_EQ(count("token"), 130);
  EXPECT_EQ(count("channel"), 260);
  EXPECT_EQ(count("group:128"), 130 * 3);
  EXPECT_EQ(count("block:1x128"), 130 * 3);
  EXPECT_EQ(count("block:32x32"), 5 * 9);
  EXPECT_EQ(count("block:128x128"), 2 * 3);
  EXPECT_EQ(count("token-head:65"), 130 * 4);
}

TEST(ScaleGrid, SquareBlocksServeTheTransposedMatrix) {
  const ScaleGranularity layout = parse_scale_granularity("block:32x32");
  const ScaleGrid grid(layout, 70, 100), transposed(layout, 100, 70);
  for (int64_t row = 0; row < 70; ++row)
    for (int64_t column = 0; column < 100; ++column) {
      const int64_t index = grid.index(row, column), across = index / grid.grid_columns(),
                    down = index % grid.grid_columns();
      ASSERT_EQ(transposed.index(column, row), down * transposed.grid_columns() + across);
    }
}

TEST(ScaleGrid, WrongSizesAreErrors) {
  for (const char* name : {"", "rows", "group", "group:0", "group:-4", "group:4x4", "block:32", "block:32x",
                           "block:ax3", "tensor:1", "token-head", "group:99999999999999999999", "group:8 "})
    EXPECT_THROW(parse_scale_granularity(name), InvalidArgument) << name;
  EXPECT_THROW(ScaleGrid(parse_scale_granularity("token-head:48"), 4, 100), InvalidArgument);
  EXPECT_THROW(ScaleGrid({}, 0, 4), InvalidArgument);
  EXPECT_THROW(ScaleGrid({}, 4, -1), InvalidArgument);
  EXPECT_THROW(ScaleGrid({}, int64_t{1} << 40, int64_t{1} << 40), InvalidArgument);
  EXPECT_THROW(ScaleGrid({ScaleSharing::Group, 1, 0}, 4, 4), InvalidArgument);
}

}  // namespace
}  // namespace halftone
