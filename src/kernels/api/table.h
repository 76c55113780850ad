// Ordered tables of kernels. A problem is a printable plain struct; the first entry that supports it wins; the last
// entry of every table is the double-precision reference, which supports everything. Tests and benches walk the same
// table, so no kernel goes untested.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/exec_context.h"

namespace halftone::kernels {

/// Answer of an entry to "can you run this problem?": empty means yes, otherwise the reason why not. Reasons that are
/// literals are not copied: every call of a kernel asks the entries that do not serve it, too.
class Rejection {
 public:
  Rejection() = default;
  Rejection(const char* literal) : literal_(literal) {}  ///< which lives for ever
  Rejection(std::string reason) : made_(std::move(reason)) {}

  bool empty() const { return literal_.empty() && made_.empty(); }
  std::string_view text() const { return literal_.empty() ? std::string_view(made_) : literal_; }

 private:
  std::string_view literal_;
  std::string made_;
};

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
  if (entry.needs > isa) return fmt::format("needs {}", to_string(entry.needs));
  return entry.supports(problem);
}

/// The first entry of `table` that serves `problem` at `isa`; throws Unsupported with each entry's reason when none
/// does (which the reference at the end rules out unless the problem itself is malformed).
template <class Problem, class Args>
const KernelEntry<Problem, Args>& select(KernelTable<Problem, Args> table, const Problem& problem, Isa isa) {
  for (const auto& entry : table)
    if (entry.needs <= isa && entry.supports(problem).empty()) return entry;
  std::string reasons;
  for (const auto& entry : table)
    reasons += fmt::format("\n  {}: {}", entry.name, rejection(entry, problem, isa).text());
  throw Unsupported("no kernel for {}:{}", to_string(problem), reasons);
}

/// Runs what select() finds; `operation` is its name in a trace.
template <class Problem, class Args>
void run_selected(const char* operation, KernelTable<Problem, Args> table, ExecContext& context, const Problem& problem,
                  const Args& args) {
  const auto& entry = select(table, problem, context.isa);
  const Traced traced(context.trace, operation, entry.name);
  entry.run(context, problem, args);
}

}  // namespace halftone::kernels

template <>
struct fmt::formatter<halftone::kernels::Rejection> : fmt::formatter<std::string_view> {
  auto format(const halftone::kernels::Rejection& why, format_context& context) const {
    return formatter<std::string_view>::format(why.text(), context);
  }
};
