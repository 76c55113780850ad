// Forward passes with a clock; see runner.h.
#include "engine/evaluate/runner.h"

#include "engine/bench/statistics.h"

namespace halftone::engine {

ElementType resolve_kv_format(const models::LanguageModel& model, const std::string& requested) {
  return requested.empty() ? model.decoder.kv_format() : nn::parse_kv_format(requested);
}

void WindowRunner::run_blocks(std::span<const int32_t> window) {
  nn::StepContext step{exec_};
  const Stopwatch watch;
  cache_.truncate(0);
  hidden_ = model_.decoder.embed(exec_, window);
  for (int64_t block = 0; block < static_cast<int64_t>(model_.decoder.blocks().size()); ++block)
    hidden_ = model_.decoder.forward_block(step, block, hidden_, cache_);
  seconds_ += watch.seconds();
  tokens_ += static_cast<int64_t>(window.size());
}

at::Tensor WindowRunner::logits(int64_t begin, int64_t end) {
  nn::StepContext step{exec_};
  const Stopwatch watch;
  at::Tensor rows = model_.decoder.output_logits(step, hidden_.narrow(0, begin, end - begin));
  seconds_ += watch.seconds();
  return rows;
}

}  // namespace halftone::engine
