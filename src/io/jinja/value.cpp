// Conversions and comparisons of template values; see value.h.
#include "io/jinja/value.h"

#include <algorithm>
#include <cmath>

#include "base/json.h"
#include "io/utf8.h"

namespace halftone::jinja {
namespace {

int checked_depth(int deepest_item) {
  if (deepest_item >= Value::kMaxDepth)
    throw InvalidArgument("chat template: lists and dictionaries nest deeper than {}", Value::kMaxDepth);
  return deepest_item + 1;
}

std::string float_text(double v) {
  if (std::isnan(v)) return "nan";
  if (std::isinf(v)) return v < 0 ? "-inf" : "inf";
  std::string text = fmt::format("{}", v);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

std::string string_repr(const std::string& text) {
  const char quote = text.find('\'') != std::string::npos && text.find('"') == std::string::npos ? '"' : '\'';
  std::string out(1, quote);
  for (std::string_view rest = text; !rest.empty();) {
    const Utf8Char next = utf8_next(rest);
    if (next.code == static_cast<uint32_t>(quote) || next.code == '\\')
      out.append({'\\', rest[0]});
    else if (next.code == '\n')
      out += "\\n";
    else if (next.code == '\r')
      out += "\\r";
    else if (next.code == '\t')
      out += "\\t";
    else if (next.code < 0x20 || (next.code >= 0x7F && next.code <= 0xA0) || next.code == 0xAD)
      out += fmt::format("\\x{:02x}", next.code);
    else
      out.append(rest.substr(0, next.length));
    rest.remove_prefix(next.length);
  }
  return out + quote;
}

std::string json_string(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

class JsonWriter {
 public:
  JsonWriter(int indent, Context& context) : indent_(indent), context_(context) {}

  void write(const Value& value, int level) {
    context_.spend_steps(1);
    if (value.is_none())
      out_ += "null";
    else if (const bool* flag = value.get_if<bool>())
      out_ += *flag ? "true" : "false";
    else if (const std::string* text = value.string())
      out_ += json_string(*text);
    else if (const List* list = value.list())
      write_items(list->size(), level, "[]", [&](size_t i) { write((*list)[i], level + 1); });
    else if (const Dict* dict = value.dict())
      write_items(dict->size(), level, "{}", [&](size_t i) {
        const auto& [key, item] = (*dict)[i];
        out_ += json_string(key.string() ? *key.string() : to_text(key, context_));
        out_ += ": ";
        write(item, level + 1);
      });
    else if (value.is_number())
      out_ += number(value);
    else
      context_.fail("tojson cannot write a value of type {}", value.type_name());
  }
  std::string take() {
    context_.spend_bytes(out_.size());
    return std::move(out_);
  }

 private:
  static std::string number(const Value& value) {
    if (const int64_t* integer = value.get_if<int64_t>()) return fmt::format("{}", *integer);
    const double v = *value.get_if<double>();
    if (std::isnan(v)) return "NaN";
    return std::isinf(v) ? (v < 0 ? "-Infinity" : "Infinity") : float_text(v);
  }

  template <class Item>
  void write_items(size_t count, int level, std::string_view brackets, const Item& item) {
    out_ += brackets[0];
    for (size_t i = 0; i < count; ++i) {
      if (i > 0) out_ += indent_ < 0 ? ", " : ",";
      new_line(level + 1);
      item(i);
    }
    if (count > 0) new_line(level);
    out_ += brackets[1];
    if (out_.size() > static_cast<size_t>(context_.bytes_left)) context_.spend_bytes(out_.size());
  }
  void new_line(int level) {
    if (indent_ < 0) return;
    out_ += '\n';
    out_.append(static_cast<size_t>(indent_) * level, ' ');
  }

  int indent_;
  Context& context_;
  std::string out_;
};

}  // namespace

Value Value::list(List items, bool is_tuple) {
  int deepest = 0;
  for (const Value& item : items) deepest = std::max(deepest, item.depth());
  Value value;
  value.data_ = std::make_shared<const ListBox>(ListBox{std::move(items), checked_depth(deepest), is_tuple});
  return value;
}

Value Value::dict(Dict items) {
  int deepest = 0;
  for (const auto& [key, item] : items) deepest = std::max({deepest, key.depth(), item.depth()});
  Value value;
  value.data_ = std::make_shared<const DictBox>(DictBox{std::move(items), checked_depth(deepest)});
  return value;
}

const std::string* Value::string() const {
  const auto* box = get_if<std::shared_ptr<const std::string>>();
  return box ? box->get() : nullptr;
}
const List* Value::list() const {
  const auto* box = get_if<std::shared_ptr<const ListBox>>();
  return box ? &(*box)->items : nullptr;
}
bool Value::is_tuple() const {
  const auto* box = get_if<std::shared_ptr<const ListBox>>();
  return box && (*box)->is_tuple;
}
const Dict* Value::dict() const {
  const auto* box = get_if<std::shared_ptr<const DictBox>>();
  return box ? &(*box)->items : nullptr;
}
NamespaceBox* Value::name_space() const {
  const auto* box = get_if<std::shared_ptr<NamespaceBox>>();
  return box ? box->get() : nullptr;
}

int Value::depth() const {
  if (const auto* box = get_if<std::shared_ptr<const ListBox>>()) return (*box)->depth;
  if (const auto* box = get_if<std::shared_ptr<const DictBox>>()) return (*box)->depth;
  return 0;
}

bool Value::to_integer(int64_t& out) const {
  if (const bool* flag = get_if<bool>()) return out = *flag, true;
  if (const int64_t* integer = get_if<int64_t>()) return out = *integer, true;
  return false;
}

bool Value::to_double(double& out) const {
  if (const double* real = get_if<double>()) return out = *real, true;
  int64_t integer = 0;
  if (!to_integer(integer)) return false;
  out = static_cast<double>(integer);
  return true;
}

bool Value::truthy() const {
  double number = 0;
  if (to_double(number)) return number != 0;
  if (string()) return !string()->empty();
  if (list()) return !list()->empty();
  if (dict()) return !dict()->empty();
  return !is_none() && !is_undefined();
}

std::string_view Value::type_name() const {
  static constexpr std::string_view kNames[] = {"none",   "undefined", "bool",       "int",       "float",
                                                "string", "list",      "dictionary", "namespace", "macro"};
  return kNames[data_.index()];
}

std::string to_repr(const Value& value, Context& context) {
  context.spend_steps(1);
  std::string out;
  if (value.string()) {
    out = string_repr(*value.string());
  } else if (const List* list = value.list()) {
    for (const Value& item : *list) out += (out.empty() ? "" : ", ") + to_repr(item, context);
    if (value.is_tuple())
      out = "(" + out + (list->size() == 1 ? ",)" : ")");
    else
      out = "[" + out + "]";
  } else if (const Dict* dict = value.dict()) {
    for (const auto& [key, item] : *dict)
      out += (out.empty() ? "" : ", ") + to_repr(key, context) + ": " + to_repr(item, context);
    out = "{" + out + "}";
  } else if (value.is_undefined()) {
    out = "Undefined";
  } else {
    return to_text(value, context);
  }
  context.spend_bytes(out.size());
  return out;
}

std::string to_text(const Value& value, Context& context) {
  if (value.string()) return *value.string();
  if (value.is_none()) return "None";
  if (value.is_undefined()) return "";
  if (const bool* flag = value.get_if<bool>()) return *flag ? "True" : "False";
  if (const int64_t* integer = value.get_if<int64_t>()) return fmt::format("{}", *integer);
  if (const double* real = value.get_if<double>()) return float_text(*real);
  if (value.list() || value.dict()) return to_repr(value, context);
  return fmt::format("<{}>", value.type_name());
}

std::string to_json_text(const Value& value, int indent, Context& context) {
  JsonWriter writer(std::min(indent, 64), context);
  writer.write(value, 0);
  return writer.take();
}

bool equal(const Value& a, const Value& b, Context& context) {
  context.spend_steps(1);
  int64_t ia = 0, ib = 0;
  if (a.to_integer(ia) && b.to_integer(ib)) return ia == ib;
  double da = 0, db = 0;
  if (a.to_double(da) && b.to_double(db)) return da == db;
  if (a.string() && b.string()) return *a.string() == *b.string();
  if (a.list() && b.list())
    return std::equal(a.list()->begin(), a.list()->end(), b.list()->begin(), b.list()->end(),
                      [&](const Value& x, const Value& y) { return equal(x, y, context); });
  if (a.dict() && b.dict()) {
    if (a.dict()->size() != b.dict()->size()) return false;
    for (const auto& [key, item] : *a.dict()) {
      const Value* other = find_member(b, key, context);
      if (!other || !equal(item, *other, context)) return false;
    }
    return true;
  }
  if (a.name_space() || b.name_space()) return a.name_space() == b.name_space();
  return (a.is_none() && b.is_none()) || (a.is_undefined() && b.is_undefined());
}

bool less(const Value& a, const Value& b, Context& context) {
  context.spend_steps(1);
  int64_t ia = 0, ib = 0;
  if (a.to_integer(ia) && b.to_integer(ib)) return ia < ib;
  double da = 0, db = 0;
  if (a.to_double(da) && b.to_double(db)) return da < db;
  if (a.string() && b.string()) return *a.string() < *b.string();  // UTF-8 sorts as code points do
  if (a.list() && b.list()) {
    const List &x = *a.list(), &y = *b.list();
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i)
      if (!equal(x[i], y[i], context)) return less(x[i], y[i], context);
    return x.size() < y.size();
  }
  context.fail("a {} and a {} have no order", a.type_name(), b.type_name());
}

const Value* find_member(const Value& container, const Value& key, Context& context) {
  if (key.string()) return find_member(container, *key.string());
  if (const Dict* dict = container.dict())
    for (const auto& [name, item] : *dict)
      if (equal(name, key, context)) return &item;
  return nullptr;
}

const Value* find_member(const Value& container, std::string_view key) {
  if (const Dict* dict = container.dict()) {
    for (const auto& [name, item] : *dict)
      if (name.string() && *name.string() == key) return &item;
  } else if (NamespaceBox* box = container.name_space()) {
    for (const auto& [name, item] : box->items)
      if (name == key) return &item;
  }
  return nullptr;
}

void Context::spend_look(const Value& value) {
  constexpr int64_t kBytesPerStep = 64;
  if (const std::string* text = value.string()) spend_steps(static_cast<int64_t>(text->size()) / kBytesPerStep);
  if (const List* list = value.list()) spend_steps(static_cast<int64_t>(list->size()));
  if (const Dict* dict = value.dict()) spend_steps(static_cast<int64_t>(dict->size()));
}

List iterate(const Value& value, Context& context) {
  List items;
  if (value.is_undefined()) return items;
  if (const List* list = value.list()) {
    items = *list;
  } else if (const Dict* dict = value.dict()) {
    for (const auto& entry : *dict) items.push_back(entry.first);
  } else if (const std::string* text = value.string()) {
    context.spend_steps(static_cast<int64_t>(text->size()));
    for (std::string_view rest = *text; !rest.empty();) {
      const uint32_t length = utf8_next(rest).length;
      items.emplace_back(rest.substr(0, length));
      rest.remove_prefix(length);
    }
  } else {
    context.fail("a {} cannot be iterated over", value.type_name());
  }
  context.spend_steps(static_cast<int64_t>(items.size()));
  return items;
}

namespace {
Value from_json_at(const Json& json, int depth) {
  if (depth > Value::kMaxDepth) checked_depth(depth);
  switch (json.type()) {
    case Json::value_t::boolean:
      return Value(json.get<bool>());
    case Json::value_t::number_integer:
      return Value(json.get<int64_t>());
    case Json::value_t::number_unsigned: {
      const auto number = json.get<uint64_t>();
      return number <= INT64_MAX ? Value(static_cast<int64_t>(number)) : Value(static_cast<double>(number));
    }
    case Json::value_t::number_float:
      return Value(json.get<double>());
    case Json::value_t::string:
      return Value(json.get<std::string>());
    case Json::value_t::array: {
      List items;
      for (const Json& item : json) items.push_back(from_json_at(item, depth + 1));
      return Value::list(std::move(items));
    }
    case Json::value_t::object: {
      Dict items;
      for (const auto& [key, item] : json.items()) items.emplace_back(Value(key), from_json_at(item, depth + 1));
      return Value::dict(std::move(items));
    }
    default:
      return Value();
  }
}
}  // namespace

Value from_json(const Json& json) { return from_json_at(json, 0); }

}  // namespace halftone::jinja
