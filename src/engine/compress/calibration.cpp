// Statistics by observing a block's forward pass; see calibration.h.
#include "engine/compress/calibration.h"

#include <ATen/ops/abs.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/zeros.h>

#include "base/error.h"

namespace halftone::engine {
namespace {

/// Collects the statistics of one block. q/k/v read one tensor, and gate/up another: sharing is by the tensor's memory.
class StatisticsObserver final : public nn::Observer {
 public:
  StatisticsObserver(ExecContext& exec, const CalibrationNeeds& needs) : exec_(exec), needs_(needs) {}

  /// Between sequences memory may be reused, so an equal address no longer means an equal tensor.
  void begin_sequence() { last_memory_ = nullptr; }

  void linear_input(const std::string& site, const at::Tensor& x) override {
    const void* memory = x.const_data_ptr();
    if (memory == last_memory_) {
      // The same tensor again: share the sums (tensors are handles), whatever was added for the first reader counts.
      statistics_.inputs[site] = statistics_.inputs[last_site_];
      return;
    }
    last_memory_ = memory;
    last_site_ = site;
    InputStatistics& input = statistics_.inputs[site];
    input.tokens += x.size(0);
    if (needs_.input_gram) {
      if (!input.gram.defined()) input.gram = at::zeros({x.size(1), x.size(1)}, at::kDouble);
      accumulate_gram(exec_, x, input.gram);
    }
    if (needs_.input_absmax) merge_absmax(x, input.absmax);
  }

  void queries_and_keys(int64_t, const at::Tensor&, const at::Tensor& k) override {
    if (needs_.key_absmax) merge_absmax(k.reshape({k.size(0), -1}), statistics_.key_absmax);
  }

  BlockStatistics take() { return std::move(statistics_); }

 private:
  static void merge_absmax(const at::Tensor& x, at::Tensor& absmax) {
    const at::Tensor now = x.abs().amax(0);
    absmax = absmax.defined() ? at::maximum(absmax, now) : now;
  }

  ExecContext& exec_;
  CalibrationNeeds needs_;
  BlockStatistics statistics_;
  const void* last_memory_ = nullptr;
  std::string last_site_;
};

nn::KvStore one_sequence(const nn::Decoder& decoder, int64_t tokens) {
  // Calibration keeps keys and values exact; a cache format is judged by the evaluation.
  return nn::KvStore(decoder.config().kv_shape(), ElementType::Float32, tokens);
}

}  // namespace

CalibrationTokens calibration_tokens(const Tokenizer& tokenizer, std::string_view text, int64_t window,
                                     int64_t total_tokens) {
  const std::vector<int32_t> ids = tokenizer.encode(text, {.add_special = false});
  const bool with_bos = tokenizer.spec().add_bos && tokenizer.bos_id() >= 0;
  const int64_t from_text = window - (with_bos ? 1 : 0);
  const auto available = static_cast<int64_t>(ids.size()) / from_text;
  if (available < 1)
    throw InvalidArgument("the calibration text has {} tokens, which is less than one window of {}; use a longer text",
                          ids.size(), window);
  const int64_t wanted = std::min((total_tokens + window - 1) / window, available);
  CalibrationTokens sequences;
  for (int64_t i = 0; i < wanted; ++i) {
    const int64_t start = i * available / wanted * from_text;
    std::vector<int32_t>& sequence = sequences.emplace_back();
    if (with_bos) sequence.push_back(tokenizer.bos_id());
    sequence.insert(sequence.end(), ids.begin() + start, ids.begin() + start + from_text);
  }
  return sequences;
}

CalibrationState::CalibrationState(ExecContext& exec, const nn::Decoder& decoder, const CalibrationTokens& tokens) {
  for (const auto& sequence : tokens) hidden_.push_back(decoder.embed(exec, sequence));
}

BlockStatistics CalibrationState::observe(ExecContext& exec, const nn::Decoder& decoder, int64_t block,
                                          const CalibrationNeeds& needs) const {
  StatisticsObserver observer(exec, needs);
  if (!needs.any()) return observer.take();
  nn::StepContext step{exec, &observer};
  for (const auto& hidden : hidden_) {
    observer.begin_sequence();
    nn::KvStore cache = one_sequence(decoder, hidden.size(0));
    decoder.forward_block(step, block, hidden, cache);
  }
  return observer.take();
}

void CalibrationState::advance(ExecContext& exec, const nn::Decoder& decoder, int64_t block) {
  nn::StepContext step{exec};
  for (auto& hidden : hidden_) {
    nn::KvStore cache = one_sequence(decoder, hidden.size(0));
    hidden = decoder.forward_block(step, block, hidden, cache);
  }
}

}  // namespace halftone::engine
