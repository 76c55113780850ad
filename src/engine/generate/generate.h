// The generate flow: prompt in, text out, token by token.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/exec_context.h"
#include "engine/generate/sampler.h"

namespace halftone::models {
struct LanguageModel;
}

namespace halftone::engine {

struct GenerateRequest {
  std::vector<int32_t> prompt;  ///< token ids, special tokens included
  int64_t max_tokens = 128;
  SamplingOptions sampling = {};
  std::vector<std::string> stop = {};  ///< generation ends before any of these texts; they are not part of the result
  /// Called with each piece of text as it becomes certain (whole UTF-8 characters, stop texts withheld); returning
  /// false ends the generation with finish reason "cancelled".
  std::function<bool(std::string_view)> on_text = {};
  std::function<bool()> cancelled = {};  ///< asked before every step; true ends the generation likewise
};

struct GenerateResult {
  std::string text;
  std::vector<int32_t> tokens;  ///< generated, without the end-of-generation token
  std::string finish_reason;    ///< "stop", "length", "cancelled"
  int64_t prompt_tokens = 0;
  int64_t reused_tokens = 0;  ///< of the prompt, found in the cache of the session
  double prefill_seconds = 0;
  double decode_seconds = 0;
};

/// A key-value cache that outlives a generation: the next prompt reuses what it has in common with the tokens so far.
/// The text is the same as without reuse, bit for bit, because kernels promise that prefill equals decode.
class GenerateSession {
 public:
  /// `context`: tokens of cache; 0: the model's context, at most kDefaultContext. `kv_format` empty: what the model was
  /// compressed for. Both references must outlive the session. Throws InvalidArgument for a context above the model's.
  static constexpr int64_t kDefaultContext = 4096;
  GenerateSession(ExecContext& exec, const models::LanguageModel& model, int64_t context = 0,
                  const std::string& kv_format = {});
  ~GenerateSession();

  /// Generation ends with "length" after max_tokens, or when the context is full. Throws InvalidArgument naming both
  /// numbers when the prompt does not fit the context, and for an empty prompt.
  GenerateResult generate(const GenerateRequest& request);
  int64_t context() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// One generation with a cache of its own, for prompt and max_tokens, at most `context` (0: the model's) tokens.
GenerateResult generate(ExecContext& exec, const models::LanguageModel& model, const GenerateRequest& request,
                        int64_t context = 0, const std::string& kv_format = {});

}  // namespace halftone::engine
