// The step arena: alignment, disjoint results, reuse without growth.
#include "base/arena.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace halftone {
namespace {

TEST(ArenaTest, ResultsAreAlignedAndDisjoint) {
  Arena arena;
  char* before = nullptr;
  for (const int64_t bytes : {1, 63, 64, 65, 5000, 3 << 20, 10, 0}) {
    auto* memory = arena.take<char>(bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(memory) % 64, 0u);
    for (int64_t i = 0; i < bytes; ++i) memory[i] = 7;  // a sanitizer sees what does not belong to us
    EXPECT_NE(memory, before);
    before = memory;
  }
}

TEST(ArenaTest, FramesGiveBackAndNest) {
  Arena arena;
  int* first = nullptr;
  {
    const Arena::Frame outer(arena);
    first = arena.take<int>(100);
    int* inner_memory = nullptr;
    {
      const Arena::Frame inner(arena);
      inner_memory = arena.take<int>(1 << 20);
    }
    EXPECT_EQ(arena.take<int>(1 << 20), inner_memory);
  }
  const size_t capacity = arena.capacity_bytes();
  for (int step = 0; step < 5; ++step) {
    const Arena::Frame frame(arena);
    EXPECT_EQ(arena.take<int>(100), first);
    arena.take<int>(1 << 20);
  }
  EXPECT_EQ(arena.capacity_bytes(), capacity);
}

}  // namespace
}  // namespace halftone
