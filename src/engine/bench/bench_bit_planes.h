// The bit-plane GEMM for a few pairs of widths; a part of bench_kernels.
#pragma once

#include <string>
#include <vector>

#include "engine/bench/bench.h"

namespace halftone::engine {

/// Products of random codes, 1536 x 576, of one token, 8 and 128, appended to `timings`.
void bench_bit_planes(ExecContext& exec, int rounds, const std::string& filter, std::vector<KernelTiming>& timings);

}  // namespace halftone::engine
