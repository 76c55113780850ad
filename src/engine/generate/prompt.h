// From what a user typed to the token ids that a model starts from.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "io/chat_template.h"

namespace halftone {
class Tokenizer;
}

namespace halftone::models {
struct LanguageModel;
}

namespace halftone::engine {

/// Ids of `text`, with the model's BOS in front where it wants one, once. `parse_special` reads names of control tokens
/// ("<|im_start|>") as those tokens.
std::vector<int32_t> encode_prompt(const models::LanguageModel& model, std::string_view text, bool parse_special);

/// Ids that `text` lists, with spaces, commas or line feeds between them. Throws InvalidArgument for what is no id.
std::vector<int32_t> parse_ids(const models::LanguageModel& model, std::string_view text);

/// Ids of the conversation in the model's chat template, up to where the assistant's answer starts. Control tokens come
/// from the template alone: their names within a message are plain text, so that nobody can forge a turn. Throws
/// Unsupported when the model has no template and none is known for its special tokens.
std::vector<int32_t> encode_chat(const models::LanguageModel& model, const std::vector<ChatMessage>& messages);

struct TokenizeOptions {
  bool add_bos = true;  ///< where the model wants it
  bool parse_special = true;
};

struct TokenPiece {
  int32_t id;
  std::string text;  ///< bytes; may be a part of a character
};

/// Ids and bytes of the tokens of `text`.
std::vector<TokenPiece> tokenize(const Tokenizer& tokenizer, std::string_view text, TokenizeOptions options);

/// `bytes` in quotes, with control characters and bytes that are no whole characters as \xHH.
std::string quote_piece(std::string_view bytes);

}  // namespace halftone::engine
