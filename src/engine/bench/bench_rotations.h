// The rotation kernels on rows of the widths that models have; a part of bench_kernels.
#pragma once

#include <string>
#include <vector>

#include "engine/bench/bench.h"

namespace halftone::engine {

/// Hadamard transforms and Kronecker pairs of one row and of 512, appended to `timings`.
void bench_rotations(ExecContext& exec, int rounds, const std::string& filter, std::vector<KernelTiming>& timings);

}  // namespace halftone::engine
