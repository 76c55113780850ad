// See huge_pages.h.
#include "base/huge_pages.h"

#include <sys/mman.h>

#include <cstdint>
#include <mutex>
#include <new>

namespace halftone {
namespace {

constexpr size_t kLine = 64;
constexpr size_t kBlock = 16 * kHugePage;

constexpr size_t rounded_up(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

/// Zeros that begin at a large page.
std::shared_ptr<std::byte> map_block(size_t bytes) {
  const size_t mapped = rounded_up(bytes, kHugePage) + kHugePage;
  void* const memory = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  auto* const begin = static_cast<std::byte*>(memory) + (-reinterpret_cast<uintptr_t>(memory) % kHugePage);
  advise_huge_pages(begin, mapped - kHugePage);
  return {begin, [memory, mapped](std::byte*) { munmap(memory, mapped); }};
}

/// The block that small pieces are cut from; pieces hold it, so that it goes when all of them have gone.
struct {
  std::mutex mutex;
  std::weak_ptr<std::byte> block;
  size_t used = 0;
} open;

}  // namespace

void advise_huge_pages(void* memory, size_t bytes) {
  const auto begin = (reinterpret_cast<uintptr_t>(memory) + kHugePage - 1) / kHugePage * kHugePage;
  const auto end = (reinterpret_cast<uintptr_t>(memory) + bytes) / kHugePage * kHugePage;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
}

std::shared_ptr<std::byte> shared_huge_pages(size_t bytes) {
  const size_t size = rounded_up(bytes, kLine);
  if (size > kBlock / 2) return map_block(size);
  const std::lock_guard lock(open.mutex);
  std::shared_ptr<std::byte> block = open.block.lock();
  if (block == nullptr || open.used + size > kBlock) open.block = block = map_block(kBlock), open.used = 0;
  std::byte* const piece = block.get() + open.used;
  open.used += size;
  return {block, piece};
}

}  // namespace halftone
