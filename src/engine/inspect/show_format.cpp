// Descriptions of number formats; see show_format.h.
#include "engine/inspect/show_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "engine/report/table.h"
#include "numerics/formats/element_array.h"
#include "numerics/formats/micro_block.h"

namespace halftone::engine {
namespace {

std::string_view kind_of(const ElementFormat& format) {
  switch (format.kind) {
    case ElementKind::Float:
      return "float";
    case ElementKind::PowerOfTwo:
      return "power of two";
    case ElementKind::Integer:
      return "integer";
    case ElementKind::Codebook:
      return "codebook";
    case ElementKind::Phase:
      return "phase";
  }
  return "?";
}

std::string element_summary(const ElementFormat& format) {
  switch (format.kind) {
    case ElementKind::Float:
      return fmt::format("sign, {} exponent and {} mantissa bits, bias {}", format.exponent_bits, format.mantissa_bits,
                         format.bias);
    case ElementKind::PowerOfTwo:
      return fmt::format("{} exponent bits, bias {}: scales, without sign and zero", format.exponent_bits, format.bias);
    case ElementKind::Integer:
      return fmt::format("{} .. {}{}", format.min_integer, format.max_integer,
                         format.is_unsigned_integer() ? " with a zero point" : "");
    case ElementKind::Codebook:
      return fmt::format("{} values from {} to {}", format.codebook_size, lowest_value(format), largest_value(format));
    case ElementKind::Phase:
      return "i^code: 1, i, -1, -i; one code for two numbers, scaled together (f16) or by axis (f16x2)";
  }
  return "?";
}

/// JSON has no NaN and no infinities: they become text.
Json number(float value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  return value;
}

Json code_values(const ElementFormat& format) {
  Json values = Json::array();
  for (uint32_t code = 0; code < 1u << format.bits; ++code) {
    if (format.dimension == 1)
      values.push_back(number(decode(format, code)));
    else
      values.push_back({number(decode(format, code, 0)), number(decode(format, code, 1))});
  }
  return values;
}

std::string nan_rule(const ElementFormat& format) {
  const bool signed_codes = format.kind == ElementKind::Float;
  switch (format.specials) {
    case SpecialValues::InfinityAndNan:
      return "exponent all ones, mantissa not 0";
    case SpecialValues::NanOnly:
      return signed_codes ? "all ones but for the sign" : "0xff; also what infinities and negative numbers become";
    case SpecialValues::None:
      break;
  }
  if (format.is_float()) return fmt::format("none; NaN becomes {}", largest_value(format));
  return format.dimension > 1 ? "none; NaN counts as 0" : "none; NaN becomes what 0 becomes";
}

std::string overflow_rule(const ElementFormat& format) {
  if (format.kind == ElementKind::Phase) return "every number has a phase";
  const std::string saturates = fmt::format("saturates to {}", largest_value(format));
  if (format.specials == SpecialValues::None) return saturates;
  return saturates + (format.specials == SpecialValues::NanOnly ? "; NaN on request" : "; infinity on request");
}

Json describe_element(const ElementFormat& format) {
  Json json{{"name", format.name},
            {"kind", kind_of(format)},
            {"summary", element_summary(format)},
            {"bits", format.bits},
            {"bits_per_element", format.bits_per_element()},
            {"max", largest_value(format)},
            {"min", lowest_value(format)}};
  if (format.is_float() || format.kind == ElementKind::PowerOfTwo) {
    json["exponent"] = format.exponent_bits;
    json["mantissa"] = format.mantissa_bits;
    json["bias"] = format.bias;
    json["min_normal"] = smallest_normal(format);
    if (format.is_float()) json["min_subnormal"] = smallest_positive(format);
  }
  json["nan"] = nan_rule(format);
  json["infinity"] = format.specials == SpecialValues::InfinityAndNan ? "exponent all ones, mantissa 0" : "none";
  json["overflow"] = overflow_rule(format);
  if (format.bits <= 8) json["values"] = code_values(format);
  return json;
}

Json describe_two_level(const ScaleFormat& format) {
  const char* shared_by = format.sharing == OuterSharing::Tensor ? "tensor" : "row of blocks";
  return {{"name", format.name},
          {"kind", "two-level scale"},
          {"summary", fmt::format("{} times an {} shared by a {}", format.inner.name, format.outer.name, shared_by)},
          {"bits", format.inner.bits},
          {"inner", format.inner.name},
          {"outer", format.outer.name},
          {"outer_bits", format.outer.bits},
          {"outer_shared_by", shared_by}};
}

Json describe_pair(const ScaleFormat& format) {
  return {{"name", format.name},
          {"kind", "pair of scales"},
          {"summary",
           fmt::format("two {} scales a block: of real and of imaginary parts of complex codes", format.inner.name)},
          {"bits", format.parts * format.inner.bits},
          {"inner", format.inner.name}};
}

bool has_description(const ScaleFormat& format) { return format.two_level() || format.parts > 1; }

Json describe_scale(const ScaleFormat& format) {
  return format.two_level() ? describe_two_level(format) : describe_pair(format);
}

Json describe_block(const MicroFormat& format) {
  const ScaleFormat& scale = find_scale_format(format.scale);
  const int block_bits = format.block * format.element.bits + scale.inner.bits;
  Json json{{"name", format.name},
            {"kind", "block"},
            {"summary", fmt::format("{} {} under one {} scale", format.block, format.element.name, scale.name)},
            {"bits_per_element", static_cast<double>(block_bits) / format.block},
            {"element", format.element.name},
            {"block", format.block},
            {"block_bytes", block_bits / 8},
            {"scale", scale.name},
            {"rule", to_string(format.rule)},
            {"max", largest_value(format.element)}};
  if (scale.two_level()) json["tensor_scale"] = scale.outer.name;
  return json;
}

/// Rows of eight values with the code of the first one.
std::string values_text(const Json& values) {
  constexpr size_t kColumns = 8;
  Table table{{"code"}, {}};
  for (size_t column = 0; column < std::min(kColumns, values.size()); ++column)
    table.header.push_back(fmt::format("+{}", column));
  for (size_t first = 0; first < values.size(); first += kColumns) {
    std::vector<std::string> row{fmt::format("{:#04x}", first)};
    for (size_t code = first; code < std::min(first + kColumns, values.size()); ++code) {
      const Json& value = values[code];
      row.push_back(value.is_number()   ? fmt::format("{}", value.get<float>())
                    : value.is_string() ? value.get<std::string>()
                                        : fmt::format("({}, {})", value[0].get<float>(), value[1].get<float>()));
    }
    row.resize(table.header.size());
    table.rows.push_back(std::move(row));
  }
  return to_text(table);
}

std::string fact_text(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_integer()) return fmt::format("{}", value.get<int64_t>());
  return fmt::format("{}", static_cast<float>(value.get<double>()));
}

}  // namespace

