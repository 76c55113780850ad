// Memory in large pages where the system gives them on request: fewer page faults when it is first touched, fewer
// misses of the translation cache afterwards.
#pragma once

#include <cstddef>
#include <memory>

namespace halftone {

inline constexpr size_t kHugePage = size_t{1} << 21;

/// Asks for large pages in the part of [memory, memory + bytes) that they can cover, before it is first touched. A
/// hint: where the system does not take it nothing changes.
void advise_huge_pages(void* memory, size_t bytes);

/// `bytes` of zeros at a cache line of their own, for what lives as long as a model: weights, caches. Pieces smaller
/// than a large page lie together on large pages, in the order they were asked for; the memory is taken when it is
/// first touched, and goes back when nobody holds any piece of a block of 32 MB (or of one large piece). Throws
/// bad_alloc.
std::shared_ptr<std::byte> shared_huge_pages(size_t bytes);

}  // namespace halftone
