// See bench_llm_breakdown.h.
#include "engine/bench/bench_llm_breakdown.h"

#include <algorithm>

#include "base/json.h"
#include "base/progress.h"
#include "engine/bench/affinity.h"
#include "engine/bench/our_side.h"
#include "engine/model.h"
#include "models/language/language_model.h"

namespace halftone::engine {
namespace {

/// One round: rate, and the operations of all its steps.
struct Round {
  double tokens_per_second;
  std::vector<Trace::Entry> operations;
};

TaskBreakdown time_task(OurSide& ours, const LlmTask& task, int threads, int rounds) {
  const PinnedCores cores(threads);
  OwnedExecContext exec(threads);
  exec.get().products = ProductPrecision::BFloat16;  // as generate and chat run
  ours.measure(exec.get(), task);                    // not counted: it touches the memory of new threads
  Trace trace;
  exec.get().trace = &trace;
  std::vector<Round> all;
  for (int round = 0; round < rounds; ++round) {
    const double rate = ours.measure(exec.get(), task);
    all.push_back({rate, trace.entries()});
  }
  std::sort(all.begin(), all.end(),
            [](const Round& a, const Round& b) { return a.tokens_per_second < b.tokens_per_second; });
  Round& median = all[all.size() / 2];
  const bool prefill = task.kind == TaskKind::Prefill;
  const int64_t steps = prefill ? 1 : task.tokens, tokens = prefill ? task.context : task.sequences;
  for (Trace::Entry& entry : median.operations) {
    entry.calls /= steps;
    entry.seconds /= static_cast<double>(steps);
  }
  return {.task = task.name,
          .threads = threads,
          .tokens_per_second = median.tokens_per_second,
          .step_seconds = static_cast<double>(tokens) / median.tokens_per_second,
          .operations = std::move(median.operations)};
}

}  // namespace

double TaskBreakdown::rest_seconds() const {
  double rest = step_seconds;
  for (const auto& entry : operations) rest -= entry.seconds;
  return rest;
}

std::vector<TaskBreakdown> bench_llm_breakdown(const std::filesystem::path& path, const BreakdownRequest& request) {
  const auto tasks = parse_llm_tasks(request.tasks);
  for (const int threads : request.threads)
    const PinnedCores probe(threads);  // too many are refused now, not after loading
  const ModelHandle model = load_model(path, {.run_only = true});
  OurSide ours(model->decoder, request.seed);
  Progress progress("bench llm", static_cast<int64_t>(request.threads.size() * tasks.size()));
  std::vector<TaskBreakdown> all;
  for (const int threads : request.threads)
    for (const auto& task : tasks) {
      all.push_back(time_task(ours, task, threads, request.rounds));
      progress.update(static_cast<int64_t>(all.size()), task.name);
    }
  return all;
}

Json to_json(const TaskBreakdown& b) {
  Json json = {{"task", b.task},
               {"threads", b.threads},
               {"tokens_per_second", b.tokens_per_second},
               {"step_ms", b.step_seconds * 1e3},
               {"rest_ms", b.rest_seconds() * 1e3},
               {"operations", Json::array()}};
  for (const auto& entry : b.operations)
    json["operations"].push_back({{"operation", entry.operation},
                                  {"kernel", entry.kernel},
                                  {"calls", entry.calls},
                                  {"ms", entry.seconds * 1e3}});
  return json;
}

}  // namespace halftone::engine
