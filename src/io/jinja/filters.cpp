// The filters of `value | name`; see functions.h.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "io/jinja/functions.h"
#include "io/utf8.h"

namespace halftone::jinja {
namespace {

using A = const Arguments&;
using C = Context&;

std::string self_text(A a, C context) { return to_text(a.positional[0], context); }
bool flag_at(A a, size_t index, std::string_view name) {
  const Value* value = a.find(index, name);
  return value && value->truthy();
}
std::string text_at(A a, size_t index, std::string_view name, std::string_view missing, C context) {
  const Value* value = a.find(index, name);
  return value && !value->is_none() ? to_text(*value, context) : std::string(missing);
}
int64_t integer_at(A a, size_t index, std::string_view name, int64_t missing, C context) {
  const Value* value = a.find(index, name);
  int64_t number = missing;
  if (value && !value->is_none() && !value->to_integer(number))
    context.fail("a filter's argument '{}' wants an integer, got a {}", name, value->type_name());
  return number;
}

Value length(A a, C context) {
  const Value& v = a.positional[0];
  if (v.string()) return Value(static_cast<int64_t>(utf8_length(*v.string())));
  if (v.list()) return Value(static_cast<int64_t>(v.list()->size()));
  if (v.dict()) return Value(static_cast<int64_t>(v.dict()->size()));
  if (v.is_undefined()) return Value(int64_t{0});
  context.fail("a {} has no length", v.type_name());
}

Value trim(A a, C context) {
  const Value* chars = a.find(1, "chars");
  return Value(strip(self_text(a, context), chars ? chars->string() : nullptr, true, true));
}

Value to_json_filter(A a, C context) {
  return Value(to_json_text(a.positional[0],
                            static_cast<int>(std::clamp<int64_t>(integer_at(a, 2, "indent", -1, context), -1, 64)),
                            context));
}

Value title(A a, C context) {
  const std::string text = self_text(a, context);
  std::string out;
  const auto separates = [](std::string_view unit) {
    return is_space(utf8_next(unit).code) || std::string_view("-({[<").find(unit[0]) != std::string_view::npos;
  };
  bool at_start = true;
  for (std::string_view rest = text; !rest.empty();) {
    const std::string_view unit = rest.substr(0, utf8_next(rest).length);
    out += at_start ? to_upper(unit) : to_lower(unit);
    at_start = separates(unit);
    rest.remove_prefix(unit.size());
  }
  return Value(std::move(out));
}

Value join(A a, C context) {
  const std::string separator = text_at(a, 1, "d", "", context);
  const std::string attribute = text_at(a, 2, "attribute", "", context);
  std::string out;
  bool first = true;
  for (const Value& item : iterate(a.positional[0], context)) {
    if (!first) out += separator;
    first = false;
    out += to_text(attribute.empty() ? item : attribute_of(item, attribute, context), context);
    context.check_bytes(out.size());
  }
  return Value(std::move(out));
}

Value default_value(A a, C) {
  const Value& v = a.positional[0];
  if (!v.is_undefined() && !(flag_at(a, 2, "boolean") && !v.truthy())) return v;
  const Value* fallback = a.find(1, "default_value");
  return fallback ? *fallback : Value("");
}

Value first_or_last(A a, bool first, C context) {
  const List items = iterate(a.positional[0], context);
  if (items.empty()) return Value(Undefined{first ? "first item of nothing" : "last item of nothing"});
  return first ? items.front() : items.back();
}

Value items(A a, C context) {
  const Value& v = a.positional[0];
  List pairs;
  if (!v.is_undefined() && !v.dict()) context.fail("items wants a dictionary, got a {}", v.type_name());
  if (v.dict())
    for (const auto& [key, item] : *v.dict()) pairs.push_back(Value::list({key, item}, true));
  return Value::list(std::move(pairs));
}

Value replace(A a, C context) {
  return Value(replace_all(self_text(a, context), text_at(a, 1, "old", "", context), text_at(a, 2, "new", "", context),
                           integer_at(a, 3, "count", -1, context), context));
}

double real_of(const Value& v, double missing) {
  double number = missing;
  if (v.to_double(number)) return number;
  if (!v.string()) return missing;
  const std::string text = strip(*v.string(), nullptr, true, true);
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), number);
  return status == std::errc{} && end == text.data() + text.size() ? number : missing;
}

