// Memory on large pages that tensors and caches share.
#include "base/huge_pages.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace halftone {
namespace {

bool all_zero(const std::shared_ptr<std::byte>& memory, size_t bytes) {
  return std::all_of(memory.get(), memory.get() + bytes, [](std::byte b) { return b == std::byte{0}; });
}

TEST(SharedHugePages, PiecesAreZeroAlignedAndDisjoint) {
  std::vector<std::pair<std::shared_ptr<std::byte>, size_t>> pieces;
  for (const size_t bytes : {size_t{1}, size_t{64}, size_t{65}, kHugePage - 1, 9 * kHugePage, size_t{0}, 20 * kHugePage,
                             7 * kHugePage + 3, 8 * kHugePage}) {
    auto memory = shared_huge_pages(bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(memory.get()) % 64, 0u);
    EXPECT_TRUE(all_zero(memory, bytes)) << bytes;
    pieces.emplace_back(std::move(memory), bytes);
    std::fill_n(pieces.back().first.get(), bytes, static_cast<std::byte>(pieces.size()));
  }
  for (size_t i = 0; i < pieces.size(); ++i) {
    const auto& [memory, bytes] = pieces[i];
    const auto own = [&](std::byte b) { return b == static_cast<std::byte>(i + 1); };
    EXPECT_TRUE(std::all_of(memory.get(), memory.get() + bytes, own)) << "somebody else wrote to piece " << i;
  }
}

TEST(SharedHugePages, SmallPiecesLieTogetherAndOutliveEachOther) {
  auto first = shared_huge_pages(100);
  const auto second = shared_huge_pages(100);
  EXPECT_EQ(second.get(), first.get() + 128);
  std::fill_n(second.get(), 100, std::byte{7});
  first.reset();
  EXPECT_EQ(second.get()[99], std::byte{7});
}

TEST(SharedHugePages, WhatIsTakenAgainIsZeroAgain) {
  for (int round = 0; round < 3; ++round) {
    const auto memory = shared_huge_pages(5000);
    EXPECT_TRUE(all_zero(memory, 5000)) << "round " << round;
    std::fill_n(memory.get(), 5000, std::byte{9});
  }
}

}  // namespace
}  // namespace halftone
