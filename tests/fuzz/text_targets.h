// What the fuzz programs of tokenizer and chat template, and the replays in tests/io, run on one input. An Error is the
// right answer to nonsense; any other exception, crash or sanitizer report is a finding.
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"
#include "base/json.h"
#include "io/chat_template.h"
#include "io/tokenizer/tokenizer.h"

namespace halftone::fuzz {

/// Empty when all went well, else the error's text.
template <class Run>
std::string error_of(Run&& run) {
  try {
    run();
    return {};
  } catch (const Error& error) {
    return error.what();
  }
}

/// Encodes `text` and decodes it again, whole and as a stream.
inline void use_tokenizer(const TokenizerSpec& spec, std::string_view text) {
  const Tokenizer tokenizer(spec);
  for (const bool special : {false, true}) {
    const auto ids = tokenizer.encode(text, {.add_special = special, .parse_special = special});
    tokenizer.decode(ids, {.skip_special = !special});
    StreamingDecoder stream(tokenizer);
    for (const int32_t id : ids) stream.push(id);
    stream.flush();
  }
}

/// The input is a tokenizer JSON (ours or Hugging Face's), a zero byte, and a text.
inline std::string run_tokenizer(std::string_view input) {
  const auto end = input.find('\0');
  const std::string_view text = end == std::string_view::npos ? input.substr(0, 200) : input.substr(end + 1);
  return error_of([&] { use_tokenizer(tokenizer_spec_from_json(input.substr(0, end)), text); });
}

/// The input is a template.
inline std::string run_template(std::string_view input) {
  return error_of([&] {
    const Json messages = Json::parse(
        R"([{"role":"system","content":"S"},{"role":"user","content":"Hi","tool_calls":[{"n":1.5}]},{"role":"x","content":null}])");
    ChatTemplate(input).render(messages, {.bos_token = "<s>", .eos_token = "</s>", .unix_time = 1767268800});
  });
}

}  // namespace halftone::fuzz
