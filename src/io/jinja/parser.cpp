// Statements by recursive descent, over the expressions of expression_parser.h; see ast.h. Depth is limited where a
// template could nest, so that neither parsing nor the tree's destruction nor its evaluation runs out of stack.
#include <algorithm>
#include <array>
#include <iterator>
#include <memory>
#include <utility>

#include "io/jinja/ast.h"
#include "io/jinja/expression_parser.h"

namespace halftone::jinja {

namespace {

class Parser : private ExpressionParser {
 public:
  explicit Parser(std::string_view source) : ExpressionParser(source) {}

  Body parse() {
    Body body = parse_body({});
    if (peek().kind != TokenKind::End) fail("unexpected '{}'", peek().text);
    return body;
  }

 private:
  using Ends = std::vector<std::string_view>;

  /// Parses until a block tag whose name is in `ends` (left unread behind "{%"), or the end of the template.
  Body parse_body(const Ends& ends) {
    const Nesting nesting(*this);
    Body body;
    while (peek().kind != TokenKind::End) {
      const int line = peek().line;
      if (peek().kind == TokenKind::Text) {
        body.push_back({.kind = StmtKind::Text, .line = line, .text = take().text});
      } else if (peek().kind == TokenKind::VariableBegin) {
        take();
        Stmt stmt{.kind = StmtKind::Output, .line = line};
        stmt.exprs.push_back(parse_tuple());
        expect_kind(TokenKind::VariableEnd, "'}}'");
        body.push_back(std::move(stmt));
      } else {
        expect_kind(TokenKind::BlockBegin, "a tag");
        if (peek().kind == TokenKind::Name && std::find(ends.begin(), ends.end(), peek().text) != ends.end())
          return body;
        parse_statement(body);
      }
    }
    if (!ends.empty()) fail("the template ends where {{% {} %}} is wanted", ends.back());
    return body;
  }

  void end_tag() { expect_kind(TokenKind::BlockEnd, "'%}'"); }

  void parse_statement(Body& body) {
    const int line = peek().line;
    const std::string name = expect_identifier();
    if (name == "if") return parse_if(body, line);
    if (name == "for") return parse_for(body, line);
    if (name == "set") return parse_set(body, line);
    if (name == "macro") return parse_macro(body, line);
    if (name == "with") return parse_with(body, line);
    if (name == "generation") {  // marks the assistant's tokens for training; renders as its body
      end_tag();
      Body inner = parse_body({"endgeneration"});
      take();
      end_tag();
      std::move(inner.begin(), inner.end(), std::back_inserter(body));
      return;
    }
    if (name == "break" || name == "continue") {
      if (loop_depth_ == 0) fail("{{% {} %}} outside a loop", name);
      end_tag();
      body.push_back({.kind = name == "break" ? StmtKind::Break : StmtKind::Continue, .line = line});
      return;
    }
    static constexpr std::array<std::string_view, 10> kKnownElsewhere{
        "include", "import", "from", "extends", "block", "call", "filter", "autoescape", "do", "trans"};
    if (std::find(kKnownElsewhere.begin(), kKnownElsewhere.end(), name) != kKnownElsewhere.end())
      throw Unsupported("chat template, line {}: the statement {{% {} %}} is not supported", line, name);
    fail("unknown statement '{}'", name);
  }

  void parse_if(Body& body, int line) {
    Stmt stmt{.kind = StmtKind::If, .line = line};
    ExprPtr condition = parse_tuple();
    while (true) {
      end_tag();
      Branch branch{.condition = std::move(condition)};
      const bool is_else = !branch.condition;
      branch.body = is_else ? parse_body({"endif"}) : parse_body({"elif", "else", "endif"});
      stmt.branches.push_back(std::move(branch));
      const std::string end = take().text;
      if (end == "endif") break;
      condition = end == "elif" ? parse_tuple() : nullptr;
    }
    end_tag();
    body.push_back(std::move(stmt));
  }

  void parse_for(Body& body, int line) {
    Stmt stmt{.kind = StmtKind::For, .line = line};
    stmt.names = parse_targets();
    expect_name("in");
    stmt.exprs.push_back(parse_tuple(false));
    stmt.exprs.push_back(take_name("if") ? parse_expression() : nullptr);
    if (is_name("recursive")) throw Unsupported("chat template, line {}: recursive loops are not supported", line);
    end_tag();
    ++loop_depth_;
    stmt.branches.push_back({.condition = nullptr, .body = parse_body({"else", "endfor"})});
    --loop_depth_;
    if (take().text == "else") {
      end_tag();
      stmt.branches.push_back({.condition = nullptr, .body = parse_body({"endfor"})});
      take();
    }
    end_tag();
    body.push_back(std::move(stmt));
  }

  std::vector<std::string> parse_targets() {
    const bool bracketed = take_op("(");
    std::vector<std::string> names{expect_identifier()};
    while (take_op(",")) names.push_back(expect_identifier());
    if (bracketed) expect_op(")");
    return names;
  }

  void parse_set(Body& body, int line) {
    Stmt stmt{.kind = StmtKind::Set, .line = line};
    stmt.names = parse_targets();
    if (stmt.names.size() == 1 && take_op(".")) stmt.text = expect_identifier();
    if (take_op("=")) {
      stmt.exprs.push_back(parse_tuple());
      end_tag();
      body.push_back(std::move(stmt));
      return;
    }
    if (stmt.names.size() != 1) fail("expected '=', found '{}'", peek().text);
    stmt.kind = StmtKind::SetBlock;
    // Filters of a block set apply to its text, which the interpreter gives this name.
    ExprPtr filtered = parse_filters(make(ExprKind::Name, line, std::string(kBlockSetText)));
    if (filtered->kind == ExprKind::Filter) stmt.exprs.push_back(std::move(filtered));
    end_tag();
    stmt.branches.push_back({.condition = nullptr, .body = parse_body({"endset"})});
    take();
    end_tag();
    body.push_back(std::move(stmt));
  }

  void parse_macro(Body& body, int line) {
    auto macro = std::make_shared<MacroNode>();
    macro->name = expect_identifier();
    expect_op("(");
    while (!is_op(")")) {
      std::string name = expect_identifier();
      ExprPtr value = take_op("=") ? parse_expression() : nullptr;
      macro->parameters.emplace_back(std::move(name), std::move(value));
      if (!is_op(")")) expect_op(",");
    }
    expect_op(")");
    end_tag();
    const int loops = std::exchange(loop_depth_, 0);
    macro->body = parse_body({"endmacro"});
    loop_depth_ = loops;
    take();
    if (peek().kind == TokenKind::Name) take();  // {% endmacro name %}
    end_tag();
    Stmt stmt{.kind = StmtKind::Macro, .line = line};
    stmt.macro = std::move(macro);
    body.push_back(std::move(stmt));
  }

  void parse_with(Body& body, int line) {
    Stmt stmt{.kind = StmtKind::With, .line = line};
    while (peek().kind == TokenKind::Name) {
      stmt.names.push_back(expect_identifier());
      expect_op("=");
      stmt.exprs.push_back(parse_expression());
      if (!take_op(",")) break;
    }
    end_tag();
    stmt.branches.push_back({.condition = nullptr, .body = parse_body({"endwith"})});
    take();
    end_tag();
    body.push_back(std::move(stmt));
  }

  int loop_depth_ = 0;
};

}  // namespace

Body parse_template(std::string_view source) { return Parser(source).parse(); }

}  // namespace halftone::jinja
