// What the tables of the packed products share: the rules and the view of their weights.
#pragma once

#include "kernels/api/packed_gemm.h"
#include "kernels/cpu/packed_gemm/packed_task.h"
#include "numerics/reference/packed_gemm.h"

namespace halftone::kernels {

/// Why no kernel could serve `problem`; empty when its sizes, formats and scales go together.
Rejection malformed(const PackedGemmProblem& problem);

/// Throws InvalidArgument naming `name` where `pointer` is null.
void require_pointer(const void* pointer, const char* name, const PackedGemmProblem& problem);
/// The same for every array of the weights that the problem needs.
void require_weights(const PackedGemmProblem& problem, const PackedWeightView& weights);

/// Sizes and weights of a task; activations and outputs are left empty.
PackedTask weight_task(const PackedGemmProblem& problem, const PackedWeightView& weights);
reference::PackedWeights reference_weights(const PackedGemmProblem& problem, const PackedWeightView& weights);

}  // namespace halftone::kernels
