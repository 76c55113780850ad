// Standard errors by the bootstrap (Efron, Annals of Statistics 7, 1979): windows are drawn with replacement, because
// tokens of one window are not independent.
#pragma once

#include <cstdint>
#include <span>

namespace halftone::engine {

/// Sum and number of the values of one window (or of one token).
struct WeightedSum {
  double sum = 0;
  int64_t count = 0;
};

inline constexpr int kBootstrapResamples = 1000;

/// Standard deviation, over kBootstrapResamples resamples of `units`, of sum/count (`exponential`: of exp(sum/count)).
/// 0 for fewer than two units. A pure function of its arguments.
double bootstrap_error(std::span<const WeightedSum> units, bool exponential, uint64_t seed);

}  // namespace halftone::engine
