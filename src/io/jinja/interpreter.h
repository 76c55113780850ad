// Evaluates a parsed template with Jinja's scoping: loops, macros, with and block set open a scope, if does not;
// assignments stay in their scope, and only namespaces carry values out of a loop.
#pragma once

#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "io/jinja/ast.h"
#include "io/jinja/functions.h"

namespace halftone::jinja {

class Interpreter {
 public:
  /// `unix_time` is what strftime_now sees.
  Interpreter(Context& context, int64_t unix_time) : context_(context), unix_time_(unix_time), frames_(1) {}
  ~Interpreter();
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  void set_global(std::string_view name, Value value) { assign(name, std::move(value)); }
  std::string run(const Body& body);

 private:
  enum class Flow { Normal, Break, Continue };
  struct Frame {
    std::vector<std::pair<std::string, Value>> variables;
    int parent = -1;
  };
  class Scope;

  // Statements append to `out`.
  Flow execute(const Body& body, std::string& out);
  Flow execute_one(const Stmt& stmt, std::string& out);
  Flow execute_for(const Stmt& stmt, std::string& out);
  Flow execute_if(const Stmt& stmt, std::string& out);
  void execute_set(const Stmt& stmt);
  void execute_set_block(const Stmt& stmt);
  void write(std::string_view text, std::string& out);
  void assign(std::string_view name, Value value);
  void assign_targets(const std::vector<std::string>& names, const Value& value);
  Value loop_value(const List& items, size_t index) const;

  Value evaluate(const Expr& expr);
  Value evaluate_kind(const Expr& expr);
  Value evaluate_dict(const Expr& expr);
  Value evaluate_name(const std::string& name) const;
  Value evaluate_attribute(const Expr& expr);
  Value evaluate_index(const Expr& expr);
  Value evaluate_slice(const Expr& expr);
  Value evaluate_unary(const Expr& expr);
  Value evaluate_binary(const Expr& expr);
  Value evaluate_call(const Expr& expr);
  Value call_macro(const MacroNode& macro, const Arguments& arguments);
  Value call_builtin(const MacroNode& builtin, const Arguments& arguments);
  Value make_range(const Arguments& arguments);
  Value make_namespace(const Arguments& arguments);
  Value format_time(const Arguments& arguments);
  Arguments evaluate_arguments(const Expr& expr, bool with_subject);

  Context& context_;
  int64_t unix_time_;
  std::deque<Frame> frames_;  // a stack; the innermost is the last
  std::vector<std::shared_ptr<NamespaceBox>> namespaces_;
};

/// Binary arithmetic as Python does it, overflow being an error. `op` is one of + - * / // % **.
Value arithmetic(std::string_view op, const Value& left, const Value& right, Context& context);

}  // namespace halftone::jinja
