// Expressions of the template interpreter; see interpreter.h.
#include <algorithm>
#include <array>
#include <ctime>

#include "io/jinja/interpreter.h"
#include "io/utf8.h"

namespace halftone::jinja {
namespace {

// Functions that every template sees; a variable of the same name hides them.
const std::array<MacroNode, 5>& builtins() {
  static const std::array<MacroNode, 5> kBuiltins{MacroNode{.name = "range"}, MacroNode{.name = "namespace"},
                                                  MacroNode{.name = "dict"}, MacroNode{.name = "raise_exception"},
                                                  MacroNode{.name = "strftime_now"}};
  return kBuiltins;
}

bool is_builtin(const MacroNode* macro) { return macro >= builtins().data() && macro < builtins().data() + 5; }

bool contains(const Value& container, const Value& item, Context& context) {
  const Arguments arguments{{item, container}, {}};
  return apply_test("in", arguments, context);
}

}  // namespace

Value Interpreter::evaluate(const Expr& expr) {
  const Context::Nesting nesting(context_);
  context_.line = expr.line;
  context_.spend_steps(1);
  return evaluate_kind(expr);
}

Value Interpreter::evaluate_kind(const Expr& expr) {
  switch (expr.kind) {
    case ExprKind::Literal:
      return expr.value;
    case ExprKind::Name:
      return evaluate_name(expr.text);
    case ExprKind::ListOf:
      return Value::list(evaluate_arguments(expr, true).positional, !expr.text.empty());
    case ExprKind::DictOf:
      return evaluate_dict(expr);
    case ExprKind::Attribute:
      return evaluate_attribute(expr);
    case ExprKind::Index:
      return evaluate_index(expr);
    case ExprKind::Slice:
      return evaluate_slice(expr);
    case ExprKind::Call:
      return evaluate_call(expr);
    case ExprKind::Filter: {
      const Arguments arguments = evaluate_arguments(expr, true);
      Value result = apply_filter(expr.text, arguments, context_);
      if (result.string()) context_.spend_bytes(result.string()->size());
      return result;
    }
    case ExprKind::Test:
      return Value(apply_test(expr.text, evaluate_arguments(expr, true), context_));
    case ExprKind::Unary:
      return evaluate_unary(expr);
    case ExprKind::Binary:
      return evaluate_binary(expr);
    case ExprKind::Concat: {
      std::string text;
      for (const ExprPtr& part : expr.args) {
        text += to_text(evaluate(*part), context_);
        context_.check_bytes(text.size());
      }
      context_.spend_bytes(text.size());
      return Value(std::move(text));
    }
    case ExprKind::Ternary:
      if (evaluate(*expr.args[1]).truthy()) return evaluate(*expr.args[0]);
      return expr.args[2] ? evaluate(*expr.args[2]) : Value(Undefined{"the else of an inline if"});
  }
  return Value();
}

Value Interpreter::evaluate_dict(const Expr& expr) {
  Dict items;
  for (size_t i = 0; i < expr.args.size(); i += 2) {
    Value key = evaluate(*expr.args[i]), value = evaluate(*expr.args[i + 1]);
    if (key.list() || key.dict()) context_.fail("a {} cannot be the key of a dictionary", key.type_name());
    const auto same = [&](const auto& entry) { return equal(entry.first, key, context_); };
    const auto known = std::find_if(items.begin(), items.end(), same);
    if (known == items.end())
      items.emplace_back(std::move(key), std::move(value));
    else
      known->second = std::move(value);
  }
  return Value::dict(std::move(items));
}

Value Interpreter::evaluate_name(const std::string& name) const {
  for (int frame = static_cast<int>(frames_.size()) - 1; frame >= 0; frame = frames_[frame].parent)
    for (const auto& [known, value] : frames_[frame].variables)
      if (known == name) return value;
  for (const MacroNode& builtin : builtins())
    if (builtin.name == name) return Value(&builtin);
  return Value(Undefined{name});
}

Value Interpreter::evaluate_attribute(const Expr& expr) {
  const Value object = evaluate(*expr.args[0]);
  context_.line = expr.line;
  if (const Undefined* undefined = object.get_if<Undefined>())
    context_.fail("'{}' is undefined, so it has no attribute '{}'", undefined->name, expr.text);
  const Value* found = find_member(object, expr.text);
  return found ? *found : Value(Undefined{expr.text});
}

Value Interpreter::evaluate_index(const Expr& expr) {
  const Value object = evaluate(*expr.args[0]), index = evaluate(*expr.args[1]);
  context_.line = expr.line;
  if (const Undefined* undefined = object.get_if<Undefined>())
    context_.fail("'{}' is undefined, so it has no items", undefined->name);
  int64_t at = 0;
  if ((object.list() || object.string()) && index.to_integer(at)) {
    context_.spend_look(object.string() ? object : Value());
    const auto size = static_cast<int64_t>(object.list() ? object.list()->size() : utf8_length(*object.string()));
    if (at < 0) at += size;
    if (at < 0 || at >= size) return Value(Undefined{"item " + to_text(index, context_)});
    if (object.list()) return (*object.list())[static_cast<size_t>(at)];
    std::string_view rest = *object.string();
    for (; at > 0; --at) rest.remove_prefix(utf8_next(rest).length);
    return Value(rest.substr(0, utf8_next(rest).length));
  }
  context_.spend_look(object.dict() ? object : Value());
  const Value* found = find_member(object, index, context_);
  return found ? *found : Value(Undefined{to_text(index, context_)});
}

// Python's slice.indices: bounds clamp to the length, and a negative step walks backwards.
Value Interpreter::evaluate_slice(const Expr& expr) {
  const Value object = evaluate(*expr.args[0]);
  if (!object.list() && !object.string()) context_.fail("a {} cannot be sliced", object.type_name());
  const List items = iterate(object, context_);
  const auto size = static_cast<int64_t>(items.size());
  const auto part = [&](size_t index, int64_t missing) {
    const Value value = expr.args[index] ? evaluate(*expr.args[index]) : Value();
    int64_t number = missing;
    if (!value.is_none() && !value.to_integer(number))
      context_.fail("a slice wants integers, got a {}", value.type_name());
    return std::clamp<int64_t>(number, -INT32_MAX, INT32_MAX);
  };
  const int64_t step = part(3, 1);
  if (step == 0) context_.fail("the step of a slice is 0");
  const int64_t lowest = step > 0 ? 0 : -1, highest = step > 0 ? size : size - 1;
  const auto bound = [&](size_t index, int64_t missing) {
    constexpr int64_t kMissing = INT32_MAX;
    int64_t at = part(index, kMissing);
    if (at == kMissing) return missing;
    if (at < 0) at += size;
    return std::clamp(at, lowest, highest);
  };
  const int64_t begin = bound(1, step > 0 ? 0 : size - 1), end = bound(2, step > 0 ? size : -1);
  List picked;
  for (int64_t at = begin; step > 0 ? at < end : at > end; at += step) picked.push_back(items[static_cast<size_t>(at)]);
  if (object.list()) return Value::list(std::move(picked));
  std::string text;
  for (const Value& unit : picked) text += *unit.string();
  context_.spend_bytes(text.size());
  return Value(std::move(text));
}

Value Interpreter::evaluate_unary(const Expr& expr) {
  const Value operand = evaluate(*expr.args[0]);
  if (expr.text == "not") return Value(!operand.truthy());
  return arithmetic(expr.text, Value(int64_t{0}), operand, context_);
}

Value Interpreter::evaluate_binary(const Expr& expr) {
  const std::string& op = expr.text;
  Value left = evaluate(*expr.args[0]);
  if (op == "and" || op == "or") return left.truthy() == (op == "and") ? evaluate(*expr.args[1]) : left;
  const Value right = evaluate(*expr.args[1]);
  context_.line = expr.line;
  context_.spend_look(left);
  context_.spend_look(right);
  if (op == "==") return Value(equal(left, right, context_));
  if (op == "!=") return Value(!equal(left, right, context_));
  if (op == "<") return Value(less(left, right, context_));
  if (op == ">") return Value(less(right, left, context_));
  if (op == "<=") return Value(!less(right, left, context_));
  if (op == ">=") return Value(!less(left, right, context_));
  if (op == "in") return Value(contains(right, left, context_));
  if (op == "not in") return Value(!contains(right, left, context_));
  Value result = arithmetic(op, left, right, context_);
  if (result.string()) context_.spend_bytes(result.string()->size());
  return result;
}

Arguments Interpreter::evaluate_arguments(const Expr& expr, bool with_subject) {
  Arguments arguments;
  for (size_t i = with_subject ? 0 : 1; i < expr.args.size(); ++i) {
    arguments.positional.push_back(evaluate(*expr.args[i]));
    context_.spend_look(arguments.positional.back());
  }
  for (const auto& [name, value] : expr.named) arguments.named.emplace_back(name, evaluate(*value));
  context_.line = expr.line;
  return arguments;
}

Value Interpreter::evaluate_call(const Expr& expr) {
  const Expr& callee = *expr.args[0];
  Value function;
  if (callee.kind == ExprKind::Attribute) {
    const Value object = evaluate(*callee.args[0]);
    Arguments arguments = evaluate_arguments(expr, false);
    if (const Undefined* undefined = object.get_if<Undefined>())
      context_.fail("'{}' is undefined, so it has no method '{}'", undefined->name, callee.text);
    arguments.positional.insert(arguments.positional.begin(), object);
    context_.spend_look(object);
    if (std::optional<Value> result = call_method(callee.text, arguments, context_)) {
      if (result->string()) context_.spend_bytes(result->string()->size());
      return *std::move(result);
    }
    const Value* member = find_member(object, callee.text);
    if (!member || !member->get_if<const MacroNode*>())
      context_.fail("a {} has no method '{}'", object.type_name(), callee.text);
    function = *member;
  } else {
    function = evaluate(callee);
  }
  const auto* macro = function.get_if<const MacroNode*>();
  if (!macro) {
    if (const Undefined* undefined = function.get_if<Undefined>())
      context_.fail("there is no function '{}'", undefined->name);
    context_.fail("a {} cannot be called", function.type_name());
  }
  const Arguments arguments = evaluate_arguments(expr, false);
  return is_builtin(*macro) ? call_builtin(**macro, arguments) : call_macro(**macro, arguments);
}

Value Interpreter::call_builtin(const MacroNode& builtin, const Arguments& arguments) {
  if (builtin.name == "range") return make_range(arguments);
  if (builtin.name == "namespace") return make_namespace(arguments);
  if (builtin.name == "strftime_now") return format_time(arguments);
  if (builtin.name == "raise_exception") {
    const Value* message = arguments.find(0, "message");
    context_.fail("the template refuses this conversation: {}",
                  message ? to_text(*message, context_) : std::string("no reason given"));
  }
  Dict items;
  for (const auto& [name, value] : arguments.named) items.emplace_back(Value(name), value);
  return Value::dict(std::move(items));
}

Value Interpreter::make_range(const Arguments& arguments) {
  constexpr int64_t kMaxRange = 100'000;  // as in Jinja's sandbox
  std::array<int64_t, 3> parts{0, 0, 1};
  const size_t count = arguments.positional.size();
  if (count < 1 || count > 3) context_.fail("range takes 1 to 3 arguments, not {}", count);
  for (size_t i = 0; i < count; ++i)
    if (!arguments.positional[i].to_integer(parts[count == 1 ? 1 : i]))
      context_.fail("range wants integers, got a {}", arguments.positional[i].type_name());
  const auto [begin, end, step] = parts;
  if (step == 0) context_.fail("the step of range is 0");
  List numbers;
  for (int64_t at = begin; step > 0 ? at < end : at > end;) {
    if (static_cast<int64_t>(numbers.size()) == kMaxRange)
      context_.fail("range({}, {}, {}) is longer than {}", begin, end, step, kMaxRange);
    numbers.emplace_back(at);
    if (__builtin_add_overflow(at, step, &at)) break;
  }
  context_.spend_steps(static_cast<int64_t>(numbers.size()));
  return Value::list(std::move(numbers));
}

Value Interpreter::make_namespace(const Arguments& arguments) {
  auto box = std::make_shared<NamespaceBox>();
  for (const Value& base : arguments.positional) {
    if (!base.dict()) context_.fail("namespace() takes names or a dictionary, not a {}", base.type_name());
    for (const auto& [key, value] : *base.dict()) box->items.emplace_back(to_text(key, context_), value);
  }
  for (const auto& [name, value] : arguments.named) box->items.emplace_back(name, value);
  namespaces_.push_back(box);
  return Value(std::move(box));
}

Value Interpreter::format_time(const Arguments& arguments) {
  const Value* format = arguments.find(0, "format");
  if (!format || !format->string() || format->string()->size() > 256)
    context_.fail("strftime_now wants a format of at most 256 bytes");
  const std::time_t now = unix_time_;
  std::tm local{};
  if (!localtime_r(&now, &local)) context_.fail("the time {} has no calendar date", unix_time_);
  std::array<char, 4096> text{};
  const size_t length = std::strftime(text.data(), text.size(), format->string()->c_str(), &local);
  return Value(std::string_view(text.data(), length));
}

}  // namespace halftone::jinja
