// Memory in large pages where the system gives them on request: fewer page faults when it is first touched, fewer
// misses of the translation cache afterwards.
#pragma once

#include <cstddef>

namespace halftone {

inline constexpr size_t kHugePage = size_t{1} << 21;

/// Asks for large pages in the part of [memory, memory + bytes) that they can cover, before it is first touched. A
/// hint: where the system does not take it nothing changes.
void advise_huge_pages(void* memory, size_t bytes);

}  // namespace halftone
