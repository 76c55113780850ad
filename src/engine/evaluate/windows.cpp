// Windows and tokenizer comparison; see windows.h.
#include "engine/evaluate/windows.h"

#include <algorithm>

#include "base/error.h"

namespace halftone::engine {

std::vector<std::vector<int32_t>> make_windows(const models::LanguageModel& model, const EvaluateRequest& request) {
  const int64_t context = model.decoder.config().context_length;
  if (request.window < 2 || request.window > context)
    throw InvalidArgument("the window has {} tokens; wanted 2 .. {}, the context of {}", request.window, context,
                          model.name);
  if (request.max_tokens < 2)
    throw InvalidArgument("{} tokens cannot be scored; wanted at least 2", request.max_tokens);
  std::vector<int32_t> ids = model.tokenizer.encode(request.text, {.add_special = false});
  if (static_cast<int64_t>(ids.size()) > request.max_tokens) ids.resize(request.max_tokens);
  if (ids.size() < 2)
    throw InvalidArgument("the text gives {} tokens; perplexity needs at least 2, and thousands to mean anything",
                          ids.size());
  const bool bos = model.tokenizer.spec().add_bos && model.tokenizer.bos_id() >= 0;
  const size_t step = static_cast<size_t>(request.window) - (bos ? 1 : 0);
  std::vector<std::vector<int32_t>> windows;
  for (size_t begin = 0; begin < ids.size(); begin += step) {
    const size_t count = std::min(step, ids.size() - begin);
    std::vector<int32_t> window(count + (bos ? 1 : 0), model.tokenizer.bos_id());
    std::copy_n(ids.begin() + begin, count, window.end() - count);
    if (window.size() >= 2) windows.push_back(std::move(window));
  }
  return windows;
}

void check_same_tokenizer(const models::LanguageModel& reference, const models::LanguageModel& other) {
  const TokenizerSpec& a = reference.tokenizer.spec();
  const TokenizerSpec& b = other.tokenizer.spec();
  const auto differ = [&](const char* what) {
    throw InvalidArgument(
        "'{}' and '{}' cannot be compared: their tokenizers differ in {}; compare models that were "
        "made from the same original",
        reference.name, other.name, what);
  };
  if (a.tokens.size() != b.tokens.size())
    throw InvalidArgument(
        "'{}' and '{}' cannot be compared: their vocabularies have {} and {} tokens; compare models "
        "that were made from the same original",
        reference.name, other.name, a.tokens.size(), b.tokens.size());
  if (a.kind != b.kind) differ("kind (BPE or SentencePiece)");
  if (a.tokens != b.tokens) differ("their tokens");
  if (a.merges != b.merges) differ("their merges");
  if (a.scores != b.scores) differ("their scores");
  if (a.types != b.types) differ("their token types");
  if (a.pre != b.pre || a.pre_patterns != b.pre_patterns) differ("their pre-tokenisers");
  if (a.bos_id != b.bos_id || a.add_bos != b.add_bos) differ("their BOS token");
  if (a.add_space_prefix != b.add_space_prefix || a.ignore_merges != b.ignore_merges) differ("their white-space rules");
  const int64_t width_a = reference.decoder.config().vocabulary, width_b = other.decoder.config().vocabulary;
  if (width_a != width_b)
    throw InvalidArgument("'{}' and '{}' cannot be compared: they give logits of {} and {} tokens", reference.name,
                          other.name, width_a, width_b);
}

}  // namespace halftone::engine
