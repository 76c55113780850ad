// Parsing, describing and rejecting option values; see options.h.
#include "base/options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/error.h"
#include "base/json.h"

namespace halftone {

std::pair<std::string, std::string> parse_option(std::string_view text) {
  const auto equals = text.find('=');
  if (equals == std::string_view::npos || equals == 0)
    throw InvalidArgument("option '{}' is not of the form name=value", text);
  return {std::string(text.substr(0, equals)), std::string(text.substr(equals + 1))};
}

namespace detail {
namespace {

[[noreturn]] void refuse(std::string_view owner, const OptionInfo& info, const std::string& text) {
  throw InvalidArgument("{}: option {} = '{}' is not accepted; it takes {} ({})", owner, info.name, text, info.accepted,
                        info.help);
}

template <class T>
void parse_number(std::string_view owner, const OptionInfo& info, const std::string& text, const Range* range,
                  T& value) {
  T parsed{};
  const char* end = text.data() + text.size();
  const auto [stop, status] = std::from_chars(text.data(), end, parsed);
  const bool in_range = static_cast<double>(parsed) >= range->min && static_cast<double>(parsed) <= range->max;
  if (status != std::errc{} || stop != end || text.empty() || !in_range) refuse(owner, info, text);
  value = parsed;
}

}  // namespace

void parse_into(std::string_view owner, const OptionInfo& info, const std::string& text, const Range* range,
                int64_t& value) {
  parse_number(owner, info, text, range, value);
}

void parse_into(std::string_view owner, const OptionInfo& info, const std::string& text, const Range* range,
                double& value) {
  parse_number(owner, info, text, range, value);
}

void parse_into(std::string_view owner, const OptionInfo& info, const std::string& text, bool& value) {
  if (text == "true" || text == "1" || text == "on" || text == "yes")
    value = true;
  else if (text == "false" || text == "0" || text == "off" || text == "no")
    value = false;
  else
    refuse(owner, info, text);
}

void parse_into(std::string_view owner, const OptionInfo& info, const std::string& text, const Choices* choices,
                std::string& value) {
  if (choices != nullptr && std::find(choices->values.begin(), choices->values.end(), text) == choices->values.end())
    refuse(owner, info, text);
  value = text;
}

void parse_into(std::string_view owner, const OptionInfo& info, const std::string& text, const Checked& checked,
                std::string& value) {
  try {
    checked.check(text);
  } catch (const InvalidArgument& problem) {
    throw InvalidArgument("{}: option {} = '{}' is not accepted: {}; it takes {} ({})", owner, info.name, text,
                          problem.what(), info.accepted, info.help);
  }
  value = text;
}

OptionInfo describe(std::string_view name, int64_t value, const Range& range, std::string_view help) {
  return {std::string(name), "int", std::to_string(value),
          fmt::format("{} .. {}", static_cast<int64_t>(range.min), static_cast<int64_t>(range.max)), std::string(help)};
}

OptionInfo describe(std::string_view name, double value, const Range& range, std::string_view help) {
  return {std::string(name), "float", fmt::format("{}", value), fmt::format("{} .. {}", range.min, range.max),
          std::string(help)};
}

OptionInfo describe(std::string_view name, bool value, std::string_view help) {
  return {std::string(name), "bool", value ? "true" : "false", "true | false", std::string(help)};
}

OptionInfo describe(std::string_view name, const std::string& value, const Choices* choices, std::string_view help) {
  return {std::string(name), "text", value,
          choices == nullptr ? "any text" : fmt::format("{}", fmt::join(choices->values, " | ")), std::string(help)};
}

OptionInfo describe(std::string_view name, const std::string& value, const Checked& checked, std::string_view help) {
  return {std::string(name), "text", value, checked.accepted, std::string(help)};
}

void reject_unknown(std::string_view owner, const std::vector<OptionInfo>& known, const OptionValues& values) {
  for (const auto& [name, value] : values) {
    const bool found = std::any_of(known.begin(), known.end(), [&](const OptionInfo& o) { return o.name == name; });
    if (found) continue;
    std::vector<std::string> names;
    for (const auto& option : known) names.push_back(option.name);
    throw InvalidArgument("{}: there is no option '{}'; it has {}", owner, name,
                          names.empty() ? std::string("none") : fmt::format("{}", fmt::join(names, ", ")));
  }
}

Json& json_member(Json& object, std::string_view name) { return object[std::string(name)]; }
void assign(Json& slot, int64_t value) { slot = value; }
void assign(Json& slot, double value) { slot = value; }
void assign(Json& slot, bool value) { slot = value; }
void assign(Json& slot, const std::string& value) { slot = value; }

}  // namespace detail
}  // namespace halftone
