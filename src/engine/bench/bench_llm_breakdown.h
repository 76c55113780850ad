// What the operations of a task take, in the tasks that other programs are timed with.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/json_fwd.h"
#include "base/trace.h"

namespace halftone::engine {

struct BreakdownRequest {
  std::vector<std::string> tasks;  ///< names of llm_tasks() (peer.h); empty: all
  std::vector<int> threads = {1};
  int rounds = 7;
  uint64_t seed = 0;
};

/// The round of median speed, a step of a task: a token of every sequence, or the whole prompt.
struct TaskBreakdown {
  std::string task;
  int threads = 0;
  double tokens_per_second = 0;
  double step_seconds = 0;
  std::vector<Trace::Entry> operations;  ///< of a step, most time first; the rest is spent between kernels
  double rest_seconds() const;
};

/// Loads the model `path` and runs every task on every number of threads, pinned to cores of their own. Throws as
/// parse_llm_tasks and load_model, and InvalidArgument for more threads than CPUs.
std::vector<TaskBreakdown> bench_llm_breakdown(const std::filesystem::path& path, const BreakdownRequest& request);

/// {"task", "threads", "tokens_per_second", "step_ms", "rest_ms", "operations": [{"operation", "kernel", "calls",
/// "ms"}]}, all of one step.
Json to_json(const TaskBreakdown& breakdown);

}  // namespace halftone::engine