Json list_formats() {
  Json list = Json::array();
  const auto add = [&](const Json& full) {
    Json entry;
    for (const char* field : {"name", "kind", "bits_per_element", "bits", "summary"})
      if (full.contains(field) && !(entry.contains("bits_per_element") && std::string_view(field) == "bits"))
        entry[field] = full[field];
    list.push_back(std::move(entry));
  };
  for (const ElementFormat& format : kElementFormats) add(describe_element(format));
  for (const ScaleFormat& format : kScaleFormats)
    if (has_description(format)) add(describe_scale(format));
  for (const MicroFormat& format : kMicroFormats) add(describe_block(format));
  return list;
}

Json describe_format(std::string_view name) {
  if (const ElementFormat* element = lookup_element_format(name)) return describe_element(*element);
  if (const MicroFormat* block = lookup_micro_format(name)) return describe_block(*block);
  for (const ScaleFormat& scale : kScaleFormats)
    if (has_description(scale) && scale.name == name) return describe_scale(scale);
  std::string names;
  for (const Json& entry : list_formats()) names += (names.empty() ? "" : ", ") + entry["name"].get<std::string>();
  throw InvalidArgument("number format '{}' is unknown; it is one of {}", name, names);
}

std::string format_list_text() {
  Table table{{"format", "bits", "what it is"}, {}};
  size_t width = 0;
  for (const Json& entry : list_formats()) {
    const Json& bits = entry.contains("bits_per_element") ? entry["bits_per_element"] : entry["bits"];
    table.rows.push_back({entry["name"].get<std::string>(), fact_text(bits), entry["summary"].get<std::string>()});
    width = std::max(width, table.rows.back()[2].size());
  }
  table.header[2].resize(width, ' ');
  for (auto& row : table.rows) row[2].resize(width, ' ');  // the table aligns its last columns right
  return to_text(table);
}

std::string format_text(std::string_view name) {
  const Json facts = describe_format(name);
  std::string text = fmt::format("{}: {}\n\n", facts["name"].get<std::string>(), facts["summary"].get<std::string>());
  for (const char* field : {"kind",
                            "bits",
                            "bits_per_element",
                            "exponent",
                            "mantissa",
                            "bias",
                            "max",
                            "min",
                            "min_normal",
                            "min_subnormal",
                            "infinity",
                            "nan",
                            "overflow",
                            "element",
                            "block",
                            "block_bytes",
                            "scale",
                            "tensor_scale",
                            "rule",
                            "inner",
                            "outer",
                            "outer_bits",
                            "outer_shared_by"})
    if (facts.contains(field)) text += fmt::format("{:<17} {}\n", field, fact_text(facts[field]));
  if (facts.contains("values")) text += "\n" + values_text(facts["values"]);
  return text;
}

}  // namespace halftone::engine
