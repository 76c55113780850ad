// Ordered tables of kernels. A problem is a printable plain struct; the first entry that supports it wins; the last
// entry of every table is the double-precision reference, which supports everything. Tests and benches walk the same
// table, so no kernel goes untested.
#pragma once

#include <span>
#include <string>

#include "base/error.h"
#include "base/exec_context.h"

namespace halftone::kernels {

/// Answer of an entry to "can you run this problem?": empty means yes, otherwise the reason why not.
using Rejection = std::string;

template <class Problem, class Args>
struct KernelEntry {
  const char* name;                               ///< "avx512_f32", "reference"
  Isa needs;                                      ///< lowest ISA level it runs on
  Rejection (*supports)(const Problem& problem);  ///< shape and format rules, not the ISA
  void (*run)(ExecContext& context, const Problem& problem, const Args& args);
};

template <class Problem, class Args>
using KernelTable = std::span<const KernelEntry<Problem, Args>>;

/// Why `entry` does not serve `problem` at `isa`; empty when it does.
template <class Problem, class Args>
Rejection rejection(const KernelEntry<Problem, Args>& entry, const Problem& problem, Isa isa) {
  if (entry.needs > isa) return std::string("needs ") + std::string(to_string(entry.needs));
  return entry.supports(problem);
}

/// The first entry of `table` that serves `problem` at `isa`; throws Unsupported with each entry's reason when none
/// does (which the reference at the end rules out unless the problem itself is malformed).
template <class Problem, class Args>
const KernelEntry<Problem, Args>& select(KernelTable<Problem, Args> table, const Problem& problem, Isa isa) {
  std::string reasons;
  for (const auto& entry : table) {
    const Rejection why = rejection(entry, problem, isa);
    if (why.empty()) return entry;
    reasons += std::string("\n  ") + entry.name + ": " + why;
  }
  throw Unsupported("no kernel for {}:{}", to_string(problem), reasons);
}

}  // namespace halftone::kernels