Value to_integer(A a, C context) {
  const Value& v = a.positional[0];
  const int64_t missing = integer_at(a, 1, "default", 0, context);
  int64_t number = 0;
  if (v.to_integer(number)) return Value(number);
  if (v.string()) {
    const std::string text = strip(*v.string(), nullptr, true, true);
    const char* begin = text.data() + (text.starts_with('+') ? 1 : 0);
    const auto [end, status] = std::from_chars(begin, text.data() + text.size(), number);
    if (status == std::errc{} && end == text.data() + text.size()) return Value(number);
  }
  const double real = std::trunc(real_of(v, NAN));
  return Value(std::abs(real) < 9e18 ? static_cast<int64_t>(real) : missing);
}

Value absolute(A a, C context) {
  int64_t integer = 0;
  if (a.positional[0].to_integer(integer)) {
    if (integer == INT64_MIN) context.fail("abs of {} overflows", integer);
    return Value(std::abs(integer));
  }
  double real = 0;
  if (!a.positional[0].to_double(real)) context.fail("abs wants a number, got a {}", a.positional[0].type_name());
  return Value(std::abs(real));
}

Value round_value(A a, C context) {
  double real = 0;
  if (!a.positional[0].to_double(real)) context.fail("round wants a number, got a {}", a.positional[0].type_name());
  const double scale = std::pow(10.0, static_cast<double>(integer_at(a, 1, "precision", 0, context)));
  const std::string method = text_at(a, 2, "method", "common", context);
  const double scaled = real * scale;
  return Value((method == "ceil"    ? std::ceil(scaled)
                : method == "floor" ? std::floor(scaled)
                                    : std::nearbyint(scaled)) /
               scale);
}

bool less_ignoring_case(const Value& x, const Value& y, bool case_sensitive, C context) {
  if (case_sensitive || !x.string() || !y.string()) return less(x, y, context);
  return to_lower(*x.string()) < to_lower(*y.string());
}

Value sort(A a, C context) {
  List list = iterate(a.positional[0], context);
  const bool reverse = flag_at(a, 1, "reverse"), case_sensitive = flag_at(a, 2, "case_sensitive");
  const std::string attribute = text_at(a, 3, "attribute", "", context);
  const auto key = [&](const Value& v) { return attribute.empty() ? v : attribute_of(v, attribute, context); };
  std::stable_sort(list.begin(), list.end(), [&](const Value& x, const Value& y) {
    const Value kx = key(x), ky = key(y);
    return reverse ? less_ignoring_case(ky, kx, case_sensitive, context)
                   : less_ignoring_case(kx, ky, case_sensitive, context);
  });
  return Value::list(std::move(list));
}

Value extreme(A a, bool smallest, C context) {
  const List list = iterate(a.positional[0], context);
  if (list.empty()) return Value(Undefined{"extreme of nothing"});
  const Value* best = &list[0];
  for (const Value& item : list)
    if (smallest ? less_ignoring_case(item, *best, false, context) : less_ignoring_case(*best, item, false, context))
      best = &item;
  return *best;
}

Value unique(A a, C context) {
  List kept;
  for (const Value& item : iterate(a.positional[0], context)) {
    const auto same = [&](const Value& other) {
      if (item.string() && other.string()) return to_lower(*item.string()) == to_lower(*other.string());
      return equal(item, other, context);
    };
    context.spend_steps(static_cast<int64_t>(kept.size()));
    if (std::none_of(kept.begin(), kept.end(), same)) kept.push_back(item);
  }
  return Value::list(std::move(kept));
}

