// Renders a model's chat template, a Jinja program, into the prompt text. The subset of Jinja is what published chat
// templates use; output equals Jinja 3 under the settings of Hugging Face transformers (trim_blocks, lstrip_blocks,
// immutable sandbox). Templates come from model files, so they are limited: steps, depth and bytes, with an error that
// names the line.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json_fwd.h"

namespace halftone {

struct TokenizerSpec;

struct ChatMessage {
  std::string role;  // "system", "user", "assistant", "tool", ...
  std::string content;
};

struct ChatRenderOptions {
  bool add_generation_prompt = true;
  std::string bos_token;
  std::string eos_token;
  const Json* extra = nullptr;  // object whose members become variables of the template, e.g. "tools"
  int64_t unix_time = -1;       // seconds, what strftime_now shows in local time; -1 for now
};

/// A parsed template; immutable, so one object serves any number of threads.
class ChatTemplate {
 public:
  /// Throws InvalidArgument with the line for a syntax error, Unsupported for Jinja that we do not have.
  explicit ChatTemplate(std::string_view source);
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;

  /// `messages` is a list of objects as in the OpenAI API. Throws InvalidArgument with the line when the template
  /// refuses the conversation (raise_exception), misuses a value, or exceeds a limit.
  std::string render(const Json& messages, const ChatRenderOptions& options = {}) const;
  std::string render(const std::vector<ChatMessage>& messages, const ChatRenderOptions& options = {}) const;

 private:
  struct Impl;
  std::unique_ptr<const Impl> impl_;
};

/// ChatTemplate(template_text).render(messages, options).
std::string render_chat(std::string_view template_text, const std::vector<ChatMessage>& messages,
                        const ChatRenderOptions& options = {});

/// The spec's own template, or the built-in one that its special tokens point to: ChatML (`<|im_start|>`), Gemma
/// (`<start_of_turn>`) or Llama 3 (`<|start_header_id|>`). Throws Unsupported when there is neither.
std::string chat_template_of(const TokenizerSpec& spec);

}  // namespace halftone
