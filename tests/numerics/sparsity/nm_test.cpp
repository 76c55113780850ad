// N:M packing: metadata by hand, exact round trips over odd shapes, every kind of damage named.
#include "numerics/sparsity/nm.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "base/error.h"
#include "base/philox.h"

namespace halftone {
namespace {

constexpr NmPattern kPatterns[] = {{2, 4}, {1, 2}, {1, 4}, {3, 4},   {4, 8},  {2, 5},
                                   {1, 1}, {4, 4}, {3, 7}, {16, 32}, {5, 256}};

std::vector<float> random_normal(int64_t n, uint64_t seed) {
  PhiloxStream stream(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(n));
  for (float& v : values) v = normal(stream);
  return values;
}

template <class Error, class Body>
std::string message_of(Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing thrown";
}

TEST(NmTest, TwoOfFourByHand) {
  // Groups keep {0,1}, {0,3}, {1,2}, {2,3}, then {1,3}: nibbles 0100, 1100, 1001, 1110, 1101 from the low end.
  const std::vector<float> dense = {1, 2, 0, 0, 3, 0, 0, 4, 0, 5, 6, 0, 0, 0, 7, 8, 0, 9, 0, 10};
  std::vector<uint8_t> mask;
  for (const float v : dense) mask.push_back(v != 0 ? 1 : 0);
  const auto packed = pack_nm<float>({2, 4}, 1, 20, dense, mask);
  EXPECT_EQ(packed.values, (std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}));
  EXPECT_EQ(packed.metadata_word(0, 0), 0b1110'1001'1100'0100);
  EXPECT_EQ(packed.metadata_word(0, 1), 0b0000'0000'0000'1101);
  EXPECT_EQ(packed.metadata, (std::vector<uint8_t>{0xC4, 0xE9, 0x0D, 0x00}));
  EXPECT_EQ(unpack_nm(packed), dense);
  EXPECT_EQ(packed.bytes(), 10 * 4 + 4);
  EXPECT_EQ(packed.bytes(4), 5 + 4);
}

TEST(NmTest, MaskKeepsTheLargestOfEachGroup) {
  for (const NmPattern& p : kPatterns)
    for (const int64_t k : {1, 3, 4, 17, 64, 257}) {
      const int64_t rows = 3;
      auto scores = random_normal(rows * k, static_cast<uint64_t>(k + p.m));
      for (auto& s : scores) s = std::round(4 * s) / 4;  // ties
      const auto mask = magnitude_mask(p, rows, k, scores);
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t start = 0; start < k; start += p.m) {
          const int64_t length = std::min<int64_t>(p.m, k - start);
          for (int64_t i = 0; i < length; ++i) {
            // An element is kept exactly when fewer than n of its group come before it by size, then by place.
            const auto size = [&](int64_t j) { return std::fabs(scores[static_cast<size_t>(r * k + start + j)]); };
            int before = 0;
            for (int64_t j = 0; j < length; ++j) before += size(j) > size(i) || (size(j) == size(i) && j < i) ? 1 : 0;
            ASSERT_EQ(mask[static_cast<size_t>(r * k + start + i)], before < p.n ? 1 : 0) << to_string(p);
          }
        }
    }
  std::vector<float> bad(8, 1.0f);
  bad[6] = std::nanf("");
  EXPECT_THAT(message_of<NumericError>([&] {
                magnitude_mask(NmPattern{2, 4}, 2, 4, bad);
              }),
              testing::HasSubstr("row 1, column 2"));
}

TEST(NmTest, RoundTripsExactly) {
  uint64_t seed = 1;
  for (const NmPattern& p : kPatterns)
    for (const int64_t k : {1, 2, 5, 16, 63, 64, 130, 577})
      for (const bool thin : {false, true}) {  // thin: most groups keep fewer than n
        const int64_t rows = 5;
        const auto dense = random_normal(rows * k, ++seed);
        auto mask = magnitude_mask(p, rows, k, dense);
        PhiloxStream stream(++seed);
        for (auto& kept : mask)
          if (thin && (stream() & 3u) != 0) kept = 0;
        auto want = dense;
        for (size_t i = 0; i < want.size(); ++i)
          if (mask[i] == 0) want[i] = -7;
        const auto packed = pack_nm<float>(p, rows, k, dense, mask, -7.0f);
        ASSERT_EQ(unpack_nm(packed, -7.0f), want) << to_string(p) << " k=" << k;
        ASSERT_EQ(static_cast<int64_t>(packed.values.size() * 4 + packed.metadata.size()), packed.bytes());
        const std::vector<uint8_t> codes(dense.size(), 200);
        const auto bytes = unpack_nm(pack_nm<uint8_t>(p, rows, k, codes, mask, 8), uint8_t{8});
        for (size_t i = 0; i < bytes.size(); ++i) ASSERT_EQ(bytes[i], mask[i] != 0 ? 200 : 8);
      }
}

TEST(NmTest, DenseBytesAndBits) {
  EXPECT_EQ((NmPattern{2, 4}.bytes(1, 64, 16)), 32 * 2 + 8);  // 9/16 of the dense matrix
  EXPECT_EQ((NmPattern{2, 4}.bytes(64, 64, 8)), 64 * (32 + 8));
  EXPECT_EQ((NmPattern{1, 1}.bytes(1, 64, 8)), 64);  // dense: no metadata
  EXPECT_EQ((NmPattern{2, 4}.metadata_row_bytes(65)), 10);
  EXPECT_EQ(parse_nm_pattern("2:4"), (NmPattern{2, 4}));
  EXPECT_EQ(to_string(parse_nm_pattern("16:32")), "16:32");
  for (const char* bad : {"", "2", "2:", ":4", "4:2", "2:4:8", "2:4x", "0:4", "2:999", "-1:4"})
    EXPECT_THROW(parse_nm_pattern(bad), InvalidArgument) << bad;
}

TEST(NmTest, FullGroupsAreRefused) {
  const std::vector<float> dense(8, 1.0f);
  const std::vector<uint8_t> mask = {1, 1, 0, 0, 1, 1, 0, 1};
  EXPECT_THAT(message_of<InvalidArgument>([&] {
                pack_nm<float>({2, 4}, 1, 8, dense, mask);
              }),
              testing::HasSubstr("keeps 3 elements of group 1 of row 0; at most 2 fit"));
  EXPECT_THROW(pack_nm<float>({2, 4}, 2, 8, dense, mask), InvalidArgument);
}

// Every bit of the metadata of a 2:4 and of a 2:5 matrix is flipped: the result is another valid matrix (the flip moved
// a position to a free place that rises) or an error that names row and group, never a silent misread.
TEST(NmTest, FlippedBitsAreFoundOrMovePositions) {
  for (const NmPattern& p : {NmPattern{2, 4}, NmPattern{2, 5}}) {
    const int64_t rows = 2, k = 18;
    const auto dense = random_normal(rows * k, 5);
    const auto packed = pack_nm<float>(p, rows, k, dense, magnitude_mask(p, rows, k, dense));
    int refused = 0;
    for (size_t bit = 0; bit < 8 * packed.metadata.size(); ++bit) {
      auto damaged = packed;
      damaged.metadata[bit / 8] = static_cast<uint8_t>(damaged.metadata[bit / 8] ^ 1u << bit % 8);
      try {
        EXPECT_NE(unpack_nm(damaged), unpack_nm(packed)) << "bit " << bit;
      } catch (const InvalidArgument& error) {
        ++refused;
        EXPECT_THAT(error.what(), testing::HasSubstr("row " + std::to_string(bit / (8 * packed.metadata.size() / 2))));
      }
    }
    EXPECT_GT(refused, 10) << to_string(p);
  }
}

TEST(NmTest, DamageIsNamed) {
  const int64_t k = 10;
  const auto dense = random_normal(k, 6);
  const auto packed = pack_nm<float>({2, 4}, 1, k, dense, magnitude_mask(NmPattern{2, 4}, 1, k, dense));
  const auto message = [&](auto&& spoil) {
    auto damaged = packed;
    spoil(damaged);
    return message_of<InvalidArgument>([&] { unpack_nm(damaged); });
  };
  EXPECT_THAT(message([](auto& m) { m.metadata[0] = static_cast<uint8_t>((m.metadata[0] & 0x0F) | 0x50); }),
              testing::AllOf(testing::HasSubstr("row 0, group 1"), testing::HasSubstr("position 1 follows 1")));
  EXPECT_THAT(message([](auto& m) { m.metadata[1] = static_cast<uint8_t>((m.metadata[1] & 0xF0) | 0x0E); }),
              testing::HasSubstr("a value stands past column 9"));
  EXPECT_THAT(message([](auto& m) { m.metadata[1] |= 0x80; }), testing::HasSubstr("padding bit 15 is set"));
  EXPECT_THAT(message([](auto& m) { m.values.pop_back(); }), testing::HasSubstr("values has 5 entries, not 6"));
  EXPECT_THAT(message([](auto& m) { m.metadata.resize(1); }), testing::HasSubstr("metadata has 1 entries, not 2"));
  const auto five = pack_nm<float>({2, 5}, 1, k, dense, magnitude_mask(NmPattern{2, 5}, 1, k, dense));
  auto damaged = five;
  damaged.metadata[0] = 0x38 | (damaged.metadata[0] & 0xC0);  // positions 0 and 7
  EXPECT_THAT(message_of<InvalidArgument>([&] { unpack_nm(damaged); }),
              testing::HasSubstr("position 7 is not below 5"));
}

}  // namespace
}  // namespace halftone
