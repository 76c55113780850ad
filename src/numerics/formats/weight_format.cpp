// Names of weight formats, and the rule that assigns their storages; see weight_format.h.
#include "numerics/formats/weight_format.h"

#include "base/error.h"
#include "numerics/formats/micro_block.h"

namespace halftone {
namespace {

bool same(const ElementFormat& a, const ElementFormat& b) {
  return std::string_view(a.name) == b.name && a.kind == b.kind && a.bits == b.bits && a.codebook == b.codebook;
}

bool is_tabled(const ElementFormat& format) {
  const ElementFormat* known = lookup_element_format(format.name);
  return known != nullptr && same(*known, format);
}

std::optional<ElementType> integer_type(const ElementFormat& format) {
  if (format.kind != ElementKind::Integer) return std::nullopt;
  if (same(format, kTernary)) return ElementType::Ternary;
  for (const ElementType type : {ElementType::Int8, ElementType::Int4, ElementType::Int3, ElementType::Int2})
    if (bits_of(type) == format.bits) return type;
  return std::nullopt;
}

}  // namespace

MatrixFormat parse_weight_format(std::string_view text) {
  const size_t space = text.find(' ');
  const std::string_view first = text.substr(0, space);
  if (lookup_micro_format(first) != nullptr)
    return space == std::string_view::npos ? micro_matrix_format(first)
                                           : micro_matrix_format(first, parse_scale_rule(text.substr(space + 1)));
  if (space == std::string_view::npos)
    throw InvalidArgument("weight format '{}' is unknown; it is {}", text, weight_format_forms());
  MatrixFormat format = parse_matrix_format(text);
  require_weight_format(format);
  return format;
}

std::string weight_format_name(const MatrixFormat& format) {
  for (const MicroFormat& micro : kMicroFormats)
    if (same(format.element, micro.element) && std::string_view(format.scale.name) == micro.scale &&
        format.layout == ScaleGranularity{ScaleSharing::Group, 1, micro.block} && format.rule == micro.rule)
      return micro.name;
  return to_string(format);
}

std::string weight_format_forms() {
  std::string names;
  for (const MicroFormat& micro : kMicroFormats) names += std::string(micro.name) + " | ";
  return names + "ELEMENT GRANULARITY SCALE [RULE], as in 'nf4 group:64 f16' or 'e4m3 block:128x128 f32'";
}

std::optional<QuantScheme> scheme_of(const MatrixFormat& format) {
  const auto type = integer_type(format.element);
  const bool by_row = format.layout.sharing == ScaleSharing::Row,
             by_group = format.layout.sharing == ScaleSharing::Group;
  if (!type || !same(format.scale.inner, kF16) || format.scale.two_level() || format.scale.parts > 1 ||
      (!by_row && !by_group))
    return std::nullopt;
  return QuantScheme{.element = *type,
                     .granularity = by_row ? Granularity::Row : Granularity::Group,
                     .group = by_row ? QuantScheme{}.group : format.layout.block_columns,
                     .zero_points = format.element.is_unsigned_integer()};
}

void require_weight_format(const MatrixFormat& format) {
  if (!is_tabled(format.element))
    throw InvalidArgument(
        "element format '{}' is not one of the catalogue; a codebook of one's own needs a storage that holds its "
        "table, so take quantize_to_codebook, or a format that 'halftone show format' lists",
        format.element.name);
  if (format.element.kind == ElementKind::PowerOfTwo)
    throw InvalidArgument("{} holds scales and has neither 0 nor a sign; take another element format",
                          format.element.name);
  const ScaleFormat& scale = find_scale_format(format.scale.name);
  if (scale.sharing != format.scale.sharing || scale.parts != format.scale.parts ||
      !same(scale.inner, format.scale.inner) || !same(scale.outer, format.scale.outer))
    throw InvalidArgument("scale format '{}' differs from the catalogue's; take that one", format.scale.name);
  if (format.layout.sharing == ScaleSharing::Token || format.layout.sharing == ScaleSharing::TokenHead)
    throw InvalidArgument("granularity {} is one of activations; weights take tensor, row, channel, group:N, block:RxC",
                          to_string(format.layout));
}

}  // namespace halftone
