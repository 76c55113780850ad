// How fast memory is read: the ceiling of decoding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/exec_context.h"

namespace halftone::engine {

class ReadBandwidth {
 public:
  /// Reads of `bytes` bytes, the same ones every time: of main memory when no cache holds as many.
  explicit ReadBandwidth(size_t bytes);
  /// GB/s (1e9), all threads of `exec`; the best of a few passes, with and without asking for lines ahead of their use.
  double measure(ExecContext& exec) const;

 private:
  int64_t words_;
  std::shared_ptr<std::byte> memory_;  ///< on large pages, as weights are
};

}  // namespace halftone::engine
