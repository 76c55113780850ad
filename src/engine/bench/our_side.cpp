// See our_side.h.
#include "engine/bench/our_side.h"

#include <algorithm>

namespace halftone::engine {

double OurSide::measure(ExecContext& exec, const LlmTask& task) {
  const auto prompt = random_tokens(std::max<int64_t>(task.context, 1));
  if (task.kind == TaskKind::Prefill) return prefill_rate(exec, decoder_, task.kv, prompt);
  if (task.sequences > 1) return decode_batch_rate(exec, decoder_, task.kv, prompt, task.sequences, task.tokens);
  auto run = runs_.find(task.name);
  if (run == runs_.end()) run = runs_.try_emplace(task.name, exec, decoder_, task.kv, prompt, task.tokens).first;
  return run->second.rate(exec);
}

std::vector<int32_t> OurSide::random_tokens(int64_t count) {
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  for (auto& id : tokens)
    id = static_cast<int32_t>((static_cast<uint64_t>(random_()) * decoder_.config().vocabulary) >> 32);
  return tokens;
}

}  // namespace halftone::engine
