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
