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

}  // namespace

std::string_view to_string(Granularity granularity) {
  switch (granularity) {
    case Granularity::Row:
      return "row";
    case Granularity::Group:
      return "group";
    case Granularity::TwoLevel:
      return "two-level";
  }
  return "?";
}

Granularity parse_granularity(std::string_view name) {
  for (const auto value : {Granularity::Row, Granularity::Group, Granularity::TwoLevel})
    if (to_string(value) == name) return value;
  throw InvalidArgument("granularity '{}' is unknown; it is one of row, group, two-level", name);
}

void QuantScheme::validate(int64_t k) const {
  if (bits_of(element) > 8)
    throw InvalidArgument("quantisation to {} is not an integer format; use int8, int4 or int2", to_string(element));
  if (k < 1) throw InvalidArgument("a quantised matrix needs rows of at least 1 element, got {}", k);
  if (granularity != Granularity::Row && group < 1)
    throw InvalidArgument("group size {} must be at least 1 for {} scales", group, to_string(granularity));
  if (granularity == Granularity::TwoLevel && (element != ElementType::Int4 || !zero_points))
    throw InvalidArgument("two-level scales go with int4 codes and zero points, got {} {}", to_string(element),
                          zero_points ? "with zero points" : "without zero points");
}

int64_t QuantScheme::bytes(int64_t n, int64_t k) const {
  const int64_t group_count = groups(k);
  int64_t per_row = row_bytes(element, k);
  per_row +=
      granularity == Granularity::TwoLevel ? kScaleBytes + group_count * kGroupScaleBytes : group_count * kScaleBytes;
  if (zero_points) per_row += group_count * kZeroBytes;
  return n * per_row;
}

double QuantScheme::bits_per_weight(int64_t n, int64_t k) const {
  return 8.0 * static_cast<double>(bytes(n, k)) / (static_cast<double>(n) * static_cast<double>(k));
}

int QuantScheme::max_code() const { return (1 << bits_of(element)) - 1; }

std::string to_string(const QuantScheme& scheme) {
  const std::string size = scheme.granularity == Granularity::Row ? "" : " " + std::to_string(scheme.group);
  return fmt::format("{} {}{} {}", to_string(scheme.element), to_string(scheme.granularity), size,
                     scheme.zero_points ? "asymmetric" : "symmetric");
}

Json to_json(const QuantScheme& scheme) {
  return Json{{"element", to_string(scheme.element)},
              {"granularity", to_string(scheme.granularity)},
              {"group", scheme.group},
              {"zero_points", scheme.zero_points}};
}

QuantScheme quant_scheme_from_json(const Json& json) {
  for (const char* field : {"element", "granularity", "group", "zero_points"})
    if (!json.is_object() || !json.contains(field))
      throw InvalidArgument("a quantisation scheme needs the field '{}'; got {}", field, json.dump());
  try {
    return {parse_element_type(json.at("element").get<std::string>()),
            parse_granularity(json.at("granularity").get<std::string>()), json.at("group").get<int64_t>(),
            json.at("zero_points").get<bool>()};
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
