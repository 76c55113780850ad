// Tokens per second of decoders. Subjects take turns in every round, so that a disturbance of the machine meets all of
// them alike.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/exec_context.h"
#include "nn/decoder.h"

namespace halftone::engine {

struct SpeedSubject {
  const nn::Decoder* decoder = nullptr;
  ElementType kv_format = ElementType::Float16;
};

/// Decoding from a start context that is computed once: every round begins at the same place in the text.
class DecodeRun {
 public:
  /// Fills a cache of `kv_format` with `prompt`. More than the trained context is allowed: only time is asked for here.
  DecodeRun(ExecContext& exec, const nn::Decoder& decoder, ElementType kv_format, std::span<const int32_t> prompt,
            int64_t tokens);
  /// Tokens per second of one round: greedy decoding, one token a step.
  double rate(ExecContext& exec);

 private:
  const nn::Decoder& decoder_;
  nn::KvStore cache_;
  int64_t context_, tokens_;
  int32_t first_;  ///< the token that follows the prompt
};

/// Tokens per second of one forward pass over `prompt` from an empty cache, logits of the last position.
double prefill_rate(ExecContext& exec, const nn::Decoder& decoder, ElementType kv_format,
                    std::span<const int32_t> prompt);

/// Tokens per second, all together, of `sequences` sequences that decode `tokens` tokens each after `prompt`, whose
/// own time is left out, a step for all at a time.
double decode_batch_rate(ExecContext& exec, const nn::Decoder& decoder, ElementType kv_format,
                         std::span<const int32_t> prompt, int sequences, int64_t tokens);

/// rates[subject][round], in tokens per second.
using SpeedRounds = std::vector<std::vector<double>>;

/// Greedy decoding, one token a step, of `tokens` tokens after `prompt`, whose own time is left out. A short round that
/// is not counted comes first. Throws InvalidArgument when prompt and tokens exceed a subject's context.
SpeedRounds time_decode(ExecContext& exec, std::span<const SpeedSubject> subjects, std::span<const int32_t> prompt,
                        int64_t tokens, int rounds);

/// One forward pass over `prompt` from an empty cache, logits of the last position. One round that is not counted comes
/// first.
SpeedRounds time_prefill(ExecContext& exec, std::span<const SpeedSubject> subjects, std::span<const int32_t> prompt,
                         int rounds);

}  // namespace halftone::engine
