// Drawing the next token from logits. The filters come in the order top-k, top-p, min-p and see the untempered
// probabilities; the temperature acts on what they leave (min-p: Nguyen et al., arXiv:2407.01082; top-p: Holtzman et
// al., arXiv:1904.09751). Equal logits are ordered by token id, so a result never depends on a sorting algorithm.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/philox.h"

namespace halftone::engine {

struct SamplingOptions {
  double temperature = 0.8;  ///< 0 takes the most likely token, exactly
  int64_t top_k = 40;        ///< 0 keeps all
  double top_p = 0.95;       ///< 1 keeps all
  double min_p = 0.05;       ///< 0 keeps all
  uint64_t seed = 0;

  /// Throws InvalidArgument naming the field, its value and the range.
  void validate() const;
};

/// Index of the largest value, the first of equal ones; NaN is never it. `logits` must not be empty.
int32_t first_maximum(std::span<const float> logits);

class Sampler {
 public:
  explicit Sampler(const SamplingOptions& options);

  /// The next token. Each call with temperature > 0 takes two words of the random stream. Throws NumericError when no
  /// logit is a finite number.
  int32_t sample(std::span<const float> logits);

  /// A token that the filters left, and its probability after the temperature.
  struct Candidate {
    int32_t token;
    double probability;
  };
  /// The distribution that sample() draws from, most likely first. Temperature 0: the maximum alone.
  const std::vector<Candidate>& distribution(std::span<const float> logits);

 private:
  void collect(std::span<const float> logits);
  void filter();

  SamplingOptions options_;
  PhiloxStream random_;
  struct Scored {
    float logit;
    int32_t token;
  };
  std::vector<Scored> scored_;  // kept between calls: a vocabulary is large
  std::vector<Candidate> kept_;
};

}  // namespace halftone::engine
