// The template lexer; see lexer.h.
#include "io/jinja/lexer.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "io/utf8.h"

namespace halftone::jinja {
namespace {

constexpr std::string_view kSpaces = " \t\n\r\f\v";

bool is_name_start(char c) { return std::isalpha(static_cast<unsigned char>(c)) || c == '_' || (c & 0x80); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

class Lexer {
 public:
  explicit Lexer(std::string_view source) {
    for (size_t i = 0; i < source.size(); ++i) {  // all newlines are \n inside
      if (source[i] != '\r')
        source_.push_back(source[i]);
      else if (i + 1 == source.size() || source[i + 1] != '\n')
        source_.push_back('\n');
    }
    if (source_.ends_with('\n')) source_.pop_back();
  }

  std::vector<Token> run() {
    while (at_ < source_.size()) lex_text();
    add(TokenKind::End, "end of template");
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail(int line, const std::string& what) const {
    throw InvalidArgument("chat template, line {}: {}", line, what);
  }
  std::string_view rest() const { return std::string_view(source_).substr(std::min(at_, source_.size())); }
  void add(TokenKind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }
  void advance(size_t count) {
    for (const char c : rest().substr(0, count)) line_ += c == '\n';
    at_ += count;
  }
  void skip_spaces() { advance(std::min(rest().find_first_not_of(kSpaces), rest().size())); }
  /// The sign directly behind a tag's opening, or 0.
  char take_sign() {
    const char c = at_ < source_.size() ? source_[at_] : '\0';
    if (c != '-' && c != '+') return '\0';
    advance(1);
    return c;
  }

  void lex_text() {
    const bool line_starting = at_ == 0 || source_[at_ - 1] == '\n';
    size_t begin = at_;
    while ((begin = source_.find('{', begin)) != std::string::npos && begin + 1 < source_.size() &&
           std::string_view("{%#").find(source_[begin + 1]) == std::string_view::npos)
      ++begin;
    if (begin == std::string::npos || begin + 1 >= source_.size()) {
      add(TokenKind::Text, std::string(rest()));
      return advance(rest().size());
    }
    std::string text = source_.substr(at_, begin - at_);
    const int text_line = line_;
    advance(text.size());
    const char kind = source_[begin + 1];
    advance(2);
    const char sign = take_sign();
    if (sign == '-') {
      text.erase(text.find_last_not_of(kSpaces) + 1);
    } else if (sign != '+' && kind != '{') {
      const size_t line_begin = text.rfind('\n') + 1;  // npos + 1 is 0
      if ((line_begin > 0 || line_starting) && text.find_first_not_of(" \t", line_begin) == std::string::npos)
        text.erase(line_begin);
    }
    if (!text.empty()) tokens_.push_back({TokenKind::Text, std::move(text), text_line});
    if (kind == '#') return lex_comment();
    if (kind == '%' && lex_raw()) return;
    add(kind == '{' ? TokenKind::VariableBegin : TokenKind::BlockBegin, kind == '{' ? "{{" : "{%");
    lex_tag(kind == '{' ? "}}" : "%}", kind == '{' ? TokenKind::VariableEnd : TokenKind::BlockEnd);
  }

  void lex_comment() {
    const int line = line_;
    const size_t end = rest().find("#}");
    if (end == std::string_view::npos) fail(line, "a comment is not closed with #}");
    const char sign = end > 0 ? rest()[end - 1] : '\0';
    advance(end + 2);
    finish_tag(sign, true);
  }

  /// White space behind a closed tag; block tags and comments swallow one newline.
  void finish_tag(char sign, bool swallows_newline) {
    if (sign == '-')
      skip_spaces();
    else if (sign != '+' && swallows_newline && rest().starts_with('\n'))
      advance(1);
  }

  // {% raw %} ... {% endraw %}: at_ is behind "{%" and its sign.
  bool lex_raw() {
    const size_t saved_at = at_;
    const int line = line_;
    skip_spaces();
    const auto is_raw = [&] {
      if (!rest().starts_with("raw")) return false;
      advance(3);
      skip_spaces();
      return rest().starts_with("%}") || rest().starts_with("-%}");
    };
    if (!is_raw()) {
      at_ = saved_at;
      line_ = line;
      return false;
    }
    if (rest()[0] == '-') {
      advance(3);
      skip_spaces();
    } else {
      advance(2);
    }
    for (size_t open = 0; (open = rest().find("{%", open)) != std::string_view::npos; open += 2) {
      size_t at = open + 2;
      const char sign = at < rest().size() ? rest()[at] : '\0';
      if (sign == '-' || sign == '+') ++at;
      at = rest().find_first_not_of(kSpaces, at);
      if (at == std::string_view::npos || !rest().substr(at).starts_with("endraw")) continue;
      at = rest().find_first_not_of(kSpaces, at + 6);
      if (at == std::string_view::npos) break;
      const char end_sign = rest()[at] == '-' || rest()[at] == '+' ? rest()[at] : '\0';
      if (end_sign) ++at;
      if (!rest().substr(at).starts_with("%}")) continue;
      std::string text(rest().substr(0, open));
      if (sign == '-') {
        text.erase(text.find_last_not_of(kSpaces) + 1);
      } else if (sign != '+') {
        const size_t line_begin = text.rfind('\n') + 1;
        if (line_begin > 0 && text.find_first_not_of(" \t", line_begin) == std::string::npos) text.erase(line_begin);
      }
      if (!text.empty()) add(TokenKind::Text, std::move(text));
      advance(at + 2);
      finish_tag(end_sign, true);
      return true;
    }
    fail(line, "{% raw %} is not closed with {% endraw %}");
  }

  void lex_tag(std::string_view closing, TokenKind end_kind) {
    const int line = line_;
    std::string open_brackets;
    while (true) {
      skip_spaces();
      if (rest().empty()) fail(line, fmt::format("a tag is not closed with {}", closing));
      const char c = rest()[0];
      if (open_brackets.empty()) {
        const bool signed_end = (c == '-' || (c == '+' && closing == "%}")) && rest().substr(1).starts_with(closing);
        if (signed_end || rest().starts_with(closing)) {
          add(end_kind, std::string(closing));
          advance(closing.size() + signed_end);
          return finish_tag(signed_end ? c : '\0', closing == "%}");
        }
      }
      if (c == '"' || c == '\'')
        lex_string(c);
      else if (is_digit(c))
        lex_number();
      else if (is_name_start(c))
        lex_name();
      else
        lex_operator(open_brackets);
    }
  }

  void lex_name() {
    size_t end = 1;
    while (end < rest().size() && (is_name_start(rest()[end]) || is_digit(rest()[end]))) ++end;
    add(TokenKind::Name, std::string(rest().substr(0, end)));
    advance(end);
  }

  void lex_number() {
    size_t end = 0;
    const auto digits = [&] {
      while (end < rest().size() && (is_digit(rest()[end]) || rest()[end] == '_')) ++end;
    };
    const auto digit_at = [&](size_t i) { return i < rest().size() && is_digit(rest()[i]); };
    digits();
    bool is_float = false;
    if (end < rest().size() && rest()[end] == '.' && digit_at(end + 1)) {
      is_float = true;
      ++end;
      digits();
    }
    if (end < rest().size() && (rest()[end] == 'e' || rest()[end] == 'E')) {
      const size_t exponent = end + 1 + (end + 1 < rest().size() && (rest()[end + 1] == '-' || rest()[end + 1] == '+'));
      if (digit_at(exponent)) {
        is_float = true;
        end = exponent;
        digits();
      }
    }
    std::string text(rest().substr(0, end));
    std::erase(text, '_');
    add(is_float ? TokenKind::Float : TokenKind::Integer, std::move(text));
    advance(end);
  }

  void lex_string(char quote) {
    const int line = line_;
    std::string text;
    size_t at = 1;
    for (;; ++at) {
      if (at >= rest().size()) fail(line, "a string is not closed");
      const char c = rest()[at];
      if (c == quote) break;
      if (c == '\\' && at + 1 < rest().size())
        at = unescape(at + 1, text);
      else
        text.push_back(c);
    }
    tokens_.push_back({TokenKind::String, std::move(text), line});
    advance(at + 1);
  }

  /// Resolves the escape whose letter is at `at`, as Python does; returns the offset of its last character.
  size_t unescape(size_t at, std::string& text) const {
    const char c = rest()[at];
    static constexpr std::string_view kLetters = "ntrbfav0\\'\"", kValues("\n\t\r\b\f\a\v\0\\'\"", 11);
    const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (c == '\n') return at;
    if (digits == 0) {
      const size_t letter = kLetters.find(c);
      if (letter == std::string_view::npos)
        text.append({'\\', c});  // Python keeps an unknown escape
      else
        text.push_back(kValues[letter]);
      return at;
    }
    uint32_t code = 0;
    for (size_t i = 1; i <= digits; ++i) {
      const size_t digit = at + i < rest().size()
                               ? std::string_view("0123456789abcdef")
                                     .find(static_cast<char>(std::tolower(static_cast<unsigned char>(rest()[at + i]))))
                               : std::string_view::npos;
      if (digit == std::string_view::npos) fail(line_, fmt::format("\\{} wants {} hexadecimal digits", c, digits));
      code = code << 4 | static_cast<uint32_t>(digit);
    }
    if (code > 0x10FFFF) fail(line_, fmt::format("U+{:X} is no character", code));
    utf8_append(code >= 0xD800 && code < 0xE000 ? 0xFFFD : code, text);
    return at + digits;
  }

  void lex_operator(std::string& open_brackets) {
    static constexpr std::array<std::string_view, 6> kLong{"**", "//", "==", "!=", ">=", "<="};
    std::string_view text = rest().substr(0, 1);
    for (const std::string_view candidate : kLong)
      if (rest().starts_with(candidate)) text = rest().substr(0, 2);
    if (std::string_view("+-*/%~[](){}=<>.:|,!").find(text[0]) == std::string_view::npos || text == "!")
      fail(line_, fmt::format("unexpected character '{}'", text));
    if (text == "(" || text == "[" || text == "{") {
      open_brackets.push_back(text[0] == '(' ? ')' : text[0] == '[' ? ']' : '}');
    } else if (text == ")" || text == "]" || text == "}") {
      if (open_brackets.empty() || open_brackets.back() != text[0]) fail(line_, fmt::format("unexpected '{}'", text));
      open_brackets.pop_back();
    }
    add(TokenKind::Operator, std::string(text));
    advance(text.size());
  }

  std::string source_;
  size_t at_ = 0;
  int line_ = 1;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) { return Lexer(source).run(); }

}  // namespace halftone::jinja
