// Values of the chat-template language: Python's, as far as templates see them. Lists and dictionaries are immutable
// and shared, so copying is cheap; only namespaces change. Every container knows its depth, which is limited, so
// neither printing nor freeing a value can exhaust the stack.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/error.h"
#include "base/json_fwd.h"

namespace halftone::jinja {

struct MacroNode;
class Value;
using List = std::vector<Value>;
using Dict = std::vector<std::pair<Value, Value>>;  // in order of insertion; templates' dictionaries are small

struct ListBox;
struct DictBox;
struct NamespaceBox;

struct Undefined {
  std::string name;  // what was looked up, for error messages
};
struct None {};

class Value {
 public:
  using Variant = std::variant<None, Undefined, bool, int64_t, double, std::shared_ptr<const std::string>,
                               std::shared_ptr<const ListBox>, std::shared_ptr<const DictBox>,
                               std::shared_ptr<NamespaceBox>, const MacroNode*>;
  Value() = default;
  explicit Value(bool v) : data_(v) {}
  explicit Value(int64_t v) : data_(v) {}
  explicit Value(double v) : data_(v) {}
  explicit Value(std::string v) : data_(std::make_shared<const std::string>(std::move(v))) {}
  explicit Value(std::string_view v) : Value(std::string(v)) {}
  explicit Value(const char* v) : Value(std::string(v)) {}
  explicit Value(Undefined v) : data_(std::move(v)) {}
  explicit Value(const MacroNode* v) : data_(v) {}
  explicit Value(std::shared_ptr<NamespaceBox> v) : data_(std::move(v)) {}
  /// Throw InvalidArgument when the result nests deeper than kMaxDepth.
  static Value list(List items, bool is_tuple = false);
  static Value dict(Dict items);

  template <class T>
  const T* get_if() const {
    return std::get_if<T>(&data_);
  }
  const std::string* string() const;
  const List* list() const;
  const Dict* dict() const;
  bool is_tuple() const;
  NamespaceBox* name_space() const;
  bool is_undefined() const { return get_if<Undefined>() != nullptr; }
  bool is_none() const { return get_if<None>() != nullptr; }
  /// bool, int or float, as Python counts them.
  bool is_number() const { return get_if<bool>() || get_if<int64_t>() || get_if<double>(); }
  /// Integers and bools; anything else gives false.
  bool to_integer(int64_t& out) const;
  /// Any number; anything else gives false.
  bool to_double(double& out) const;
  bool truthy() const;
  int depth() const;
  std::string_view type_name() const;

  static constexpr int kMaxDepth = 100;

 private:
  Variant data_;
};

struct ListBox {
  List items;
  int depth;
  bool is_tuple;  // only printing tells the difference
};
struct DictBox {
  Dict items;
  int depth;
};
struct NamespaceBox {
  std::vector<std::pair<std::string, Value>> items;
};

/// What rendering may spend, and where it is; every failure names the line.
struct Context {
  int line = 1;
  int64_t steps_left = 2'000'000;
  int64_t bytes_left = 64 << 20;  // of strings made, the output among them
  int depth = 0;                  // of nested evaluation

  template <class... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    throw InvalidArgument("chat template, line {}: {}", line, fmt::format(format, std::forward<Args>(args)...));
  }
  void spend_steps(int64_t count) {
    if ((steps_left -= count) < 0) fail("the template takes too many steps; does it loop without end?");
  }
  void check_bytes(size_t count) const {
    if (count > static_cast<size_t>(bytes_left)) fail("the template makes more than 64 MiB of text");
  }
  void spend_bytes(size_t count) {
    check_bytes(count);
    bytes_left -= static_cast<int64_t>(count);
  }
  /// Counts one level of evaluation for its life; the limit keeps any template within a few MB of stack.
  struct Nesting {
    explicit Nesting(Context& context) : context(context) {
      if (++context.depth > kMaxNesting)
        context.fail("evaluation nests deeper than {}; does a macro recurse?", kMaxNesting);
    }
    ~Nesting() { --context.depth; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;
    Context& context;
  };
  static constexpr int kMaxNesting = 400;

  /// What looking at all of `value` costs; called for every operand, so that work is bounded by the steps.
  void spend_look(const Value& value);
};

/// Python's str() and repr().
std::string to_text(const Value& value, Context& context);
std::string to_repr(const Value& value, Context& context);
/// Python's json.dumps(ensure_ascii=False); `indent` < 0 for one line.
std::string to_json_text(const Value& value, int indent, Context& context);

/// Python's ==; spends a step for every part compared.
bool equal(const Value& a, const Value& b, Context& context);
/// Python's <; fails for types without an order.
bool less(const Value& a, const Value& b, Context& context);

/// The member of a dictionary or namespace, or null.
const Value* find_member(const Value& container, const Value& key, Context& context);
const Value* find_member(const Value& container, std::string_view key);
/// What a for loop visits: list items, dictionary keys, characters; Undefined visits nothing. Fails for the rest.
List iterate(const Value& value, Context& context);

Value from_json(const Json& json);

}  // namespace halftone::jinja
