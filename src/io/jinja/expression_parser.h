// The half of the parser that reads expressions, with Jinja 3's precedences; parser.cpp derives the statements from it.
// Depth is counted twice: in the calls, and in the tree, since `a + b + c ...` grows the tree without nesting calls.
#pragma once

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "io/jinja/ast.h"
#include "io/jinja/token_cursor.h"

namespace halftone::jinja {

/// Reads one expression at the cursor; throws InvalidArgument with the line for a syntax error or too deep a nesting,
/// Unsupported for chained comparisons and * arguments.
class ExpressionParser : protected TokenCursor {
 protected:
  explicit ExpressionParser(std::string_view source) : TokenCursor(source) {}

  /// An expression, or several separated by commas as a list.
  ExprPtr parse_tuple(bool with_ternary = true);
  ExprPtr parse_expression();
  /// Filters, tests and calls behind an operand.
  ExprPtr parse_filters(ExprPtr node);

  ExprPtr make(ExprKind kind, int line, std::string text = {}) const {
    return std::make_unique<Expr>(Expr{.kind = kind, .line = line, .text = std::move(text)});
  }

 private:
  void add(ExprPtr& parent, ExprPtr child) const {
    if (child) {
      parent->depth = std::max(parent->depth, child->depth + 1);
      if (parent->depth > kMaxDepth) fail("an expression nests deeper than {}", kMaxDepth);
    }
    parent->args.push_back(std::move(child));
  }
  template <class... Children>
  ExprPtr make_of(ExprKind kind, int line, std::string text, Children... children) const {
    ExprPtr node = make(kind, line, std::move(text));
    (add(node, std::move(children)), ...);
    return node;
  }

  /// A left-associative level: operands by `next`, operators as long as `take_operator` yields one.
  template <class Next, class TakeOperator>
  ExprPtr parse_binary(const Next& next, const TakeOperator& take_operator);
  template <size_t N>
  std::string take_any_op(const std::array<std::string_view, N>& ops);

  ExprPtr parse_or();
  ExprPtr parse_and();
  ExprPtr parse_not();
  ExprPtr parse_compare();
  ExprPtr parse_sum();
  ExprPtr parse_concat();
  ExprPtr parse_product();
  ExprPtr parse_power();
  ExprPtr parse_unary(bool with_filters);
  ExprPtr parse_primary();

  ExprPtr literal(Value value, int line) const;
  template <class Number>
  Number parse_number();
  ExprPtr parse_items(ExprKind kind, std::string_view closing, int line);

  ExprPtr parse_postfix(ExprPtr node);
  ExprPtr parse_subscript(ExprPtr object, int line);
  /// `(a, b, name=c)` into args and named.
  void parse_arguments(ExprPtr& node);
  ExprPtr parse_test(ExprPtr node, int line);
};

}  // namespace halftone::jinja
