// The tests of `value is name`; see functions.h.
#include <array>

#include "io/jinja/functions.h"

namespace halftone::jinja {
namespace {

const Value& operand(const Arguments& a, std::string_view name, Context& context) {
  if (a.positional.size() < 2) context.fail("the test '{}' wants an argument", name);
  return a.positional[1];
}

int64_t integer_of(const Value& value, std::string_view name, Context& context) {
  int64_t number = 0;
  if (!value.to_integer(number)) context.fail("the test '{}' wants an integer, got a {}", name, value.type_name());
  return number;
}

bool contains(const Value& container, const Value& item, Context& context) {
  if (container.string()) return item.string() && container.string()->find(*item.string()) != std::string::npos;
  for (const Value& candidate : iterate(container, context))
    if (equal(candidate, item, context)) return true;
  return false;
}

bool has_case(const Value& value, std::string (*map)(std::string_view), std::string (*other)(std::string_view),
              Context& context) {
  const std::string text = to_text(value, context);
  return map(text) == text && other(text) != text;
}

struct TestRow {
  std::string_view name;
  bool (*test)(const Arguments&, std::string_view name, Context&);
};
using A = const Arguments&;
using N = std::string_view;
using C = Context&;

const std::array kTests{
    TestRow{"defined", [](A a, N, C) { return !a.positional[0].is_undefined(); }},
    TestRow{"undefined", [](A a, N, C) { return a.positional[0].is_undefined(); }},
    TestRow{"none", [](A a, N, C) { return a.positional[0].is_none(); }},
    TestRow{"string", [](A a, N, C) { return a.positional[0].string() != nullptr; }},
    TestRow{"mapping", [](A a, N, C) { return a.positional[0].dict() != nullptr; }},
    TestRow{"iterable",
            [](A a, N, C) {
              const Value& v = a.positional[0];
              return v.string() || v.list() || v.dict() || v.is_undefined();
            }},
    TestRow{"sequence",
            [](A a, N, C) {
              const Value& v = a.positional[0];
              return v.string() || v.list() || v.dict();
            }},
    TestRow{"number", [](A a, N, C) { return a.positional[0].is_number(); }},
    TestRow{"integer", [](A a, N, C) { return a.positional[0].get_if<int64_t>() != nullptr; }},
    TestRow{"float", [](A a, N, C) { return a.positional[0].get_if<double>() != nullptr; }},
    TestRow{"boolean", [](A a, N, C) { return a.positional[0].get_if<bool>() != nullptr; }},
    TestRow{"true",
            [](A a, N, C) {
              const bool* flag = a.positional[0].get_if<bool>();
              return flag && *flag;
            }},
    TestRow{"false",
            [](A a, N, C) {
              const bool* flag = a.positional[0].get_if<bool>();
              return flag && !*flag;
            }},
    TestRow{"callable", [](A a, N, C) { return a.positional[0].get_if<const MacroNode*>() != nullptr; }},
    TestRow{"odd", [](A a, N n, C c) { return integer_of(a.positional[0], n, c) % 2 != 0; }},
    TestRow{"even", [](A a, N n, C c) { return integer_of(a.positional[0], n, c) % 2 == 0; }},
    TestRow{"divisibleby",
            [](A a, N n, C c) {
              const int64_t divisor = integer_of(operand(a, n, c), n, c);
              if (divisor == 0) c.fail("division by zero");
              return divisor == -1 || integer_of(a.positional[0], n, c) % divisor == 0;
            }},
    TestRow{"eq", [](A a, N n, C c) { return equal(a.positional[0], operand(a, n, c), c); }},
    TestRow{"equalto", [](A a, N n, C c) { return equal(a.positional[0], operand(a, n, c), c); }},
    TestRow{"sameas", [](A a, N n, C c) { return equal(a.positional[0], operand(a, n, c), c); }},
    TestRow{"ne", [](A a, N n, C c) { return !equal(a.positional[0], operand(a, n, c), c); }},
    TestRow{"lt", [](A a, N n, C c) { return less(a.positional[0], operand(a, n, c), c); }},
    TestRow{"gt", [](A a, N n, C c) { return less(operand(a, n, c), a.positional[0], c); }},
    TestRow{"le", [](A a, N n, C c) { return !less(operand(a, n, c), a.positional[0], c); }},
    TestRow{"ge", [](A a, N n, C c) { return !less(a.positional[0], operand(a, n, c), c); }},
    TestRow{"in", [](A a, N n, C c) { return contains(operand(a, n, c), a.positional[0], c); }},
    TestRow{"lower", [](A a, N, C c) { return has_case(a.positional[0], to_lower, to_upper, c); }},
    TestRow{"upper", [](A a, N, C c) { return has_case(a.positional[0], to_upper, to_lower, c); }},
};

}  // namespace

bool apply_test(std::string_view name, const Arguments& arguments, Context& context) {
  for (const TestRow& row : kTests)
    if (row.name == name) return row.test(arguments, name, context);
  context.fail("there is no test '{}'", name);
}

}  // namespace halftone::jinja
