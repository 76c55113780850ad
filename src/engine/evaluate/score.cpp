// Scoring in chunks of rows; see score.h.
#include "engine/evaluate/score.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "kernels/api/elementwise.h"

namespace halftone::engine {
namespace {

constexpr int64_t kChunkBytes = 64 << 20;  // logits of one model that exist at a time
constexpr int64_t kMinChunkRows = 16, kMaxChunkRows = 128;

struct RowStatistics {
  std::vector<int32_t> argmax;
  std::vector<double> log_sum_exp, kl;
};

RowStatistics row_statistics(ExecContext& exec, const at::Tensor& logits, const at::Tensor* reference) {
  const int64_t rows = logits.size(0);
  RowStatistics s{std::vector<int32_t>(rows), std::vector<double>(rows),
                  std::vector<double>(reference != nullptr ? rows : 0)};
  kernels::softmax_stats(exec, {.rows = rows, .k = logits.size(1)},
                         {.x = logits.const_data_ptr<float>(),
                          .reference = reference != nullptr ? reference->const_data_ptr<float>() : nullptr,
                          .argmax = s.argmax.data(),
                          .log_sum_exp = s.log_sum_exp.data(),
                          .kl = reference != nullptr ? s.kl.data() : nullptr});
  return s;
}

/// `targets[i]` is the token that row i predicts.
void append_rows(const models::LanguageModel& model, const at::Tensor& logits, const RowStatistics& rows,
                 std::span<const int32_t> targets, TokenScores& scores) {
  const float* values = logits.const_data_ptr<float>();
  for (size_t i = 0; i < targets.size(); ++i) {
    const double logit = values[static_cast<int64_t>(i) * logits.size(1) + targets[i]];
    const double nll = rows.log_sum_exp[i] - logit;
    if (!std::isfinite(nll) || (!rows.kl.empty() && !std::isfinite(rows.kl[i])))
      throw NumericError(
          "'{}' gives token {} the log-likelihood {}: its weights or activations left the range of its "
          "formats; compress with more bits or another method",
          model.name, scores.nll.size(), -nll);
    scores.nll.push_back(nll);
  }
  scores.kl.insert(scores.kl.end(), rows.kl.begin(), rows.kl.end());
}

}  // namespace

void score_window(ExecContext& exec, std::vector<WindowRunner>& runners, std::span<const int32_t> window,
                  std::vector<TokenScores>& scores) {
  for (auto& runner : runners) runner.run_blocks(window);
  const int64_t scored = static_cast<int64_t>(window.size()) - 1;
  const int64_t row = runners[0].model().decoder.config().vocabulary * static_cast<int64_t>(sizeof(float));
  const int64_t chunk = std::clamp(kChunkBytes / row, kMinChunkRows, kMaxChunkRows);
  for (int64_t begin = 0; begin < scored; begin += chunk) {
    const int64_t end = std::min(begin + chunk, scored);
    const auto targets = window.subspan(begin + 1, end - begin);
    const at::Tensor reference = runners[0].logits(begin, end);
    const RowStatistics reference_rows = row_statistics(exec, reference, nullptr);
    append_rows(runners[0].model(), reference, reference_rows, targets, scores[0]);
    for (size_t i = 1; i < runners.size(); ++i) {
      const at::Tensor logits = runners[i].logits(begin, end);
      const RowStatistics rows = row_statistics(exec, logits, &reference);
      append_rows(runners[i].model(), logits, rows, targets, scores[i]);
      for (size_t r = 0; r < targets.size(); ++r) scores[i].agreements += rows.argmax[r] == reference_rows.argmax[r];
    }
  }
  for (auto& score : scores) score.window_end.push_back(static_cast<int64_t>(score.nll.size()));
}

std::vector<WeightedSum> bootstrap_units(const std::vector<double>& values, const std::vector<int64_t>& window_end) {
  std::vector<WeightedSum> units;
  if (window_end.size() < 2) {
    for (const double value : values) units.push_back({value, 1});
    return units;
  }
  int64_t begin = 0;
  for (const int64_t end : window_end) {
    WeightedSum unit;
    for (int64_t i = begin; i < end; ++i) unit.sum += values[i];
    unit.count = end - begin;
    units.push_back(unit);
    begin = end;
  }
  return units;
}

}  // namespace halftone::engine
