// Splits a template into text, and the tokens inside {{ }} and {% %}. White space follows Jinja 3 with trim_blocks and
// lstrip_blocks on, as the Hugging Face chat templates are rendered: the newline after a block tag and the blanks
// before one that starts its line are dropped, "-" strips all white space, "+" keeps it, one newline at the very end
// goes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace halftone::jinja {

enum class TokenKind {
  Text,
  BlockBegin,
  BlockEnd,
  VariableBegin,
  VariableEnd,
  Name,
  String,
  Integer,
  Float,
  Operator,
  End
};

struct Token {
  TokenKind kind;
  std::string text;  // strings without quotes and with escapes resolved
  int line;
};

/// Ends with one End token. Throws InvalidArgument with the line for an unterminated tag, string or comment.
std::vector<Token> tokenize(std::string_view source);

}  // namespace halftone::jinja
