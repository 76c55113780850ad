// Filters, tests and methods of the chat-template language, looked up by name in tables.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/jinja/value.h"

namespace halftone::jinja {

/// Arguments of a call; for filters, tests and methods `positional[0]` is the value that they apply to.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  /// The argument at `index` or called `name`, or null.
  const Value* find(size_t index, std::string_view name) const;
};

/// Fails, naming it, for a filter, test or method that does not exist.
Value apply_filter(std::string_view name, const Arguments& arguments, Context& context);
bool apply_test(std::string_view name, const Arguments& arguments, Context& context);
/// `positional[0]`.name(...), or nothing when its type has no such method.
std::optional<Value> call_method(std::string_view name, const Arguments& arguments, Context& context);

/// Members by attribute path as in `map(attribute="a.b")`; Undefined when missing.
Value attribute_of(const Value& value, std::string_view path, Context& context);

// Text operations shared by filters and methods; characters are Unicode's, case mapping covers Latin-1, Greek and
// Cyrillic.
std::string to_upper(std::string_view text);
std::string to_lower(std::string_view text);
std::string capitalize(std::string_view text);
/// Strips `chars`, or white space when that is null, on the sides asked for.
std::string strip(std::string_view text, const std::string* chars, bool left, bool right);
std::string replace_all(std::string_view text, std::string_view from, std::string_view to, int64_t limit,
                        Context& context);
bool is_space(uint32_t code);

}  // namespace halftone::jinja
