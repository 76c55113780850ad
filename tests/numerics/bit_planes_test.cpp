// Bit planes: exact inverse, words where the contract says, sums and tiles of values.
#include "numerics/bit_planes.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "base/error.h"
#include "base/philox.h"

namespace halftone {
namespace {

TEST(BitPlanesTest, InverseIsExactForOddSizes) {
  uint64_t seed = 1;
  for (const auto order : {PlaneOrder::Weights, PlaneOrder::Activations})
    for (const int bits : {1, 2, 3, 4, 5, 8})
      for (const int64_t rows : {1, 7, 8, 19})
        for (const int64_t k : {1, 63, 64, 65, 200}) {
          const BitPlanes planes = {order, bits, rows, k};
          PhiloxStream random(seed++);
          std::vector<uint8_t> codes(static_cast<size_t>(rows * k)), back(codes.size(), 0x5a);
          for (auto& code : codes) code = static_cast<uint8_t>(random() & ((1u << bits) - 1));
          std::vector<uint64_t> words(static_cast<size_t>(planes.size()), 0xa5a5a5a5a5a5a5a5u);
          pack_bit_planes(planes, codes.data(), words.data());
          unpack_bit_planes(planes, words.data(), back.data());
          ASSERT_EQ(back, codes) << bits << " bits, " << rows << " x " << k;
        }
}

TEST(BitPlanesTest, WordsLieWhereTheContractSays) {
  std::vector<uint8_t> codes(10 * 70);
  codes[9 * 70 + 66] = 5;  // row 9, word 1, bit 2 of the word: planes 0 and 2
  const BitPlanes weights = {PlaneOrder::Weights, 3, 10, 70}, inputs = {PlaneOrder::Activations, 3, 10, 70};
  ASSERT_EQ(weights.size(), 2 * 2 * 3 * 8);  // tiles, words, planes, rows
  ASSERT_EQ(inputs.size(), 10 * 3 * 2);
  std::vector<uint64_t> words(static_cast<size_t>(weights.size())), expected = words;
  pack_bit_planes(weights, codes.data(), words.data());
  expected[((1 * 2 + 1) * 3 + 0) * 8 + 1] = expected[((1 * 2 + 1) * 3 + 2) * 8 + 1] = 4;
  EXPECT_EQ(words, expected);
  words.assign(static_cast<size_t>(inputs.size()), 0);
  expected = words;
  pack_bit_planes(inputs, codes.data(), words.data());
  expected[(9 * 3 + 0) * 2 + 1] = expected[(9 * 3 + 2) * 2 + 1] = 4;
  EXPECT_EQ(words, expected);
}

TEST(BitPlanesTest, RefusesWhatDoesNotFit) {
  const std::vector<uint8_t> codes = {1, 4};
  uint64_t words[16];
  EXPECT_THROW(pack_bit_planes({PlaneOrder::Weights, 2, 1, 2}, codes.data(), words), InvalidArgument);
  EXPECT_THROW(pack_bit_planes({PlaneOrder::Weights, 9, 1, 2}, codes.data(), words), InvalidArgument);
}

TEST(BitPlanesTest, SumsAndTiledValues) {
  std::vector<uint8_t> codes(2 * 100);
  std::iota(codes.begin(), codes.end(), uint8_t{0});
  std::vector<int32_t> sums(4, -1), tiled(16, -1);
  sum_codes(2, 100, 64, codes.data(), sums.data());
  EXPECT_EQ(sums, (std::vector<int32_t>{63 * 32, 36 * 64 + 35 * 18, 64 * 100 + 63 * 32, 36 * 164 + 35 * 18}));
  tile_plane_values(2, 2, sums.data(), tiled.data());
  EXPECT_EQ(tiled[0], sums[0]);
  EXPECT_EQ(tiled[1], sums[2]);
  EXPECT_EQ(tiled[8], sums[1]);
  EXPECT_EQ(tiled[9], sums[3]);
  EXPECT_EQ(tiled[2], 0);
  EXPECT_EQ(tiled[15], 0);
}

}  // namespace
}  // namespace halftone
