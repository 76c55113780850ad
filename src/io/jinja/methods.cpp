// Methods of strings and dictionaries, as Python's; see functions.h.
#include <array>

#include "io/jinja/functions.h"
#include "io/utf8.h"

namespace halftone::jinja {
namespace {

using A = const Arguments&;
using C = Context&;

const std::string& text_at(A a, size_t index, std::string_view name, C context) {
  const Value* value = a.find(index, name);
  if (!value || !value->string()) context.fail("the method wants text as its argument {}", index);
  return *value->string();
}

int64_t integer_at(A a, size_t index, std::string_view name, int64_t missing, C context) {
  const Value* value = a.find(index, name);
  int64_t number = missing;
  if (value && !value->to_integer(number)) context.fail("the method wants an integer as its argument {}", index);
  return number;
}

Value stripped(A a, bool left, bool right) {
  const Value* chars = a.find(1, "chars");
  return Value(strip(*a.positional[0].string(), chars ? chars->string() : nullptr, left, right));
}

Value split(A a, C context) {
  std::string_view rest = *a.positional[0].string();
  int64_t limit = integer_at(a, 2, "maxsplit", -1, context);
  if (limit < 0) limit = INT64_MAX;
  List parts;
  const auto add = [&](std::string_view part) {
    context.spend_steps(1);
    parts.emplace_back(part);
  };
  const Value* separator = a.find(1, "sep");
  if (!separator || separator->is_none()) {  // runs of white space separate
    std::string trimmed = strip(rest, nullptr, true, true);
    rest = trimmed;
    while (!rest.empty()) {
      size_t end = 0;
      while (end < rest.size() && !is_space(utf8_next(rest.substr(end)).code))
        end += utf8_next(rest.substr(end)).length;
      if (limit-- <= 0) end = rest.size();
      add(rest.substr(0, end));
      rest.remove_prefix(end);
      while (!rest.empty() && is_space(utf8_next(rest).code)) rest.remove_prefix(utf8_next(rest).length);
    }
    return Value::list(std::move(parts));
  }
  const std::string& by = text_at(a, 1, "sep", context);
  if (by.empty()) context.fail("split() by empty text");
  for (size_t at; limit > 0 && (at = rest.find(by)) != std::string_view::npos; --limit) {
    add(rest.substr(0, at));
    rest.remove_prefix(at + by.size());
  }
  add(rest);
  return Value::list(std::move(parts));
}

Value split_lines(A a, C context) {
  std::string_view rest = *a.positional[0].string();
  List lines;
  while (!rest.empty()) {
    context.spend_steps(1);
    const size_t end = std::min(rest.find_first_of("\r\n"), rest.size());
    lines.emplace_back(rest.substr(0, end));
    rest.remove_prefix(end);
    if (!rest.empty()) rest.remove_prefix(rest.starts_with("\r\n") ? 2 : 1);
  }
  return Value::list(std::move(lines));
}

/// Whether the text starts (or ends) with the argument, or with one of a list.
Value affix(A a, bool (*test)(std::string_view, std::string_view), C context) {
  const std::string& text = *a.positional[0].string();
  if (a.positional.size() > 2) context.fail("startswith() and endswith() take one argument here");
  if (const List* any = a.positional.size() > 1 ? a.positional[1].list() : nullptr) {
    for (const Value& item : *any)
      if (item.string() && test(text, *item.string())) return Value(true);
    return Value(false);
  }
  return Value(test(text, text_at(a, 1, "prefix", context)));
}
bool starts(std::string_view text, std::string_view affix) { return text.starts_with(affix); }
bool ends(std::string_view text, std::string_view affix) { return text.ends_with(affix); }

Value title(A a) {
  std::string out;
  bool in_word = false;
  for (std::string_view rest = *a.positional[0].string(); !rest.empty();) {
    const Utf8Char next = utf8_next(rest);
    const std::string_view unit = rest.substr(0, next.length);
    const std::string upper = to_upper(unit), lower = to_lower(unit);
    out += in_word ? lower : upper;
    in_word = upper != lower;
    rest.remove_prefix(next.length);
  }
  return Value(std::move(out));
}

bool all_digits(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
}

int64_t count_text(std::string_view text, std::string_view part, C context) {
  if (part.empty()) return static_cast<int64_t>(utf8_length(text)) + 1;
  int64_t count = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string_view::npos; at += part.size()) ++count;
  context.spend_steps(count);
  return count;
}

Value find_text(A a, C context) {
  const std::string& text = *a.positional[0].string();
  const size_t at = text.find(text_at(a, 1, "sub", context));
  return Value(at == std::string::npos ? int64_t{-1}
                                       : static_cast<int64_t>(utf8_length(std::string_view(text).substr(0, at))));
}

Value without_affix(A a, bool prefix, C context) {
  std::string_view text = *a.positional[0].string();
  const std::string& affix = text_at(a, 1, prefix ? "prefix" : "suffix", context);
  if (prefix && text.starts_with(affix)) text.remove_prefix(affix.size());
  if (!prefix && text.ends_with(affix)) text.remove_suffix(affix.size());
  return Value(text);
}

struct MethodRow {
  std::string_view name;
  Value (*call)(A, C);
};

const std::array kStringMethods{
    MethodRow{"strip", [](A a, C) { return stripped(a, true, true); }},
    MethodRow{"lstrip", [](A a, C) { return stripped(a, true, false); }},
    MethodRow{"rstrip", [](A a, C) { return stripped(a, false, true); }},
    MethodRow{"split", split},
    MethodRow{"splitlines", split_lines},
    MethodRow{"startswith", [](A a, C c) { return affix(a, starts, c); }},
    MethodRow{"endswith", [](A a, C c) { return affix(a, ends, c); }},
    MethodRow{"replace",
              [](A a, C c) {
                return Value(replace_all(*a.positional[0].string(), text_at(a, 1, "old", c), text_at(a, 2, "new", c),
                                         integer_at(a, 3, "count", -1, c), c));
              }},
    MethodRow{"upper", [](A a, C) { return Value(to_upper(*a.positional[0].string())); }},
    MethodRow{"lower", [](A a, C) { return Value(to_lower(*a.positional[0].string())); }},
    MethodRow{"capitalize", [](A a, C) { return Value(capitalize(*a.positional[0].string())); }},
    MethodRow{"title", [](A a, C) { return title(a); }},
    MethodRow{"find", find_text},
    MethodRow{"count",
              [](A a, C c) { return Value(count_text(*a.positional[0].string(), text_at(a, 1, "sub", c), c)); }},
    MethodRow{"isdigit", [](A a, C) { return Value(all_digits(*a.positional[0].string())); }},
    MethodRow{"removeprefix", [](A a, C c) { return without_affix(a, true, c); }},
    MethodRow{"removesuffix", [](A a, C c) { return without_affix(a, false, c); }},
    MethodRow{"join",
              [](A a, C c) {
                if (a.positional.size() != 2) c.fail("join() takes one argument");
                return apply_filter("join", {{a.positional[1], a.positional[0]}, {}}, c);
              }},
};

const std::array kDictMethods{
    MethodRow{"items", [](A a, C c) { return apply_filter("items", a, c); }},
    MethodRow{"keys", [](A a, C c) { return Value::list(iterate(a.positional[0], c)); }},
    MethodRow{"values",
              [](A a, C) {
                List values;
                for (const auto& entry : *a.positional[0].dict()) values.push_back(entry.second);
                return Value::list(std::move(values));
              }},
    MethodRow{"get",
              [](A a, C c) {
                if (a.positional.size() < 2) c.fail("get() wants a key");
                const Value* found = find_member(a.positional[0], a.positional[1], c);
                if (!found) found = a.find(2, "default");
                return found ? *found : Value();
              }},
};

}  // namespace

const Value* Arguments::find(size_t index, std::string_view name) const {
  if (index < positional.size()) return &positional[index];
  for (const auto& [key, value] : named)
    if (key == name) return &value;
  return nullptr;
}

std::optional<Value> call_method(std::string_view name, const Arguments& arguments, Context& context) {
  const Value& self = arguments.positional[0];
  const auto call_in = [&](const auto& rows) -> std::optional<Value> {
    for (const MethodRow& row : rows)
      if (row.name == name) return row.call(arguments, context);
    return std::nullopt;
  };
  if (self.string()) return call_in(kStringMethods);
  if (self.dict()) return call_in(kDictMethods);
  return std::nullopt;
}

}  // namespace halftone::jinja
