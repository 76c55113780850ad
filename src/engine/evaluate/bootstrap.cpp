// Resampling with Philox; see bootstrap.h.
#include "engine/evaluate/bootstrap.h"

#include <cmath>

#include "base/philox.h"

namespace halftone::engine {

double bootstrap_error(std::span<const WeightedSum> units, bool exponential, uint64_t seed) {
  if (units.size() < 2) return 0;
  double mean = 0, squares = 0;  // Welford's recurrence
  for (int resample = 0; resample < kBootstrapResamples; ++resample) {
    PhiloxStream draws(seed, static_cast<uint64_t>(resample));
    WeightedSum drawn;
    for (size_t i = 0; i < units.size(); ++i) {
      const WeightedSum& unit = units[(static_cast<uint64_t>(draws()) * units.size()) >> 32];
      drawn.sum += unit.sum;
      drawn.count += unit.count;
    }
    double value = drawn.sum / static_cast<double>(drawn.count);
    if (exponential) value = std::exp(value);
    const double delta = value - mean;
    mean += delta / (resample + 1);
    squares += delta * (value - mean);
  }
  return std::sqrt(squares / (kBootstrapResamples - 1));
}

}  // namespace halftone::engine
