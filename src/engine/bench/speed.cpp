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

int32_t most_likely(ExecContext& exec, std::span<const float> logits) {
  const Traced traced(exec.trace, "most likely token", "");
  return first_maximum(logits);
}

/// The clock of a round, with which its trace begins.
Stopwatch started(ExecContext& exec) {
  if (exec.trace != nullptr) exec.trace->clear();
  return {};
}

template <class Once>
SpeedRounds take_turns(std::span<const SpeedSubject> subjects, int rounds, Once once) {
  SpeedRounds rates(subjects.size());
  for (int round = 0; round < rounds; ++round)
    for (size_t i = 0; i < subjects.size(); ++i) rates[i].push_back(once(subjects[i]));
  return rates;
}

void check_context(std::span<const SpeedSubject> subjects, int64_t length) {
  for (const auto& subject : subjects)
    if (length > subject.decoder->config().context_length)
      throw InvalidArgument("timing {} tokens exceeds the model's context of {}; ask for fewer", length,
                            subject.decoder->config().context_length);
}

}  // namespace

DecodeRun::DecodeRun(ExecContext& exec, const nn::Decoder& decoder, ElementType kv_format,
                     std::span<const int32_t> prompt, int64_t tokens)
    : decoder_(decoder),
      cache_(decoder.config().kv_shape(), kv_format, static_cast<int64_t>(prompt.size()) + tokens),
      context_(static_cast<int64_t>(prompt.size())),
      tokens_(tokens) {
  nn::StepContext step{exec};
  first_ = first_maximum(as_span(decoder.forward(step, prompt, cache_, nn::Logits::Last)));
}

double DecodeRun::rate(ExecContext& exec) {
  nn::StepContext step{exec};
  cache_.truncate(context_);
  int32_t next = first_;
  const Stopwatch watch = started(exec);
  for (int64_t i = 0; i < tokens_; ++i)
    next = most_likely(exec, as_span(decoder_.forward(step, {&next, 1}, cache_, nn::Logits::Last)));
  return static_cast<double>(tokens_) / watch.seconds();
}

double prefill_rate(ExecContext& exec, const nn::Decoder& decoder, ElementType kv_format,
                    std::span<const int32_t> prompt) {
  nn::StepContext step{exec};
  nn::KvStore cache(decoder.config().kv_shape(), kv_format, static_cast<int64_t>(prompt.size()));
  const Stopwatch watch = started(exec);
  decoder.forward(step, prompt, cache, nn::Logits::Last);
  return static_cast<double>(prompt.size()) / watch.seconds();
}

double decode_batch_rate(ExecContext& exec, const nn::Decoder& decoder, ElementType kv_format,
                         std::span<const int32_t> prompt, int sequences, int64_t tokens) {
  nn::StepContext step{exec};
  const auto count = static_cast<size_t>(sequences);
  const int64_t capacity = static_cast<int64_t>(prompt.size()) + tokens;
  std::vector<nn::KvStore> stores;
  std::vector<nn::KvStore*> caches;
  stores.reserve(count);
  std::vector<int32_t> next;
  for (size_t i = 0; i < count; ++i) {
    caches.push_back(&stores.emplace_back(decoder.config().kv_shape(), kv_format, capacity));
    next.push_back(first_maximum(as_span(decoder.forward(step, prompt, stores.back(), nn::Logits::Last))));
  }
  const Stopwatch watch = started(exec);
  for (int64_t done = 0; done < tokens; ++done) {
    const at::Tensor logits = decoder.forward_batch(step, next, caches);
    const auto all = as_span(logits);
    const size_t vocabulary = all.size() / count;
    const Traced traced(exec.trace, "most likely token", "");
    exec.pool.parallel_for(sequences, 1, [&](int64_t begin, int64_t end, int) {
      for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i)
        next[i] = first_maximum(all.subspan(i * vocabulary, vocabulary));
    });
  }
  return static_cast<double>(sequences * tokens) / watch.seconds();
}

SpeedRounds time_decode(ExecContext& exec, std::span<const SpeedSubject> subjects, std::span<const int32_t> prompt,
                        int64_t tokens, int rounds) {
  check_context(subjects, static_cast<int64_t>(prompt.size()) + tokens);
  const auto once = [&](const SpeedSubject& subject, int64_t count) {
    return DecodeRun(exec, *subject.decoder, subject.kv_format, prompt, count).rate(exec);
  };
  for (const auto& subject : subjects) once(subject, std::min(kWarmUpTokens, tokens));
  return take_turns(subjects, rounds, [&](const SpeedSubject& subject) { return once(subject, tokens); });
}

SpeedRounds time_prefill(ExecContext& exec, std::span<const SpeedSubject> subjects, std::span<const int32_t> prompt,
                         int rounds) {
  check_context(subjects, static_cast<int64_t>(prompt.size()));
  const auto once = [&](const SpeedSubject& subject) {
    return prefill_rate(exec, *subject.decoder, subject.kv_format, prompt);
  };
  for (const auto& subject : subjects) once(subject);
  return take_turns(subjects, rounds, once);
}

}  // namespace halftone::engine
