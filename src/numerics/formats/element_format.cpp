// Looking formats up by name; see element_format.h.
#include "numerics/formats/element_format.h"

#include <string>

#include "base/error.h"

namespace halftone {

const ElementFormat* lookup_element_format(std::string_view name) {
  for (const ElementFormat& format : kElementFormats)
    if (format.name == name) return &format;
  return nullptr;
}

const ElementFormat& find_element_format(std::string_view name) {
  if (const ElementFormat* format = lookup_element_format(name)) return *format;
  std::string names;
  for (const ElementFormat& format : kElementFormats) names += (names.empty() ? "" : ", ") + std::string(format.name);
  throw InvalidArgument("element format '{}' is unknown; it is one of {}", name, names);
}

}  // namespace halftone
