// Chat templates: the front of the Jinja interpreter, and the built-in templates; see chat_template.h.
#include "io/chat_template.h"

#include <algorithm>
#include <array>
#include <ctime>

#include "base/error.h"
#include "base/json.h"
#include "io/jinja/interpreter.h"
#include "io/tokenizer/tokenizer.h"

namespace halftone {
namespace {

constexpr size_t kMaxTemplateBytes = 1 << 20;

struct BuiltinTemplate {
  std::string_view marker;  // the token that tells the family
  std::string_view source;
};

// The system text of a Gemma conversation opens the first user turn, since that model knows no system role.
constexpr std::array<BuiltinTemplate, 3> kBuiltins{{
    {"<|im_start|>",
     "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
     "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"},
    {"<start_of_turn>",
     "{{ bos_token }}{% set ns = namespace(system='') %}"
     "{% for message in messages %}"
     "{% if message.role == 'system' %}{% set ns.system = message.content | trim ~ '\\n\\n' %}"
     "{% else %}<start_of_turn>{{ 'model' if message.role == 'assistant' else message.role }}\n"
     "{{ ns.system if message.role == 'user' }}{{ message.content | trim }}<end_of_turn>\n"
     "{% if message.role == 'user' %}{% set ns.system = '' %}{% endif %}"
     "{% endif %}{% endfor %}"
     "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"},
    {"<|start_header_id|>",
     "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message.role }}<|end_header_id|>\n\n"
     "{{ message.content | trim }}<|eot_id|>{% endfor %}"
     "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"},
}};

}  // namespace

struct ChatTemplate::Impl {
  jinja::Body body;
};

ChatTemplate::ChatTemplate(std::string_view source) {
  if (source.size() > kMaxTemplateBytes)
    throw InvalidArgument("chat template has {} bytes; at most {} are accepted", source.size(), kMaxTemplateBytes);
  impl_ = std::make_unique<const Impl>(Impl{jinja::parse_template(source)});
}

ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;

std::string ChatTemplate::render(const Json& messages, const ChatRenderOptions& options) const {
  jinja::Context context;
  const int64_t now = options.unix_time >= 0 ? options.unix_time : static_cast<int64_t>(std::time(nullptr));
  jinja::Interpreter interpreter(context, now);
  interpreter.set_global("messages", jinja::from_json(messages));
  interpreter.set_global("add_generation_prompt", jinja::Value(options.add_generation_prompt));
  interpreter.set_global("bos_token", jinja::Value(options.bos_token));
  interpreter.set_global("eos_token", jinja::Value(options.eos_token));
  if (options.extra) {
    if (!options.extra->is_object()) throw InvalidArgument("chat template: the extra variables are not a JSON object");
    for (const auto& [name, value] : options.extra->items()) interpreter.set_global(name, jinja::from_json(value));
  }
  return interpreter.run(impl_->body);
}

std::string ChatTemplate::render(const std::vector<ChatMessage>& messages, const ChatRenderOptions& options) const {
  Json list = Json::array();
  for (const ChatMessage& message : messages) list.push_back({{"role", message.role}, {"content", message.content}});
  return render(list, options);
}

std::string render_chat(std::string_view template_text, const std::vector<ChatMessage>& messages,
                        const ChatRenderOptions& options) {
  return ChatTemplate(template_text).render(messages, options);
}

std::string chat_template_of(const TokenizerSpec& spec) {
  if (!spec.chat_template.empty()) return spec.chat_template;
  for (const BuiltinTemplate& builtin : kBuiltins)
    if (std::find(spec.tokens.begin(), spec.tokens.end(), builtin.marker) != spec.tokens.end())
      return std::string(builtin.source);
  throw Unsupported(
      "the model has no chat template, and no special token points to a known one (<|im_start|>, <start_of_turn>, "
      "<|start_header_id|>); give a template, or use plain completion");
}

}  // namespace halftone
