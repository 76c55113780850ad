// See arena.h.
#include "base/arena.h"

#include <algorithm>
#include <new>

#include "base/huge_pages.h"

namespace halftone {
namespace {

constexpr size_t kAlignment = 64;  // a cache line, and a full AVX-512 register
constexpr size_t kLeastBlock = size_t{1} << 20;

/// Large blocks begin at a large page, so that they consist of such.
std::align_val_t alignment_of(size_t bytes) { return std::align_val_t{bytes < kHugePage ? kAlignment : kHugePage}; }

}  // namespace

Arena::~Arena() {
  for (const Block& block : blocks_) ::operator delete(block.memory, alignment_of(block.bytes));
}

size_t Arena::capacity_bytes() const {
  size_t bytes = 0;
  for (const Block& block : blocks_) bytes += block.bytes;
  return bytes;
}

void* Arena::take_bytes(size_t bytes) {
  bytes = std::max((bytes + kAlignment - 1) / kAlignment * kAlignment, kAlignment);
  while (block_ < blocks_.size() && used_ + bytes > blocks_[block_].bytes) ++block_, used_ = 0;
  if (block_ == blocks_.size()) {
    const size_t size = std::max({bytes, kLeastBlock, blocks_.empty() ? 0 : 2 * blocks_.back().bytes});
    blocks_.push_back({static_cast<std::byte*>(::operator new(size, alignment_of(size))), size});
    advise_huge_pages(blocks_.back().memory, size);
    used_ = 0;
  }
  void* memory = blocks_[block_].memory + used_;
  used_ += bytes;
  return memory;
}

}  // namespace halftone
