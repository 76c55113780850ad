// Validation, naming and byte accounting of weight formats; see quant_scheme.h.
#include "numerics/quant_scheme.h"

#include <array>

#include "base/error.h"
#include "base/json.h"

namespace halftone {
namespace {

constexpr int64_t kScaleBytes = 2;  // f16
constexpr int64_t kGroupScaleBytes = 1;
constexpr int64_t kZeroBytes = 1;
constexpr Granularity kGranularities[] = {Granularity::Row, Granularity::Group, Granularity::TwoLevel,
                                          Granularity::SuperGroup};

}  // namespace

std::string_view to_string(Granularity granularity) {
  switch (granularity) {
    case Granularity::Row:
      return "row";
    case Granularity::Group:
      return "group";
    case Granularity::TwoLevel:
      return "two-level";
    case Granularity::SuperGroup:
      return "super-group";
  }
  return "?";
}

Granularity parse_granularity(std::string_view name) {
  for (const auto value : kGranularities)
    if (to_string(value) == name) return value;
  throw InvalidArgument("granularity '{}' is unknown; it is one of row, group, two-level, super-group", name);
}

void QuantScheme::validate(int64_t k) const {
  if (bits_of(element) > 8)
    throw InvalidArgument("quantisation to {} is not an integer format; use int8, int4, int3, int2 or ternary",
                          to_string(element));
  if (k < 1) throw InvalidArgument("a quantised matrix needs rows of at least 1 element, got {}", k);
  if (granularity != Granularity::Row && group < 1)
    throw InvalidArgument("group size {} must be at least 1 for {} scales", group, to_string(granularity));
  if (granularity == Granularity::TwoLevel && (element == ElementType::Int8 || !zero_points))
    throw InvalidArgument("two-level scales go with int4, int3 or int2 codes and zero points, got {} {}",
                          to_string(element), zero_points ? "with zero points" : "without zero points");
  if (element == ElementType::Ternary &&
      (zero_points || minimums || (granularity != Granularity::Row && granularity != Granularity::Group)))
    throw InvalidArgument("ternary codes go with row or group scales and are symmetric, got {} scales {}",
                          to_string(granularity),
                          zero_points ? "with zero points"
                          : minimums  ? "with minimums"
                                      : "without zero points");
  const bool super = granularity == Granularity::SuperGroup;
  if (super && (zero_points || (group != 16 && group != 32)))
    throw InvalidArgument("super-group scales go with groups of 16 or 32 and without zero points, got {} {}", group,
                          zero_points ? "with zero points" : "without zero points");
  if (minimums && (zero_points || (!super && granularity != Granularity::Group)))
    throw InvalidArgument("minimums go with group or super-group scales and without zero points, got {} scales {}",
                          to_string(granularity), zero_points ? "with zero points" : "without zero points");
}

int64_t QuantScheme::scales(int64_t k) const {
  switch (granularity) {
    case Granularity::Group:
      return groups(k);
    case Granularity::SuperGroup:
      return super_groups(k);
    default:
      return 1;
  }
}

int64_t QuantScheme::bytes(int64_t n, int64_t k) const {
  const int64_t group_count = groups(k);
  const int64_t scale_bytes = scales(k) * kScaleBytes + (has_group_scales() ? group_count * kGroupScaleBytes : 0);
  int64_t per_row = row_bytes(element, k) + (minimums ? 2 : 1) * scale_bytes;
  if (zero_points) per_row += group_count * kZeroBytes;
  return n * per_row;
}

double QuantScheme::bits_per_weight(int64_t n, int64_t k) const {
  return 8.0 * static_cast<double>(bytes(n, k)) / (static_cast<double>(n) * static_cast<double>(k));
}

int QuantScheme::max_code() const { return top_code(element); }

std::string to_string(const QuantScheme& scheme) {
  const std::string size = scheme.granularity == Granularity::Row ? "" : " " + std::to_string(scheme.group);
  return fmt::format("{} {}{} {}", to_string(scheme.element), to_string(scheme.granularity), size,
                     scheme.minimums      ? "minimums"
                     : scheme.zero_points ? "asymmetric"
                                          : "symmetric");
}

Json to_json(const QuantScheme& scheme) {
  return Json{{"element", to_string(scheme.element)},
              {"granularity", to_string(scheme.granularity)},
              {"group", scheme.group},
              {"zero_points", scheme.zero_points},
              {"minimums", scheme.minimums}};
}

QuantScheme quant_scheme_from_json(const Json& json) {
  for (const char* field : {"element", "granularity", "group", "zero_points"})
    if (!json.is_object() || !json.contains(field))
      throw InvalidArgument("a quantisation scheme needs the field '{}'; got {}", field, json.dump());
  try {
    return {parse_element_type(json.at("element").get<std::string>()),
            parse_granularity(json.at("granularity").get<std::string>()), json.at("group").get<int64_t>(),
            json.at("zero_points").get<bool>(), json.value("minimums", false)};
  } catch (const Json::exception& problem) {
    throw InvalidArgument("a quantisation scheme has a field of the wrong type: {}", problem.what());
  }
}

int64_t fitting_group(int64_t k, int64_t requested) {
  for (const int64_t group : std::array<int64_t, 4>{256, 128, 64, 32})
    if (group <= requested && k % group == 0) return group;
  return requested;
}

}  // namespace halftone
