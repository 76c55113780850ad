// Prompts, chats and tokens for display; see prompt.h.
#include "engine/generate/prompt.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "io/utf8.h"
#include "models/language/language_model.h"

namespace halftone::engine {
namespace {

constexpr uint32_t kFirstMark = 0xFDD0, kLastMark = 0xFDEF;

/// Templates often spell BOS themselves; a second one would be a different prompt.
void put_bos_once(const Tokenizer& tokenizer, std::vector<int32_t>& ids) {
  const int32_t bos = tokenizer.bos_id();
  if (!tokenizer.spec().add_bos || bos < 0) return;
  if (ids.empty() || ids.front() != bos) ids.insert(ids.begin(), bos);
}

std::string name_of(const Tokenizer& tokenizer, int32_t id) {
  return id < 0 ? std::string() : tokenizer.token_text(id);
}

/// A character that no message contains: one of Unicode's noncharacters, which no template treats as space.
std::string unused_mark(const std::vector<ChatMessage>& messages) {
  std::string mark;
  for (uint32_t code = kFirstMark; code <= kLastMark; ++code) {
    mark.clear();
    utf8_append(code, mark);
    if (std::none_of(messages.begin(), messages.end(),
                     [&](const ChatMessage& message) { return message.content.find(mark) != std::string::npos; }))
      return mark;
  }
  throw InvalidArgument("the conversation uses all noncharacters from U+{:X} to U+{:X}; leave one of them out",
                        kFirstMark, kLastMark);
}

/// `text` with `mark` in front of each name of a control token.
std::string mark_names(const Tokenizer& tokenizer, std::string_view text, const std::string& mark) {
  std::string marked;
  size_t done = 0;
  for (const size_t at : tokenizer.control_names(text)) {
    marked.append(text.substr(done, at - done)).append(mark);
    done = at;
  }
  return marked.append(text.substr(done));
}

/// Takes the marks out of `text` again; returns where they were.
std::vector<size_t> remove_marks(std::string& text, const std::string& mark) {
  std::vector<size_t> places;
  std::string plain;
  size_t done = 0;
  for (size_t at; (at = text.find(mark, done)) != std::string::npos; done = at + mark.size()) {
    plain.append(text, done, at - done);
    if (places.empty() || places.back() != plain.size()) places.push_back(plain.size());
  }
  text = plain.append(text, done);
  return places;
}

}  // namespace

std::vector<int32_t> encode_prompt(const models::LanguageModel& model, std::string_view text, bool parse_special) {
  auto ids = model.tokenizer.encode(text, {.add_special = false, .parse_special = parse_special});
  put_bos_once(model.tokenizer, ids);
  return ids;
}

std::vector<int32_t> parse_ids(const models::LanguageModel& model, std::string_view text) {
  constexpr std::string_view kBetween = ", \t\r\n";
  const int32_t count = model.tokenizer.vocab_size();
  std::vector<int32_t> ids;
  while (true) {
    text.remove_prefix(std::min(text.find_first_not_of(kBetween), text.size()));
    if (text.empty()) return ids;
    const std::string_view word = text.substr(0, text.find_first_of(kBetween));
    const char* const end = word.data() + word.size();
    int32_t id = -1;
    const auto [stopped, error] = std::from_chars(word.data(), end, id);
    if (error != std::errc() || stopped != end || id < 0 || id >= count)
      throw InvalidArgument("'{}' is no token id; those of this model run from 0 to {}", word, count - 1);
    ids.push_back(id);
    text.remove_prefix(word.size());
  }
}

std::vector<int32_t> encode_chat(const models::LanguageModel& model, const std::vector<ChatMessage>& messages) {
  const TokenizerSpec& spec = model.tokenizer.spec();
  const std::string mark = unused_mark(messages);
  std::vector<ChatMessage> marked = messages;
  for (ChatMessage& message : marked) message.content = mark_names(model.tokenizer, message.content, mark);
  std::string text = render_chat(
      chat_template_of(spec), marked,
      {.bos_token = name_of(model.tokenizer, spec.bos_id), .eos_token = name_of(model.tokenizer, spec.eos_id)});
  const std::vector<size_t> plain = remove_marks(text, mark);
  auto ids = model.tokenizer.encode(text, {.add_special = false, .parse_special = true, .plain_at = plain});
  put_bos_once(model.tokenizer, ids);
  return ids;
}

std::vector<TokenPiece> tokenize(const Tokenizer& tokenizer, std::string_view text, TokenizeOptions options) {
  std::vector<TokenPiece> pieces;
  for (const int32_t id :
       tokenizer.encode(text, {.add_special = options.add_bos, .parse_special = options.parse_special}))
    pieces.push_back({id, tokenizer.token_text(id)});
  return pieces;
}

std::string quote_piece(std::string_view bytes) {
  std::string quoted = "\"";
  while (!bytes.empty()) {
    const Utf8Char next = utf8_next(bytes);
    const auto first = static_cast<unsigned char>(bytes.front());
    if (next.state != Utf8State::Valid || first < 0x20 || first == 0x7f) {
      if (first == '\n')
        quoted += "\\n";
      else
        for (uint32_t i = 0; i < next.length; ++i)
          quoted += fmt::format("\\x{:02x}", static_cast<unsigned char>(bytes[i]));
    } else {
      if (first == '"' || first == '\\') quoted += '\\';
      quoted += bytes.substr(0, next.length);
    }
    bytes.remove_prefix(next.length);
  }
  return quoted + "\"";
}

}  // namespace halftone::engine
