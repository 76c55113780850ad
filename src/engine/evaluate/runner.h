// One model on its way through windows: hidden states of a whole window, then logits a few rows at a time, so that the
// logits of a large vocabulary never exist all at once. Keeps the time that the model itself takes.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <string>

#include "models/language/language_model.h"

namespace halftone::engine {

/// The KV format that `requested` names, or the one that the model was compressed for when it is empty.
ElementType resolve_kv_format(const models::LanguageModel& model, const std::string& requested);

class WindowRunner {
 public:
  /// `capacity`: tokens of the longest window.
  WindowRunner(ExecContext& exec, const models::LanguageModel& model, ElementType kv_format, int64_t capacity)
      : exec_(exec), model_(model), cache_(model.decoder.config().kv_shape(), kv_format, capacity) {}

  /// Runs the blocks over `window`, from an empty cache.
  void run_blocks(std::span<const int32_t> window);
  /// Logits [end - begin, vocabulary] f32 of positions begin .. end-1 of the last window.
  at::Tensor logits(int64_t begin, int64_t end);
  /// Forgets the time that passes so far took.
  void reset_clock() { tokens_ = 0, seconds_ = 0; }

  const models::LanguageModel& model() const { return model_; }
  ElementType kv_format() const { return cache_.format(); }
  double tokens_per_second() const { return seconds_ > 0 ? static_cast<double>(tokens_) / seconds_ : 0; }

 private:
  ExecContext& exec_;
  const models::LanguageModel& model_;
  nn::KvStore cache_;
  at::Tensor hidden_;
  int64_t tokens_ = 0;
  double seconds_ = 0;
};

}  // namespace halftone::engine
