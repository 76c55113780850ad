// Calibration data on its way through the model: the hidden states of all sequences, advanced block by block, and the
// statistics of a block's inputs.
#pragma once

#include <string_view>
#include <vector>

#include "io/tokenizer/tokenizer.h"
#include "nn/decoder.h"
#include "plugin/compress_pass.h"

namespace halftone::engine {

/// Token sequences of equal length for calibration.
using CalibrationTokens = std::vector<std::vector<int32_t>>;

/// Cuts `text` into sequences of `window` tokens, `total_tokens` in all (rounded up to whole windows), spread evenly
/// over the text, each beginning with BOS where the model wants it. Throws InvalidArgument when the text is too short
/// for one window.
CalibrationTokens calibration_tokens(const Tokenizer& tokenizer, std::string_view text, int64_t window,
                                     int64_t total_tokens);

/// Hidden states in front of a block, for every sequence.
class CalibrationState {
 public:
  CalibrationState(ExecContext& exec, const nn::Decoder& decoder, const CalibrationTokens& tokens);

  /// Runs block `block` as it is on the current states and collects what `needs` asks for; the states stay.
  BlockStatistics observe(ExecContext& exec, const nn::Decoder& decoder, int64_t block,
                          const CalibrationNeeds& needs) const;
  /// Moves the states behind block `block`.
  void advance(ExecContext& exec, const nn::Decoder& decoder, int64_t block);

 private:
  std::vector<at::Tensor> hidden_;  // [window, width] f32 a sequence
};

}  // namespace halftone::engine
