// Gated activations of a vector: act(gate) * up, where act(g) = g / (1 + exp(-e(g))).
#pragma once

#include "kernels/cpu/simd-inl.h"

namespace halftone::kernels::HALFTONE_ISA_NAMESPACE {

struct Silu {
  static F exponent(F g) { return sub(zero(), g); }
};
struct GeluTanh {  // gelu_tanh(g) = g / (1 + exp(-2 z)), z = sqrt(2/pi) (g + 0.044715 g^3)
  static F exponent(F g) {
    constexpr float kTwoRoot = 1.5957691216057308f;
    return mul(sub(zero(), g), fma(mul(g, g), set(0.044715f * kTwoRoot), set(kTwoRoot)));
  }
};

/// 0 where act is below |gate| 2^-125, and 1 + exp(e) from e = -80 on: gradual underflow, of exp or of its reciprocal,
/// stops an Intel core for 100 cycles and more, and large gates of either sign would meet it in every vector.
template <class Activation>
static inline F gated(F gate, F up) {
  constexpr float kLargest = 87, kSmallest = -80;
  const F e = Activation::exponent(gate);
  const F bounded = max(set(kSmallest), min(set(kLargest), e));  // operand order keeps NaN
  const F value = mul(mul(gate, reciprocal(add(set(1.0f), exp(bounded)))), up);
  return select(greater(e, set(kLargest)), zero(), value);
}

}  // namespace halftone::kernels::HALFTONE_ISA_NAMESPACE
