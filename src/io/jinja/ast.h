// Syntax tree of a template. One node type with a kind keeps the tree small; which members a kind uses is said beside
// it.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/jinja/value.h"

namespace halftone::jinja {

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

enum class ExprKind {
  Literal,    // value
  Name,       // text
  ListOf,     // args; text is "tuple" for a tuple
  DictOf,     // args: key, value, key, value, ...
  Attribute,  // args[0].text
  Index,      // args[0][args[1]]
  Slice,      // args[0][args[1] : args[2] : args[3]], null where left out
  Call,       // args[0](args[1..], names)
  Filter,     // args[0] | text(args[1..], names)
  Test,       // args[0] is text(args[1..])
  Unary,      // text is "-", "+" or "not"; args[0]
  Binary,     // args[0] text args[1]
  Concat,     // args joined as text
  Ternary,    // args[0] if args[1] else args[2], null where left out
};

struct Expr {
  ExprKind kind;
  int line;
  std::string text;
  Value value;
  std::vector<ExprPtr> args;
  std::vector<std::pair<std::string, ExprPtr>> named;  // keyword arguments
  int depth = 1;
};

struct Stmt;
using Body = std::vector<Stmt>;

enum class StmtKind { Text, Output, If, For, Set, SetBlock, Macro, With, Break, Continue };

struct Branch;
struct MacroNode;

struct Stmt {
  StmtKind kind;
  int line;
  std::string text;                // Text: the text; Set: "namespace.attribute" target's attribute, or empty
  std::vector<std::string> names;  // For, Set: targets; SetBlock: the target; With: names
  std::vector<ExprPtr> exprs;      // Output, Set: the value; For: iterable, filter or null; With: values
  std::vector<Branch> branches;    // If: conditions and bodies (condition null for else); For, ...: bodies
  std::shared_ptr<MacroNode> macro;
};

/// Name under which a block set's filters see its text; no template can spell it.
inline constexpr std::string_view kBlockSetText = "(block)";

struct Branch {
  ExprPtr condition;
  Body body;
};

struct MacroNode {
  std::string name;
  std::vector<std::pair<std::string, ExprPtr>> parameters;  // default or null
  Body body;
};

/// Throws InvalidArgument with the line for a syntax error, Unsupported for a statement that we do not have.
Body parse_template(std::string_view source);

}  // namespace halftone::jinja
