// The evaluate flow, top to bottom: windows -> scores -> speed -> results; see evaluate.h.
#include "engine/evaluate/evaluate.h"

#include <cmath>
#include <numeric>

#include "base/progress.h"
#include "engine/bench/speed.h"
#include "engine/bench/statistics.h"
#include "engine/evaluate/score.h"
#include "engine/evaluate/windows.h"
#include "engine/inspect/inspect.h"
#include "engine/interrupted.h"

namespace halftone::engine {
namespace {

constexpr size_t kSpeedPrompt = 32;
constexpr int kSpeedRounds = 3;

std::vector<WindowRunner> make_runners(ExecContext& exec, const std::vector<const models::LanguageModel*>& models,
                                       const EvaluateRequest& request,
                                       const std::vector<std::vector<int32_t>>& windows) {
  size_t longest = 0;
  for (const auto& window : windows) longest = std::max(longest, window.size());
  std::vector<WindowRunner> runners;
  for (const auto* model : models)
    runners.emplace_back(exec, *model, resolve_kv_format(*model, request.kv_format), static_cast<int64_t>(longest));
  return runners;
}

void check_cancelled(const EvaluateRequest& request) {
  if (request.cancelled && request.cancelled()) throw Interrupted("evaluation was interrupted");
}

void warm_up(std::vector<WindowRunner>& runners, std::span<const int32_t> window) {
  for (auto& runner : runners) {
    runner.run_blocks(window.first(std::min(window.size(), kSpeedPrompt)));
    runner.logits(0, 1);
    runner.reset_clock();
  }
}

std::vector<TokenScores> score_windows(ExecContext& exec, std::vector<WindowRunner>& runners,
                                       const std::vector<std::vector<int32_t>>& windows,
                                       const EvaluateRequest& request) {
  std::vector<TokenScores> scores(runners.size());
  Progress progress(runners.size() == 1 ? "evaluate" : "compare", static_cast<int64_t>(windows.size()));
  warm_up(runners, windows[0]);
  for (size_t i = 0; i < windows.size(); ++i) {
    check_cancelled(request);
    score_window(exec, runners, windows[i], scores);
    const auto& nll = scores[0].nll;
    const double mean = std::accumulate(nll.begin(), nll.end(), 0.0) / static_cast<double>(nll.size());
    progress.update(static_cast<int64_t>(i) + 1, fmt::format("perplexity {:.3f}", std::exp(mean)));
  }
  return scores;
}

/// Median tokens/s of each model; zeros when it is not asked for.
std::vector<double> decode_speeds(ExecContext& exec, const std::vector<WindowRunner>& runners,
                                  std::span<const int32_t> window, const EvaluateRequest& request) {
  std::vector<double> speeds(runners.size());
  int64_t tokens = request.decode_tokens;
  std::vector<SpeedSubject> subjects;
  const auto prompt = window.first(std::min(window.size(), kSpeedPrompt));
  for (const auto& runner : runners) {
    const auto& decoder = runner.model().decoder;
    subjects.push_back({&decoder, runner.kv_format()});
    tokens = std::min(tokens, decoder.config().context_length - static_cast<int64_t>(prompt.size()));
  }
  if (tokens <= 0) return speeds;
  check_cancelled(request);
  const SpeedRounds rounds = time_decode(exec, subjects, prompt, tokens, kSpeedRounds);
  for (size_t i = 0; i < speeds.size(); ++i) speeds[i] = median(rounds[i]);
  return speeds;
}

Evaluation describe(const WindowRunner& runner) {
  const auto& model = runner.model();
  const auto& decoder = model.decoder;
  Evaluation e;
  e.name = model.name;
  e.architecture = decoder.config().architecture;
  e.source_kind = model.source_kind;
  e.provenance = provenance_text(model);
  e.storages = storage_shares(decoder);
  e.parameters = decoder.parameters();
  e.weight_bytes = decoder.weight_bytes();
  e.bits_per_weight = 8.0 * static_cast<double>(e.weight_bytes) / static_cast<double>(e.parameters);
  e.kv_format = to_string(runner.kv_format());
  e.kv_bytes_per_token = nn::kv_bytes_per_token(decoder.config().kv_shape(), runner.kv_format());
  return e;
}

double mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

Evaluation summarise(const WindowRunner& runner, const TokenScores& scores, double decode_speed, uint64_t seed) {
  Evaluation e = describe(runner);
  e.tokens = static_cast<int64_t>(scores.nll.size());
  e.perplexity = std::exp(mean(scores.nll));
  e.perplexity_error = bootstrap_error(bootstrap_units(scores.nll, scores.window_end), true, seed);
  e.prefill_tokens_per_second = runner.tokens_per_second();
  e.decode_tokens_per_second = decode_speed;
  int64_t begin = 0;
  for (const int64_t end : scores.window_end) {
    e.window_nll.push_back(mean({scores.nll.begin() + begin, scores.nll.begin() + end}));
    begin = end;
  }
  return e;
}

Distance distance_of(const TokenScores& scores, uint64_t seed) {
  return {.kl_divergence = mean(scores.kl),
          .kl_divergence_error = bootstrap_error(bootstrap_units(scores.kl, scores.window_end), false, seed),
          .top1_agreement = static_cast<double>(scores.agreements) / static_cast<double>(scores.kl.size())};
}

}  // namespace

Evaluation evaluate(ExecContext& exec, const models::LanguageModel& model, const EvaluateRequest& request) {
  return compare(exec, model, {}, request).reference;
}

Comparison compare(ExecContext& exec, const models::LanguageModel& reference,
                   const std::vector<const models::LanguageModel*>& others, const EvaluateRequest& request) {
  std::vector<const models::LanguageModel*> models = {&reference};
  for (const auto* other : others) {
    check_same_tokenizer(reference, *other);
    models.push_back(other);
  }
  const auto windows = make_windows(reference, request);
  std::vector<WindowRunner> runners = make_runners(exec, models, request, windows);
  const std::vector<TokenScores> scores = score_windows(exec, runners, windows, request);
  const std::vector<double> speeds = decode_speeds(exec, runners, windows[0], request);

  Comparison result;
  result.reference = summarise(runners[0], scores[0], speeds[0], request.seed);
  result.tokens = result.reference.tokens;
  for (size_t i = 1; i < models.size(); ++i)
    result.others.push_back(
        {summarise(runners[i], scores[i], speeds[i], request.seed), distance_of(scores[i], request.seed)});
  return result;
}

}  // namespace halftone::engine
