// What the kernel tests share: walking a table over instruction sets and threads, random data, rounding units.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "base/philox.h"
#include "kernels/api/table.h"

namespace halftone::kernels {

inline constexpr double kUnit = 0x1p-24;   ///< relative error of one f32 rounding
inline constexpr double kTiny = 0x1p-126;  ///< below it f32 results may lose all digits
inline constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();

/// n standard normal values times `scale`, from a seed.
inline std::vector<float> random_normal(int64_t n, uint64_t seed, float scale = 1) {
  PhiloxStream stream(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(n));
  for (float& v : values) v = normal(stream) * scale;
  return values;
}

/// Calls body(context, entry) for every entry that serves `problem` on this CPU, with one thread and with three.
/// Returns how many entries ran.
template <class Problem, class Args, class Body>
int for_each_entry(KernelTable<Problem, Args> table, const Problem& problem, Body&& body) {
  static OwnedExecContext one(1), three(3);
  int ran = 0;
  for (const auto& entry : table) {
    if (!rejection(entry, problem, detected_isa()).empty()) continue;
    ++ran;
    for (OwnedExecContext* owner : {&one, &three}) {
      SCOPED_TRACE(std::string(entry.name) + " " + to_string(problem) +
                   " threads=" + std::to_string(owner->get().pool.threads()));
      body(owner->get(), entry);
    }
  }
  return ran;
}

}  // namespace halftone::kernels