Value reverse(A a, C context) {
  List list = iterate(a.positional[0], context);
  std::reverse(list.begin(), list.end());
  if (!a.positional[0].string()) return Value::list(std::move(list));
  std::string text;
  for (const Value& unit : list) text += *unit.string();
  return Value(std::move(text));
}

Value sum(A a, C context) {
  int64_t total = 0;
  double real_total = 0;
  bool real = false;
  const std::string attribute = text_at(a, 1, "attribute", "", context);
  for (const Value& item : iterate(a.positional[0], context)) {
    const Value v = attribute.empty() ? item : attribute_of(item, attribute, context);
    int64_t integer = 0;
    double number = 0;
    if (!v.to_double(number)) context.fail("sum wants numbers, got a {}", v.type_name());
    real = real || !v.to_integer(integer);
    real_total += number;
    if (__builtin_add_overflow(total, integer, &total)) context.fail("sum overflows");
  }
  return real ? Value(real_total) : Value(total);
}

/// select, reject, selectattr and rejectattr: keeps items whose test gives `keep`.
Value select(A a, bool by_attribute, bool keep, C context) {
  const size_t test_at = by_attribute ? 2 : 1;
  if (a.positional.size() < test_at) context.fail("selectattr and rejectattr want an attribute");
  const std::string attribute = by_attribute ? to_text(a.positional[1], context) : "";
  List kept;
  for (const Value& item : iterate(a.positional[0], context)) {
    Arguments test{{by_attribute ? attribute_of(item, attribute, context) : item}, {}};
    bool passes = test.positional[0].truthy();
    if (a.positional.size() > test_at) {
      test.positional.insert(test.positional.end(), a.positional.begin() + static_cast<long>(test_at) + 1,
                             a.positional.end());
      passes = apply_test(to_text(a.positional[test_at], context), test, context);
    }
    if (passes == keep) kept.push_back(item);
  }
  return Value::list(std::move(kept));
}

Value map(A a, C context) {
  List results;
  const Value* attribute = a.find(SIZE_MAX, "attribute");
  if (!attribute && a.positional.size() < 2) context.fail("map wants a filter's name or attribute=");
  const Value* missing = a.find(SIZE_MAX, "default");
  for (const Value& item : iterate(a.positional[0], context)) {
    if (attribute) {
      Value value = attribute_of(item, to_text(*attribute, context), context);
      results.push_back(value.is_undefined() && missing ? *missing : std::move(value));
      continue;
    }
    Arguments call{{item}, a.named};
    call.positional.insert(call.positional.end(), a.positional.begin() + 2, a.positional.end());
    results.push_back(apply_filter(to_text(a.positional[1], context), call, context));
    if (results.back().string()) context.spend_bytes(results.back().string()->size());
  }
  return Value::list(std::move(results));
}

Value indent(A a, C context) {
  const std::string text = self_text(a, context);
  const Value* width = a.find(1, "width");
  const std::string pad =
      width && width->string()
          ? *width->string()
          : std::string(static_cast<size_t>(std::clamp<int64_t>(integer_at(a, 1, "width", 4, context), 0, 1024)), ' ');
  const bool first = flag_at(a, 2, "first"), blank = flag_at(a, 3, "blank");
  std::string out;
  size_t begin = 0;
  for (bool is_first = true; begin <= text.size(); is_first = false) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    if (is_first ? first : blank || end > begin) out += pad;
    out.append(text, begin, end - begin);
    if (end < text.size()) out += '\n';
    begin = end + 1;
    context.check_bytes(out.size());
  }
  return Value(std::move(out));
}

Value dict_sort(A a, C context) {
  Arguments pairs{{items(a, context)}, {{"attribute", Value("0")}}};
  return sort(pairs, context);
}

