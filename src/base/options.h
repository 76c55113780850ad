// Options declared once and visited: names, defaults, ranges and help text have one home.
//
//   struct Options {
//     int64_t group_size = 64;
//     double damping = 0.01;
//     std::string scale_rule = "absmax";
//     template <class Visitor> void visit(Visitor& v) {
//       v("group_size", group_size, Range{32, 256}, "weights that share a scale, along K");
//       v("damping", damping, Range{1e-6, 1.0}, "added to the Hessian's diagonal, as a part of its mean");
//       v("scale_rule", scale_rule, Choices{"absmax", "mse"}, "how a group's scale is found");
//     }
//   };
//
// Command-line flags, JSON configurations, --help, error messages and the generated documentation are visitors.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json_fwd.h"

namespace halftone {

/// Closed interval of accepted values of a numeric option.
struct Range {
  double min;
  double max;
};

/// Accepted values of a text option.
struct Choices {
  Choices(std::initializer_list<std::string> list) : values(list) {}
  std::vector<std::string> values;
};

/// A text option whose values are too many to list: `check` throws InvalidArgument, saying why, for what is none.
struct Checked {
  std::string accepted;  ///< for a person
  void (*check)(const std::string& text);
};

/// One option, described for a person.
struct OptionInfo {
  std::string name;
  std::string type;  ///< "bool", "int", "float" or "text"
  std::string default_value;
  std::string accepted;  ///< "32 .. 256", "absmax | mse", "true | false", or "any text"
  std::string help;
};

/// Option names and their values as a user wrote them ("group_size" -> "64").
using OptionValues = std::map<std::string, std::string>;

/// Splits "name=value"; throws InvalidArgument when there is no '=' or the name is empty.
std::pair<std::string, std::string> parse_option(std::string_view text);

namespace detail {

void parse_into(std::string_view owner, const OptionInfo& info, const std::string& text, const Range* range,
                int64_t& value);
void parse_into(std::string_view owner, const OptionInfo& info, const std::string& text, const Range* range,
                double& value);
void parse_into(std::string_view owner, const OptionInfo& info, const std::string& text, bool& value);
void parse_into(std::string_view owner, const OptionInfo& info, const std::string& text, const Choices* choices,
                std::string& value);
void parse_into(std::string_view owner, const OptionInfo& info, const std::string& text, const Checked& checked,
                std::string& value);

OptionInfo describe(std::string_view name, int64_t value, const Range& range, std::string_view help);
OptionInfo describe(std::string_view name, double value, const Range& range, std::string_view help);
OptionInfo describe(std::string_view name, bool value, std::string_view help);
OptionInfo describe(std::string_view name, const std::string& value, const Choices* choices, std::string_view help);
OptionInfo describe(std::string_view name, const std::string& value, const Checked& checked, std::string_view help);

void reject_unknown(std::string_view owner, const std::vector<OptionInfo>& known, const OptionValues& values);
Json& json_member(Json& object, std::string_view name);
void assign(Json& slot, int64_t value);
void assign(Json& slot, double value);
void assign(Json& slot, bool value);
void assign(Json& slot, const std::string& value);

class Describer {
 public:
  void operator()(std::string_view n, int64_t& v, Range r, std::string_view h) { add(describe(n, v, r, h)); }
  void operator()(std::string_view n, double& v, Range r, std::string_view h) { add(describe(n, v, r, h)); }
  void operator()(std::string_view n, bool& v, std::string_view h) { add(describe(n, v, h)); }
  void operator()(std::string_view n, std::string& v, Choices c, std::string_view h) { add(describe(n, v, &c, h)); }
  void operator()(std::string_view n, std::string& v, Checked c, std::string_view h) { add(describe(n, v, c, h)); }
  void operator()(std::string_view n, std::string& v, std::string_view h) { add(describe(n, v, nullptr, h)); }
  std::vector<OptionInfo> infos;

 private:
  void add(OptionInfo info) { infos.push_back(std::move(info)); }
};

class Reader {
 public:
  Reader(std::string_view owner, const OptionValues& values) : owner_(owner), values_(values) {}
  void operator()(std::string_view n, int64_t& v, Range r, std::string_view h) {
    if (const auto* text = find(n)) parse_into(owner_, describe(n, v, r, h), *text, &r, v);
  }
  void operator()(std::string_view n, double& v, Range r, std::string_view h) {
    if (const auto* text = find(n)) parse_into(owner_, describe(n, v, r, h), *text, &r, v);
  }
  void operator()(std::string_view n, bool& v, std::string_view h) {
    if (const auto* text = find(n)) parse_into(owner_, describe(n, v, h), *text, v);
  }
  void operator()(std::string_view n, std::string& v, Choices c, std::string_view h) {
    if (const auto* text = find(n)) parse_into(owner_, describe(n, v, &c, h), *text, &c, v);
  }
  void operator()(std::string_view n, std::string& v, Checked c, std::string_view h) {
    if (const auto* text = find(n)) parse_into(owner_, describe(n, v, c, h), *text, c, v);
  }
  void operator()(std::string_view n, std::string& v, std::string_view h) {
    if (const auto* text = find(n)) parse_into(owner_, describe(n, v, nullptr, h), *text, nullptr, v);
  }

 private:
  const std::string* find(std::string_view name) const {
    const auto it = values_.find(std::string(name));
    return it == values_.end() ? nullptr : &it->second;
  }
  std::string_view owner_;
  const OptionValues& values_;
};

class JsonWriter {
 public:
  explicit JsonWriter(Json& object) : object_(object) {}
  template <class T, class... Rest>
  void operator()(std::string_view name, T& value, Rest&&...) {
    assign(json_member(object_, name), value);
  }

 private:
  Json& object_;
};

}  // namespace detail

/// Every option of `Options` with its default, in declaration order.
template <class Options>
std::vector<OptionInfo> describe_options() {
  Options defaults;
  detail::Describer visitor;
  defaults.visit(visitor);
  return std::move(visitor.infos);
}

/// Overwrites the fields named in `values`. `owner` ("method gptq") is named in errors.
/// Throws InvalidArgument for an unknown name, a value that does not parse, or one out of range; `options` then stays.
template <class Options>
void read_options(std::string_view owner, const OptionValues& values, Options& options) {
  detail::reject_unknown(owner, describe_options<Options>(), values);
  detail::Reader visitor(owner, values);
  Options changed = options;
  changed.visit(visitor);
  options = std::move(changed);
}

/// Writes every field of `options` into the JSON object `object`, under its option name.
template <class Options>
void write_options(Options options, Json& object) {
  detail::JsonWriter visitor(object);
  options.visit(visitor);
}

}  // namespace halftone
