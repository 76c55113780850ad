// The generate flow: prefill -> sample -> decode, and the stream of text beside it; see generate.h.
#include "engine/generate/generate.h"

#include <algorithm>

#include "base/error.h"
#include "engine/bench/statistics.h"
#include "engine/evaluate/runner.h"
#include "engine/generate/stop_filter.h"
#include "models/language/language_model.h"

namespace halftone::engine {
namespace {

constexpr size_t kPrefillChunk = 512;  // tokens of a forward pass: bounds its memory and the wait for a cancellation

/// Tokens to text: characters are completed, stop texts withheld, the result handed on piece by piece.
class TextStream {
 public:
  TextStream(const Tokenizer& tokenizer, const GenerateRequest& request)
      : decoder_(tokenizer), stops_(request.stop), on_text_(request.on_text) {}

  void push(int32_t token) { pass(stops_.push(decoder_.push(token))); }
  void finish() {
    if (stopped()) return;
    pass(stops_.push(decoder_.flush()));
    if (!stopped()) pass(stops_.flush());
  }
  bool stopped() const { return stops_.stopped(); }
  bool refused() const { return refused_; }
  std::string take() { return std::move(text_); }

 private:
  void pass(const std::string& piece) {
    if (piece.empty()) return;
    text_ += piece;
    if (on_text_ && !refused_) refused_ = !on_text_(piece);
  }

  StreamingDecoder decoder_;
  StopFilter stops_;
  const std::function<bool(std::string_view)>& on_text_;
  std::string text_;
  bool refused_ = false;
};

bool is_cancelled(const GenerateRequest& request) { return request.cancelled && request.cancelled(); }

int64_t checked_context(const models::LanguageModel& model, int64_t context) {
  const int64_t limit = model.decoder.config().context_length;
  if (context < 0 || context > limit)
    throw InvalidArgument("a context of {} tokens was asked for; {} has 1 .. {}", context, model.name, limit);
  return context == 0 ? limit : context;
}

void check_request(const GenerateRequest& request, int64_t context) {
  if (request.max_tokens < 0) throw InvalidArgument("max_tokens is {}; wanted 0 or more", request.max_tokens);
  if (request.prompt.empty()) throw InvalidArgument("the prompt has no tokens; give at least one character");
  if (static_cast<int64_t>(request.prompt.size()) > context)
    throw InvalidArgument("the prompt has {} tokens, the context {}; shorten the prompt or raise the context",
                          request.prompt.size(), context);
}

}  // namespace

struct GenerateSession::State {
  State(ExecContext& e, const models::LanguageModel& m, ElementType kv_format, int64_t context)
      : exec(e), model(m), cache(m.decoder.config().kv_shape(), kv_format, context) {}

  /// Brings the cache to `prompt`; logits of its last position, or undefined when cancelled.
  at::Tensor prefill(const GenerateRequest& request, GenerateResult& result);
  at::Tensor forward(std::span<const int32_t> tokens, nn::Logits logits);
  /// Samples until something ends it; returns the finish reason.
  std::string decode(const GenerateRequest& request, at::Tensor logits, TextStream& stream,
                     std::vector<int32_t>& generated);

  ExecContext& exec;
  const models::LanguageModel& model;
  nn::KvStore cache;
  std::vector<int32_t> cached;  ///< the tokens that the cache holds
};

at::Tensor GenerateSession::State::forward(std::span<const int32_t> tokens, nn::Logits logits) {
  nn::StepContext step{exec};
  at::Tensor result = model.decoder.forward(step, tokens, cache, logits);
  cached.insert(cached.end(), tokens.begin(), tokens.end());
  return result;
}

at::Tensor GenerateSession::State::prefill(const GenerateRequest& request, GenerateResult& result) {
  const std::span<const int32_t> prompt(request.prompt);
  const auto differ = std::mismatch(prompt.begin(), prompt.end(), cached.begin(), cached.end()).first;
  size_t done = static_cast<size_t>(differ - prompt.begin());
  done = std::min(done, prompt.size() - 1);  // the last token runs again: its logits are wanted
  cached.resize(done);
  cache.truncate(static_cast<int64_t>(done));
  result.reused_tokens = static_cast<int64_t>(done);
  at::Tensor logits;
  while (done < prompt.size()) {
    if (is_cancelled(request)) return {};
    const size_t count = std::min(kPrefillChunk, prompt.size() - done);
    logits = forward(prompt.subspan(done, count), done + count == prompt.size() ? nn::Logits::Last : nn::Logits::None);
    done += count;
  }
  return logits;
}

std::string GenerateSession::State::decode(const GenerateRequest& request, at::Tensor logits, TextStream& stream,
                                           std::vector<int32_t>& generated) {
  Sampler sampler(request.sampling);
  // Some models pad their vocabulary; the padding stands for no text and is never drawn.
  const auto known =
      static_cast<size_t>(std::min<int64_t>(model.decoder.config().vocabulary, model.tokenizer.vocab_size()));
  while (static_cast<int64_t>(generated.size()) < request.max_tokens) {
    if (is_cancelled(request)) return "cancelled";
    const int32_t token = sampler.sample({logits.const_data_ptr<float>(), known});
    if (model.tokenizer.is_end_of_generation(token)) return "stop";
    generated.push_back(token);
    stream.push(token);
    if (stream.stopped()) return "stop";
    if (stream.refused()) return "cancelled";
    if (static_cast<int64_t>(generated.size()) == request.max_tokens || cache.length() == cache.capacity()) break;
    logits = forward({&token, 1}, nn::Logits::Last);
  }
  return "length";
}

GenerateSession::GenerateSession(ExecContext& exec, const models::LanguageModel& model, int64_t context,
                                 const std::string& kv_format)
    : state_(std::make_unique<State>(
          exec, model, resolve_kv_format(model, kv_format),
          context == 0 ? std::min(kDefaultContext, checked_context(model, 0)) : checked_context(model, context))) {}

GenerateSession::~GenerateSession() = default;

int64_t GenerateSession::context() const { return state_->cache.capacity(); }

GenerateResult GenerateSession::generate(const GenerateRequest& request) {
  check_request(request, context());
  request.sampling.validate();
  TextStream stream(state_->model.tokenizer, request);
  GenerateResult result;
  result.prompt_tokens = static_cast<int64_t>(request.prompt.size());
  const Stopwatch prefill;
  const at::Tensor logits = state_->prefill(request, result);
  result.prefill_seconds = prefill.seconds();
  const Stopwatch decode;
  result.finish_reason = logits.defined() ? state_->decode(request, logits, stream, result.tokens) : "cancelled";
  result.decode_seconds = decode.seconds();
  stream.finish();
  result.text = stream.take();
  if (stream.stopped()) result.finish_reason = "stop";
  return result;
}

GenerateResult generate(ExecContext& exec, const models::LanguageModel& model, const GenerateRequest& request,
                        int64_t context, const std::string& kv_format) {
  const int64_t limit = checked_context(model, context);
  check_request(request, limit);
  const int64_t wanted = static_cast<int64_t>(request.prompt.size()) + std::min(request.max_tokens, limit);
  return GenerateSession(exec, model, std::min(wanted, limit), kv_format).generate(request);
}

}  // namespace halftone::engine
