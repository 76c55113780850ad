// Statements of the template interpreter; expressions are in evaluate.cpp. See interpreter.h.
#include "io/jinja/interpreter.h"

#include <algorithm>

namespace halftone::jinja {

/// A variable scope for its life, inside the innermost one or (macros) inside the outermost.
class Interpreter::Scope {
 public:
  explicit Scope(Interpreter& interpreter) : interpreter_(interpreter) {
    interpreter_.frames_.push_back({{}, static_cast<int>(interpreter_.frames_.size()) - 1});
  }
  ~Scope() { interpreter_.frames_.pop_back(); }
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;
  void reset() { interpreter_.frames_.back().variables.clear(); }

 private:
  Interpreter& interpreter_;
};

// A namespace may hold itself; letting go of every namespace's members breaks such circles.
Interpreter::~Interpreter() {
  frames_.clear();
  for (const auto& box : namespaces_) box->items.clear();
}

std::string Interpreter::run(const Body& body) {
  std::string out;
  execute(body, out);
  return out;
}

void Interpreter::write(std::string_view text, std::string& out) {
  context_.spend_bytes(text.size());
  out.append(text);
}

void Interpreter::assign(std::string_view name, Value value) {
  for (auto& [known, slot] : frames_.back().variables)
    if (known == name) {
      slot = std::move(value);
      return;
    }
  frames_.back().variables.emplace_back(name, std::move(value));
}

void Interpreter::assign_targets(const std::vector<std::string>& names, const Value& value) {
  if (names.size() == 1) return assign(names[0], value);
  const List items = iterate(value, context_);
  if (items.size() != names.size())
    context_.fail("{} values cannot be unpacked into {} names", items.size(), names.size());
  for (size_t i = 0; i < names.size(); ++i) assign(names[i], items[i]);
}

Interpreter::Flow Interpreter::execute(const Body& body, std::string& out) {
  const Context::Nesting nesting(context_);
  for (const Stmt& stmt : body) {
    context_.line = stmt.line;
    context_.spend_steps(1);
    const Flow flow = execute_one(stmt, out);
    if (flow != Flow::Normal) return flow;
  }
  return Flow::Normal;
}

Interpreter::Flow Interpreter::execute_one(const Stmt& stmt, std::string& out) {
  switch (stmt.kind) {
    case StmtKind::Text:
      write(stmt.text, out);
      break;
    case StmtKind::Output:
      write(to_text(evaluate(*stmt.exprs[0]), context_), out);
      break;
    case StmtKind::If:
      return execute_if(stmt, out);
    case StmtKind::For:
      return execute_for(stmt, out);
    case StmtKind::Set:
      execute_set(stmt);
      break;
    case StmtKind::SetBlock:
      execute_set_block(stmt);
      break;
    case StmtKind::Macro:
      assign(stmt.macro->name, Value(stmt.macro.get()));
      break;
    case StmtKind::With: {
      List values;
      for (const ExprPtr& value : stmt.exprs) values.push_back(evaluate(*value));
      const Scope scope(*this);
      for (size_t i = 0; i < values.size(); ++i) assign(stmt.names[i], values[i]);
      return execute(stmt.branches[0].body, out);
    }
    case StmtKind::Break:
      return Flow::Break;
    case StmtKind::Continue:
      return Flow::Continue;
  }
  return Flow::Normal;
}

Interpreter::Flow Interpreter::execute_if(const Stmt& stmt, std::string& out) {
  for (const Branch& branch : stmt.branches)
    if (!branch.condition || evaluate(*branch.condition).truthy()) return execute(branch.body, out);
  return Flow::Normal;
}

Value Interpreter::loop_value(const List& items, size_t index) const {
  const auto number = [](size_t n) { return Value(static_cast<int64_t>(n)); };
  Dict loop;
  const auto put = [&](const char* name, Value value) { loop.emplace_back(Value(name), std::move(value)); };
  put("index", number(index + 1));
  put("index0", number(index));
  put("revindex", number(items.size() - index));
  put("revindex0", number(items.size() - index - 1));
  put("first", Value(index == 0));
  put("last", Value(index + 1 == items.size()));
  put("length", number(items.size()));
  put("previtem", index > 0 ? items[index - 1] : Value(Undefined{"loop.previtem"}));
  put("nextitem", index + 1 < items.size() ? items[index + 1] : Value(Undefined{"loop.nextitem"}));
  return Value::dict(std::move(loop));
}

Interpreter::Flow Interpreter::execute_for(const Stmt& stmt, std::string& out) {
  List items = iterate(evaluate(*stmt.exprs[0]), context_);
  if (stmt.exprs[1]) {
    List kept;
    Scope scope(*this);
    for (Value& item : items) {
      scope.reset();
      assign_targets(stmt.names, item);
      if (evaluate(*stmt.exprs[1]).truthy()) kept.push_back(std::move(item));
    }
    items = std::move(kept);
  }
  if (items.empty()) {
    if (stmt.branches.size() < 2) return Flow::Normal;
    const Scope scope(*this);
    return execute(stmt.branches[1].body, out);
  }
  constexpr int64_t kStepsPerRound = 8;  // setting up `loop` costs about that many
  Scope scope(*this);
  for (size_t i = 0; i < items.size(); ++i) {
    context_.line = stmt.line;
    context_.spend_steps(kStepsPerRound);
    scope.reset();
    assign("loop", loop_value(items, i));
    assign_targets(stmt.names, items[i]);
    if (execute(stmt.branches[0].body, out) == Flow::Break) break;
  }
  return Flow::Normal;
}

void Interpreter::execute_set(const Stmt& stmt) {
  Value value = evaluate(*stmt.exprs[0]);
  if (stmt.text.empty()) return assign_targets(stmt.names, value);
  const Value target = evaluate_name(stmt.names[0]);
  NamespaceBox* box = target.name_space();
  if (!box) context_.fail("'{}' is a {}; only a namespace's attributes can be set", stmt.names[0], target.type_name());
  for (auto& [name, slot] : box->items)
    if (name == stmt.text) {
      slot = std::move(value);
      return;
    }
  box->items.emplace_back(stmt.text, std::move(value));
}

void Interpreter::execute_set_block(const Stmt& stmt) {
  Value text;
  {
    const Scope scope(*this);
    std::string body;
    execute(stmt.branches[0].body, body);
    text = Value(std::move(body));
    if (!stmt.exprs.empty()) {
      assign(kBlockSetText, text);
      text = evaluate(*stmt.exprs[0]);
    }
  }
  assign(stmt.names[0], std::move(text));
}

Value Interpreter::call_macro(const MacroNode& macro, const Arguments& arguments) {
  if (arguments.positional.size() > macro.parameters.size())
    context_.fail("macro '{}' takes {} arguments, not {}", macro.name, macro.parameters.size(),
                  arguments.positional.size());
  for (const auto& [name, value] : arguments.named)
    if (std::none_of(macro.parameters.begin(), macro.parameters.end(),
                     [&](const auto& parameter) { return parameter.first == name; }))
      context_.fail("macro '{}' has no parameter '{}'", macro.name, name);
  const Scope scope(*this);
  frames_.back().parent = 0;
  for (size_t i = 0; i < macro.parameters.size(); ++i) {
    const auto& [name, fallback] = macro.parameters[i];
    if (const Value* given = arguments.find(i, name))
      assign(name, *given);
    else
      assign(name, fallback ? evaluate(*fallback) : Value(Undefined{name}));
  }
  std::string out;
  execute(macro.body, out);
  return Value(std::move(out));
}

}  // namespace halftone::jinja
