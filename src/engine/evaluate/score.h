// Log-likelihoods and divergences of one window, for a reference and any number of other models.
#pragma once

#include <vector>

#include "engine/evaluate/bootstrap.h"
#include "engine/evaluate/runner.h"

namespace halftone::engine {

/// Values of the scored tokens of one model, in text order.
struct TokenScores {
  std::vector<double> nll;          ///< nats
  std::vector<double> kl;           ///< KL(reference || this), nats; empty for the reference itself
  int64_t agreements = 0;           ///< tokens whose first maximum is the reference's
  std::vector<int64_t> window_end;  ///< scored tokens up to the end of each window
};

/// Appends the scores of `window` to scores[i] of runners[i]; runners[0] is the reference.
/// Throws NumericError naming the model when a logarithm of a probability is not finite.
void score_window(ExecContext& exec, std::vector<WindowRunner>& runners, std::span<const int32_t> window,
                  std::vector<TokenScores>& scores);

/// Sums of `values` over the windows that `window_end` delimits; over single tokens when there is one window.
std::vector<WeightedSum> bootstrap_units(const std::vector<double>& values, const std::vector<int64_t>& window_end);

}  // namespace halftone::engine
