// The parser's place in a template's tokens: looking ahead, taking, expecting, and failing with the line. Both halves
// of the parser (expression_parser.h, parser.cpp) derive from it, so they share one place and one count of nesting.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "io/jinja/lexer.h"

namespace halftone::jinja {

/// Reads the tokens of `source`; every failure is an InvalidArgument that names the line.
class TokenCursor {
 protected:
  /// Deeper than any real template, and shallow enough for the stack that parsing, evaluating and destroying it take.
  static constexpr int kMaxDepth = 120;

  explicit TokenCursor(std::string_view source) : tokens_(tokenize(source)) {}

  const Token& peek(size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  Token take() {
    Token token = peek();
    if (at_ + 1 < tokens_.size()) ++at_;
    return token;
  }
  template <class... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    throw InvalidArgument("chat template, line {}: {}", peek().line, fmt::format(format, std::forward<Args>(args)...));
  }
  bool is(TokenKind kind, std::string_view text, size_t ahead = 0) const {
    return peek(ahead).kind == kind && peek(ahead).text == text;
  }
  bool is_op(std::string_view text) const { return is(TokenKind::Operator, text); }
  bool is_name(std::string_view text) const { return is(TokenKind::Name, text); }
  bool take_op(std::string_view text) { return is_op(text) && (take(), true); }
  bool take_name(std::string_view text) { return is_name(text) && (take(), true); }
  void expect_op(std::string_view text) {
    if (!take_op(text)) fail("expected '{}', found '{}'", text, peek().text);
  }
  void expect_name(std::string_view text) {
    if (!take_name(text)) fail("expected '{}', found '{}'", text, peek().text);
  }
  std::string expect_identifier() {
    if (peek().kind != TokenKind::Name) fail("expected a name, found '{}'", peek().text);
    return take().text;
  }
  void expect_kind(TokenKind kind, std::string_view what) {
    if (peek().kind != kind) fail("expected {}, found '{}'", what, peek().text);
    take();
  }

  /// Holds one level of the template's nesting for as long as it lives; throws InvalidArgument beyond kMaxDepth.
  struct Nesting {
    explicit Nesting(TokenCursor& cursor) : cursor(cursor) {
      if (++cursor.depth_ > kMaxDepth) cursor.fail("the template nests deeper than {}", kMaxDepth);
    }
    ~Nesting() { --cursor.depth_; }
    TokenCursor& cursor;
  };

 private:
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace halftone::jinja
