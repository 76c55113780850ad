// Expressions by recursive descent, one function for each level of Jinja 3's precedences; see expression_parser.h.
#include "io/jinja/expression_parser.h"

#include <algorithm>
#include <charconv>
#include <system_error>

namespace halftone::jinja {

ExprPtr ExpressionParser::parse_tuple(bool with_ternary) {
  const int line = peek().line;
  const auto item = [&] { return with_ternary ? parse_expression() : parse_or(); };
  ExprPtr first = item();
  if (!is_op(",")) return first;
  ExprPtr tuple = make_of(ExprKind::ListOf, line, "tuple", std::move(first));
  while (take_op(",")) {
    if (peek().kind == TokenKind::BlockEnd || peek().kind == TokenKind::VariableEnd || is_op(")")) break;
    add(tuple, item());
  }
  return tuple;
}

ExprPtr ExpressionParser::parse_expression() {
  const Nesting nesting(*this);
  ExprPtr node = parse_or();
  while (is_name("if")) {
    const int line = take().line;
    ExprPtr condition = parse_or();
    ExprPtr otherwise = take_name("else") ? parse_expression() : nullptr;
    node = make_of(ExprKind::Ternary, line, "", std::move(node), std::move(condition), std::move(otherwise));
  }
  return node;
}

template <class Next, class TakeOperator>
ExprPtr ExpressionParser::parse_binary(const Next& next, const TakeOperator& take_operator) {
  ExprPtr node = next();
  while (true) {
    const int line = peek().line;
    std::string op = take_operator();
    if (op.empty()) return node;
    node = make_of(ExprKind::Binary, line, std::move(op), std::move(node), next());
  }
}

template <size_t N>
std::string ExpressionParser::take_any_op(const std::array<std::string_view, N>& ops) {
  if (peek().kind == TokenKind::Operator && std::find(ops.begin(), ops.end(), peek().text) != ops.end())
    return take().text;
  return {};
}

ExprPtr ExpressionParser::parse_or() {
  return parse_binary([&] { return parse_and(); }, [&] { return std::string(take_name("or") ? "or" : ""); });
}

ExprPtr ExpressionParser::parse_and() {
  return parse_binary([&] { return parse_not(); }, [&] { return std::string(take_name("and") ? "and" : ""); });
}

ExprPtr ExpressionParser::parse_not() {
  const Nesting nesting(*this);
  const int line = peek().line;
  if (take_name("not")) return make_of(ExprKind::Unary, line, "not", parse_not());
  return parse_compare();
}

ExprPtr ExpressionParser::parse_compare() {
  static constexpr std::array<std::string_view, 6> kOps{"==", "!=", "<", "<=", ">", ">="};
  const auto take_operator = [&]() -> std::string {
    if (is_name("not") && is(TokenKind::Name, "in", 1)) return take(), take(), "not in";
    if (take_name("in")) return "in";
    return take_any_op(kOps);
  };
  ExprPtr left = parse_sum();
  const int line = peek().line;
  std::string op = take_operator();
  if (op.empty()) return left;
  ExprPtr node = make_of(ExprKind::Binary, line, std::move(op), std::move(left), parse_sum());
  if (!(op = take_operator()).empty())
    throw Unsupported("chat template, line {}: chained comparisons are not supported; join them with 'and'", line);
  return node;
}

ExprPtr ExpressionParser::parse_sum() {
  static constexpr std::array<std::string_view, 2> kOps{"+", "-"};
  return parse_binary([&] { return parse_concat(); }, [&] { return take_any_op(kOps); });
}

ExprPtr ExpressionParser::parse_concat() {
  ExprPtr node = parse_product();
  if (!is_op("~")) return node;
  const int line = node->line;
  node = make_of(ExprKind::Concat, line, "", std::move(node));
  while (take_op("~")) add(node, parse_product());
  return node;
}

ExprPtr ExpressionParser::parse_product() {
  static constexpr std::array<std::string_view, 4> kOps{"*", "/", "//", "%"};
  return parse_binary([&] { return parse_power(); }, [&] { return take_any_op(kOps); });
}

ExprPtr ExpressionParser::parse_power() {
  static constexpr std::array<std::string_view, 1> kOps{"**"};
  return parse_binary([&] { return parse_unary(true); }, [&] { return take_any_op(kOps); });
}

ExprPtr ExpressionParser::parse_unary(bool with_filters) {
  const Nesting nesting(*this);
  const int line = peek().line;
  ExprPtr node;
  if (is_op("-") || is_op("+")) {
    std::string op = take().text;
    node = make_of(ExprKind::Unary, line, std::move(op), parse_unary(false));
  } else {
    node = parse_postfix(parse_primary());
  }
  return with_filters ? parse_filters(std::move(node)) : std::move(node);
}

ExprPtr ExpressionParser::literal(Value value, int line) const {
  ExprPtr node = make(ExprKind::Literal, line);
  node->value = std::move(value);
  return node;
}

ExprPtr ExpressionParser::parse_primary() {
  const int line = peek().line;
  if (peek().kind == TokenKind::Name) {
    std::string name = take().text;
    if (name == "true" || name == "True") return literal(Value(true), line);
    if (name == "false" || name == "False") return literal(Value(false), line);
    if (name == "none" || name == "None") return literal(Value(), line);
    return make(ExprKind::Name, line, std::move(name));
  }
  if (peek().kind == TokenKind::String) {
    std::string text = take().text;
    while (peek().kind == TokenKind::String) text += take().text;
    return literal(Value(std::move(text)), line);
  }
  if (peek().kind == TokenKind::Integer) return literal(Value(parse_number<int64_t>()), line);
  if (peek().kind == TokenKind::Float) return literal(Value(parse_number<double>()), line);
  if (take_op("(")) {
    if (take_op(")")) return make(ExprKind::ListOf, line, "tuple");
    ExprPtr node = parse_tuple();
    expect_op(")");
    return node;
  }
  if (take_op("[")) return parse_items(ExprKind::ListOf, "]", line);
  if (take_op("{")) return parse_items(ExprKind::DictOf, "}", line);
  fail("expected an expression, found '{}'", peek().text);
}

template <class Number>
Number ExpressionParser::parse_number() {
  Number value{};
  const std::string& text = peek().text;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (status != std::errc{} || end != text.data() + text.size()) fail("the number {} is out of range", text);
  take();
  return value;
}

ExprPtr ExpressionParser::parse_items(ExprKind kind, std::string_view closing, int line) {
  ExprPtr node = make(kind, line);
  while (!take_op(closing)) {
    if (!node->args.empty()) {
      expect_op(",");
      if (take_op(closing)) break;
    }
    add(node, parse_expression());
    if (kind != ExprKind::DictOf) continue;
    expect_op(":");
    add(node, parse_expression());
  }
  return node;
}

ExprPtr ExpressionParser::parse_postfix(ExprPtr node) {
  while (peek().kind == TokenKind::Operator) {
    const int line = peek().line;
    if (take_op(".")) {
      if (peek().kind == TokenKind::Integer) {
        ExprPtr index = literal(Value(parse_number<int64_t>()), line);
        node = make_of(ExprKind::Index, line, "", std::move(node), std::move(index));
      } else {
        std::string name = expect_identifier();
        node = make_of(ExprKind::Attribute, line, std::move(name), std::move(node));
      }
    } else if (take_op("[")) {
      node = parse_subscript(std::move(node), line);
    } else if (is_op("(")) {
      node = make_of(ExprKind::Call, line, "", std::move(node));
      parse_arguments(node);
    } else {
      break;
    }
  }
  return node;
}

ExprPtr ExpressionParser::parse_subscript(ExprPtr object, int line) {
  ExprPtr first = is_op(":") ? nullptr : parse_expression();
  if (take_op("]")) {
    if (!first) fail("an index is missing");
    return make_of(ExprKind::Index, line, "", std::move(object), std::move(first));
  }
  ExprPtr node = make_of(ExprKind::Slice, line, "", std::move(object), std::move(first));
  for (int part = 0; part < 2; ++part) {
    const bool present = take_op(":") && !is_op(":") && !is_op("]");
    add(node, present ? parse_expression() : nullptr);
  }
  expect_op("]");
  return node;
}

void ExpressionParser::parse_arguments(ExprPtr& node) {
  expect_op("(");
  while (!take_op(")")) {
    if (is_op("*") || is_op("**"))
      throw Unsupported("chat template, line {}: * arguments are not supported", node->line);
    if (peek().kind == TokenKind::Name && is(TokenKind::Operator, "=", 1)) {
      std::string name = take().text;
      take();
      ExprPtr value = parse_expression();
      node->depth = std::max(node->depth, value->depth + 1);
      node->named.emplace_back(std::move(name), std::move(value));
    } else {
      if (!node->named.empty()) fail("a positional argument follows a named one");
      add(node, parse_expression());
    }
    if (!is_op(")")) expect_op(",");
  }
}

ExprPtr ExpressionParser::parse_filters(ExprPtr node) {
  while (true) {
    const int line = peek().line;
    if (take_op("|")) {
      std::string name = expect_identifier();
      node = make_of(ExprKind::Filter, line, std::move(name), std::move(node));
      if (is_op("(")) parse_arguments(node);
    } else if (take_name("is")) {
      node = parse_test(std::move(node), line);
    } else if (is_op("(")) {
      node = make_of(ExprKind::Call, line, "", std::move(node));
      parse_arguments(node);
    } else {
      return node;
    }
  }
}

ExprPtr ExpressionParser::parse_test(ExprPtr node, int line) {
  const bool negated = take_name("not");
  std::string name = expect_identifier();
  node = make_of(ExprKind::Test, line, std::move(name), std::move(node));
  static constexpr std::array<std::string_view, 7> kNotArguments{"else", "or", "and", "is", "if", "not", "in"};
  const Token& next = peek();
  const bool name_argument = next.kind == TokenKind::Name &&
                             std::find(kNotArguments.begin(), kNotArguments.end(), next.text) == kNotArguments.end();
  if (is_op("("))
    parse_arguments(node);
  else if (name_argument || next.kind == TokenKind::String || next.kind == TokenKind::Integer ||
           next.kind == TokenKind::Float || is_op("[") || is_op("{"))
    add(node, parse_postfix(parse_primary()));
  return negated ? make_of(ExprKind::Unary, line, "not", std::move(node)) : std::move(node);
}

}  // namespace halftone::jinja
