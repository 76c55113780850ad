// Codebooks found in data: k-means by Lloyd's algorithm, the same table for every number of threads.
//
// Vectors begin at entries drawn as k-means++ draws them (Arthur and Vassilvitskii, SODA 2007); an entry that no vector
// is nearest to moves to the vector farthest from its own. Single numbers begin at the means of equally many distinct
// values, and need no draws: on a line every step is exact by sorting once and adding prefixes.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "numerics/formats/rounding.h"

namespace halftone {

struct KmeansOptions {
  int64_t entries = 16;
  int dimension = 1;
  int iterations = 100;      ///< at most; it ends when no vector changes its entry
  double least_gain = 1e-4;  ///< or when a step lowers the squared error by a smaller part
  /// Vectors that the table is found from, drawn evenly, when there are more: this many an entry, and at least 16384.
  /// Of single numbers, which cost less, 2^20.
  int64_t samples_per_entry = 128;
  RandomKey key;  ///< of every draw
};

/// A table [entries, dimension] with a small sum of squared distances to the nearest entry; single numbers ascend.
///   values  [vectors, dimension], finite
/// Throws InvalidArgument when there are fewer vectors than entries, or their numbers do not divide into vectors.
std::vector<float> find_codebook(ThreadPool& pool, std::span<const float> values, const KmeansOptions& options);

}  // namespace halftone
