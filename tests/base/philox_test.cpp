// Philox4x32-10 against the known answers published with Random123, and the stream built on it.
#include "base/philox.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace halftone {
namespace {

using Words = std::array<uint32_t, 4>;

TEST(Philox, PublishedKnownAnswers) {
  static_assert(philox4x32({0, 0, 0, 0}, {0, 0})[0] == 0x6627e8d5u, "usable in constant expressions");
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u}));
  EXPECT_EQ(philox4x32({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}), (Words{0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu}));
  EXPECT_EQ(philox4x32({0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}, {0xa4093822u, 0x299f31d0u}),
            (Words{0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u}));
}

TEST(Philox, StreamWalksTheCounter) {
  const uint64_t seed = 0x0123456789abcdefu, number = 0xfedcba9876543210u;
  PhiloxStream stream(seed, number);
  for (uint32_t block = 0; block < 3; ++block)
    for (const uint32_t word : philox4x32({block, 0, 0x76543210u, 0xfedcba98u}, {0x89abcdefu, 0x01234567u}))
      EXPECT_EQ(stream(), word);
}

TEST(Philox, SeedsAndStreamsDiffer) {
  std::set<uint32_t> first;
  for (uint64_t seed = 0; seed < 50; ++seed)
    for (uint64_t number = 0; number < 50; ++number) first.insert(PhiloxStream(seed, number)());
  EXPECT_GE(first.size(), 2499u);  // one collision among 2500 draws of 2^32 has odds of 7e-4
}

// 2^16 draws: the mean of a uniform stays within 5 standard errors, 5 / sqrt(12 n).
TEST(Philox, UniformIsInRangeAndCentred) {
  PhiloxStream stream(7);
  double sum = 0;
  constexpr int kDraws = 1 << 16;
  for (int i = 0; i < kDraws; ++i) {
    const float x = stream.uniform();
    ASSERT_GE(x, 0.0f);
    ASSERT_LT(x, 1.0f);
    sum += x;
  }
  EXPECT_NEAR(sum / kDraws, 0.5, 5 / std::sqrt(12.0 * kDraws));
}

}  // namespace
}  // namespace halftone
