// Arithmetic of template values; see interpreter.h.
#include <cmath>

#include "io/jinja/interpreter.h"

namespace halftone::jinja {
namespace {

[[noreturn]] void overflow(Context& context, std::string_view op) {
  context.fail("the result of {} does not fit in 64 bits", op);
}

int64_t power(int64_t base, int64_t exponent, Context& context) {
  int64_t result = 1;
  if (base == 0 || base == 1) return exponent == 0 ? 1 : base;
  if (base == -1) return exponent % 2 == 0 ? 1 : -1;
  for (; exponent > 0; --exponent)  // at most 63 rounds before |base| >= 2 overflows
    if (__builtin_mul_overflow(result, base, &result)) overflow(context, "**");
  return result;
}

Value integer_arithmetic(std::string_view op, int64_t x, int64_t y, Context& context) {
  int64_t result = 0;
  if (op == "+") {
    if (__builtin_add_overflow(x, y, &result)) overflow(context, op);
    return Value(result);
  }
  if (op == "-") {
    if (__builtin_sub_overflow(x, y, &result)) overflow(context, op);
    return Value(result);
  }
  if (op == "*") {
    if (__builtin_mul_overflow(x, y, &result)) overflow(context, op);
    return Value(result);
  }
  if (op == "**") {
    if (y < 0) return Value(std::pow(static_cast<double>(x), static_cast<double>(y)));
    return Value(power(x, y, context));
  }
  if (y == 0) context.fail("division by zero");
  if (op == "/") return Value(static_cast<double>(x) / static_cast<double>(y));
  if (y == -1) return op == "%" ? Value(int64_t{0}) : integer_arithmetic("-", 0, x, context);
  // Python rounds towards minus infinity.
  const bool rounds_down = x % y != 0 && (x < 0) != (y < 0);
  return op == "%" ? Value(x % y + (rounds_down ? y : 0)) : Value(x / y - (rounds_down ? 1 : 0));
}

Value real_arithmetic(std::string_view op, double x, double y, Context& context) {
  if (op == "+") return Value(x + y);
  if (op == "-") return Value(x - y);
  if (op == "*") return Value(x * y);
  if (op == "**") return Value(std::pow(x, y));
  if (y == 0) context.fail("division by zero");
  if (op == "/") return Value(x / y);
  if (op == "//") return Value(std::floor(x / y));
  return Value(x - y * std::floor(x / y));
}

Value repeat(const Value& value, int64_t times, Context& context) {
  const auto count = static_cast<size_t>(std::max<int64_t>(times, 0));
  if (const std::string* text = value.string()) {
    if (!text->empty() && count > static_cast<size_t>(context.bytes_left) / text->size()) context.check_bytes(SIZE_MAX);
    std::string out;
    if (!text->empty())
      for (size_t i = 0; i < count; ++i) out += *text;
    return Value(std::move(out));
  }
  const List& list = *value.list();
  if (!list.empty() && count > static_cast<size_t>(context.steps_left) / list.size())
    context.spend_steps(INT64_MAX / 2);
  context.spend_steps(static_cast<int64_t>(count * list.size()));
  List out;
  for (size_t i = 0; i < count && !list.empty(); ++i) out.insert(out.end(), list.begin(), list.end());
  return Value::list(std::move(out));
}

}  // namespace

Value arithmetic(std::string_view op, const Value& left, const Value& right, Context& context) {
  for (const Value* operand : {&left, &right})
    if (const Undefined* undefined = operand->get_if<Undefined>()) context.fail("'{}' is undefined", undefined->name);
  int64_t ix = 0, iy = 0;
  const bool left_integer = left.to_integer(ix), right_integer = right.to_integer(iy);
  if (left_integer && right_integer) return integer_arithmetic(op, ix, iy, context);
  double x = 0, y = 0;
  if (left.to_double(x) && right.to_double(y)) return real_arithmetic(op, x, y, context);
  if (op == "+" && left.string() && right.string()) {
    context.check_bytes(left.string()->size() + right.string()->size());
    return Value(*left.string() + *right.string());
  }
  if (op == "+" && left.list() && right.list()) {
    List items = *left.list();
    items.insert(items.end(), right.list()->begin(), right.list()->end());
    return Value::list(std::move(items));
  }
  if (op == "*" && right_integer && (left.string() || left.list())) return repeat(left, iy, context);
  if (op == "*" && left_integer && (right.string() || right.list())) return repeat(right, ix, context);
  if (op == "%" && left.string())
    throw Unsupported("chat template, line {}: formatting text with % is not supported; join with ~", context.line);
  context.fail("{} does not apply to a {} and a {}", op, left.type_name(), right.type_name());
}

}  // namespace halftone::jinja