Value escape(A a, C context) {
  std::string out;
  for (const char c : self_text(a, context)) {
    static constexpr std::string_view kFrom = "&<>\"'";
    static constexpr std::array<std::string_view, 5> kTo{"&amp;", "&lt;", "&gt;", "&#34;", "&#39;"};
    const size_t at = kFrom.find(c);
    out += at == std::string_view::npos ? std::string_view(&c, 1) : kTo[at];
  }
  return Value(std::move(out));
}

struct FilterRow {
  std::string_view name;
  Value (*apply)(A, C);
};

const std::array kFilters{
    FilterRow{"trim", trim},
    FilterRow{"tojson", to_json_filter},
    FilterRow{"length", length},
    FilterRow{"count", length},
    FilterRow{"upper", [](A a, C c) { return Value(to_upper(self_text(a, c))); }},
    FilterRow{"lower", [](A a, C c) { return Value(to_lower(self_text(a, c))); }},
    FilterRow{"title", title},
    FilterRow{"capitalize", [](A a, C c) { return Value(capitalize(self_text(a, c))); }},
    FilterRow{"join", join},
    FilterRow{"default", default_value},
    FilterRow{"d", default_value},
    FilterRow{"first", [](A a, C c) { return first_or_last(a, true, c); }},
    FilterRow{"last", [](A a, C c) { return first_or_last(a, false, c); }},
    FilterRow{"list", [](A a, C c) { return Value::list(iterate(a.positional[0], c)); }},
    FilterRow{"items", items},
    FilterRow{"replace", replace},
    FilterRow{"string", [](A a, C c) { return Value(self_text(a, c)); }},
    FilterRow{"safe", [](A a, C c) { return Value(self_text(a, c)); }},
    FilterRow{"int", to_integer},
    FilterRow{"float",
              [](A a, C) {
                const Value* missing = a.find(1, "default");
                return Value(real_of(a.positional[0], missing ? real_of(*missing, 0) : 0));
              }},
    FilterRow{"abs", absolute},
    FilterRow{"round", round_value},
    FilterRow{"sort", sort},
    FilterRow{"min", [](A a, C c) { return extreme(a, true, c); }},
    FilterRow{"max", [](A a, C c) { return extreme(a, false, c); }},
    FilterRow{"unique", unique},
    FilterRow{"reverse", reverse},
    FilterRow{"sum", sum},
    FilterRow{"select", [](A a, C c) { return select(a, false, true, c); }},
    FilterRow{"reject", [](A a, C c) { return select(a, false, false, c); }},
    FilterRow{"selectattr", [](A a, C c) { return select(a, true, true, c); }},
    FilterRow{"rejectattr", [](A a, C c) { return select(a, true, false, c); }},
    FilterRow{"map", map},
    FilterRow{"indent", indent},
    FilterRow{"dictsort", dict_sort},
    FilterRow{"escape", escape},
    FilterRow{"e", escape},
};

}  // namespace

Value apply_filter(std::string_view name, const Arguments& arguments, Context& context) {
  const Context::Nesting nesting(context);
  for (const FilterRow& row : kFilters)
    if (row.name == name) return row.apply(arguments, context);
  context.fail("there is no filter '{}'", name);
}

Value attribute_of(const Value& value, std::string_view path, Context& context) {
  Value current = value;
  while (true) {
    const size_t dot = path.find('.');
    const std::string_view part = path.substr(0, dot);
    int64_t index = 0;
    const auto [end, status] = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool is_index = status == std::errc{} && end == part.data() + part.size() && current.list();
    if (current.is_undefined()) context.fail("'{}' is undefined", current.get_if<Undefined>()->name);
    const Value* found = find_member(current, part);
    if (is_index && index >= 0 && static_cast<size_t>(index) < current.list()->size())
      found = &(*current.list())[static_cast<size_t>(index)];
    Value next = found ? *found : Value(Undefined{std::string(part)});
    current = std::move(next);
    if (dot == std::string_view::npos) return current;
    path.remove_prefix(dot + 1);
  }
}

}  // namespace halftone::jinja
