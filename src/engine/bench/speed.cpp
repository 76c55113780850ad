// Interleaved rounds; see speed.h.
#include "engine/bench/speed.h"

#include <algorithm>

#include "base/error.h"
#include "engine/bench/statistics.h"
#include "engine/generate/sampler.h"

namespace halftone::engine {
namespace {

constexpr int64_t kWarmUpTokens = 4;

std::span<const float> as_span(const at::Tensor& logits) {
  return {logits.const_data_ptr<float>(), static_cast<size_t>(logits.numel())};
}

/// Seconds per generated token.
double decode_once(ExecContext& exec, const SpeedSubject& subject, std::span<const int32_t> prompt, int64_t tokens) {
  nn::StepContext step{exec};
  const int64_t length = static_cast<int64_t>(prompt.size()) + tokens;
  nn::KvStore cache(subject.decoder->config().kv_shape(), subject.kv_format, length);
  int32_t next = first_maximum(as_span(subject.decoder->forward(step, prompt, cache, nn::Logits::Last)));
  const Stopwatch watch;
  for (int64_t i = 0; i < tokens; ++i)
    next = first_maximum(as_span(subject.decoder->forward(step, {&next, 1}, cache, nn::Logits::Last)));
  return watch.seconds() / static_cast<double>(tokens);
}

double prefill_once(ExecContext& exec, const SpeedSubject& subject, std::span<const int32_t> prompt) {
  nn::StepContext step{exec};
  nn::KvStore cache(subject.decoder->config().kv_shape(), subject.kv_format, static_cast<int64_t>(prompt.size()));
  const Stopwatch watch;
  subject.decoder->forward(step, prompt, cache, nn::Logits::Last);
  return watch.seconds() / static_cast<double>(prompt.size());
}

template <class Once>
SpeedRounds take_turns(std::span<const SpeedSubject> subjects, int rounds, Once once) {
  SpeedRounds rates(subjects.size());
  for (int round = 0; round < rounds; ++round)
    for (size_t i = 0; i < subjects.size(); ++i) rates[i].push_back(1 / once(subjects[i]));
  return rates;
}

void check_context(std::span<const SpeedSubject> subjects, int64_t length) {
  for (const auto& subject : subjects)
    if (length > subject.decoder->config().context_length)
      throw InvalidArgument("timing {} tokens exceeds the model's context of {}; ask for fewer", length,
                            subject.decoder->config().context_length);
}

}  // namespace

SpeedRounds time_decode(ExecContext& exec, std::span<const SpeedSubject> subjects, std::span<const int32_t> prompt,
                        int64_t tokens, int rounds) {
  check_context(subjects, static_cast<int64_t>(prompt.size()) + tokens);
  for (const auto& subject : subjects) decode_once(exec, subject, prompt, std::min(kWarmUpTokens, tokens));
  return take_turns(subjects, rounds,
                    [&](const SpeedSubject& subject) { return decode_once(exec, subject, prompt, tokens); });
}

SpeedRounds time_prefill(ExecContext& exec, std::span<const SpeedSubject> subjects, std::span<const int32_t> prompt,
                         int rounds) {
  check_context(subjects, static_cast<int64_t>(prompt.size()));
  for (const auto& subject : subjects) prefill_once(exec, subject, prompt);
  return take_turns(subjects, rounds, [&](const SpeedSubject& subject) { return prefill_once(exec, subject, prompt); });
}

}  // namespace halftone::engine
