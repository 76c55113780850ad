// The counter behind AllocationCount: operator new of this whole test program adds up what it is asked for.
#include <cstdlib>
#include <new>

#include "hostile.h"

namespace {
thread_local uint64_t allocated_bytes = 0;
}

// When the compiler inlines the pair below it sees malloc's memory deleted and takes it for a mistake.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

// All forms that libraries call: sanitizers have their own, and a pair must come from one side.
void* operator new(size_t size, const std::nothrow_t&) noexcept {
  allocated_bytes += size;
  return std::malloc(size == 0 ? 1 : size);
}
void* operator new(size_t size) {
  if (void* memory = operator new(size, std::nothrow)) return memory;
  throw std::bad_alloc();
}
void* operator new[](size_t size) { return operator new(size); }
void* operator new[](size_t size, const std::nothrow_t&) noexcept { return operator new(size, std::nothrow); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, const std::nothrow_t&) noexcept { std::free(memory); }

namespace halftone::test {

AllocationCount::AllocationCount() : start_(allocated_bytes) {}
uint64_t AllocationCount::bytes() const { return allocated_bytes - start_; }

TEST(AllocationCount, SeesVectorsStringsAndMaps) {
  const AllocationCount count;
  std::vector<char> vector(1000);
  EXPECT_GE(count.bytes(), 1000u);
  const std::string text(5000, 'x');
  EXPECT_GE(count.bytes(), 6000u);
  const auto set = std::set<int>{1, 2, 3};
  EXPECT_GE(count.bytes(), 6000u + 3 * 32u);
  vector[999] = text[4999];
  EXPECT_EQ(vector[999], 'x');
}

}  // namespace halftone::test
