// The growing scratch block of an ExecContext.
#include "base/exec_context.h"

#include <new>

namespace halftone {

namespace {
constexpr std::align_val_t kAlignment{64};  // a cache line, and a full AVX-512 register
}  // namespace

void Workspace::Free::operator()(void* memory) const { ::operator delete(memory, kAlignment); }

void* Workspace::reserve(size_t bytes) {
  if (bytes > capacity_ || !memory_) {
    const size_t rounded = (bytes + 63) / 64 * 64 + (bytes == 0 ? 64 : 0);
    memory_.reset();  // before allocating: the old contents are not kept, so the two need not coexist
    capacity_ = 0;
    memory_.reset(::operator new(rounded, kAlignment));
    capacity_ = rounded;
  }
  return memory_.get();
}

}  // namespace halftone
