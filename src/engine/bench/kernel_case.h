// A kernel problem with its operands, as a benchmark needs it: verify every entry of the table against the last one on
// a small problem, then time it on the real one.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "engine/bench/bench.h"
#include "engine/bench/statistics.h"
#include "kernels/api/table.h"

namespace halftone::engine {

/// A problem, its operands in `owner`, and what running it must move and compute.
template <class Problem, class Args>
struct KernelCase {
  Problem problem;
  std::vector<Args> args;   ///< equal problems over different memory, taken in turn
  std::span<float> output;  ///< of args[0]
  double tolerance = 0;     ///< largest deviation of an output that rounding explains
  double bytes = 0, flops = 0;
  std::shared_ptr<void> owner;
  std::function<void()> reset = [] {};  ///< restores what running changes, for kernels that work in place
};

inline constexpr double kRoundSeconds = 0.02;    // a round repeats the call for at least this long
inline constexpr double kSlowCallSeconds = 1.0;  // a reference slower than this is verified, not timed

/// Largest deviation of `entry` from `reference`, as a part of the tolerance.
template <class Problem, class Args>
double deviation(ExecContext& exec, const kernels::KernelEntry<Problem, Args>& entry,
                 const kernels::KernelEntry<Problem, Args>& reference, const KernelCase<Problem, Args>& small) {
  const auto run = [&](const kernels::KernelEntry<Problem, Args>& kernel) {
    std::fill(small.output.begin(), small.output.end(), std::numeric_limits<float>::quiet_NaN());
    small.reset();
    kernel.run(exec, small.problem, small.args[0]);
    return std::vector<float>(small.output.begin(), small.output.end());
  };
  const auto wanted = run(reference), found = run(entry);
  double worst = 0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    const double difference = std::abs(static_cast<double>(found[i]) - wanted[i]);
    worst = std::isfinite(difference) ? std::max(worst, difference) : INFINITY;
  }
  return worst / small.tolerance;
}

/// Seconds of a call in each round.
template <class Problem, class Args>
std::vector<double> time_kernel(ExecContext& exec, const kernels::KernelEntry<Problem, Args>& entry,
                                const KernelCase<Problem, Args>& big, int rounds) {
  size_t next = 0;
  const auto call = [&] { entry.run(exec, big.problem, big.args[next++ % big.args.size()]); };
  const Stopwatch first;
  call();
  const double once = first.seconds();
  if (once > kSlowCallSeconds) return {once};
  const int calls = std::max(1, static_cast<int>(kRoundSeconds / std::max(once, 1e-7)));
  std::vector<double> seconds;
  for (int round = 0; round < rounds; ++round) {
    const Stopwatch watch;
    for (int i = 0; i < calls; ++i) call();
    seconds.push_back(watch.seconds() / calls);
  }
  return seconds;
}

/// What a filter is looked for in.
template <class Problem, class Args>
std::string label_of(const std::string& operation, const Problem& problem,
                     const kernels::KernelEntry<Problem, Args>& entry) {
  return operation + " " + to_string(problem) + " " + entry.name;
}

/// Whether bench_case would time an entry on `problem`: asked before large operands are made for nothing.
template <class Problem, class Args>
bool wanted(const ExecContext& exec, const std::string& operation, kernels::KernelTable<Problem, Args> table,
            const Problem& problem, const std::string& filter) {
  return std::any_of(table.begin(), table.end(), [&](const auto& entry) {
    return kernels::rejection(entry, problem, exec.isa).empty() &&
           label_of(operation, problem, entry).find(filter) != std::string::npos;
  });
}

/// Verifies and times every entry that serves `big`; appends to `timings`. Throws NumericError for a wrong result.
template <class Problem, class Args>
void bench_case(ExecContext& exec, const std::string& operation, kernels::KernelTable<Problem, Args> table,
                const KernelCase<Problem, Args>& small, const KernelCase<Problem, Args>& big, int rounds,
                const std::string& filter, std::vector<KernelTiming>& timings) {
  bool chosen = true;
  for (const auto& entry : table) {
    if (!kernels::rejection(entry, big.problem, exec.isa).empty()) continue;
    KernelTiming timing{
        .operation = operation, .problem = to_string(big.problem), .kernel = entry.name, .chosen = chosen};
    chosen = false;
    if (label_of(operation, big.problem, entry).find(filter) == std::string::npos) continue;
    if (kernels::rejection(entry, small.problem, exec.isa).empty()) {
      timing.error = deviation(exec, entry, table.back(), small);
      if (!(timing.error <= 1))
        throw NumericError("kernel {} deviates from the reference by {:.3g} times what rounding explains on {}",
                           entry.name, timing.error, to_string(small.problem));
    }
    const auto seconds = time_kernel(exec, entry, big, rounds);
    timing.seconds = median(seconds);
    timing.spread = relative_spread(seconds);
    timing.gigabytes_per_second = big.bytes / timing.seconds * 1e-9;
    timing.gigaflops = big.flops / timing.seconds * 1e-9;
    timings.push_back(std::move(timing));
  }
}

}  // namespace halftone::engine
