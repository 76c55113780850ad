// Names of the element types, as configurations and reports spell them.
#include "numerics/formats.h"

#include "base/error.h"

namespace halftone {

namespace {
constexpr ElementType kTypes[] = {ElementType::Float32, ElementType::Float16, ElementType::BFloat16,
                                  ElementType::Int8,    ElementType::Int4,    ElementType::Int3,
                                  ElementType::Int2,    ElementType::Ternary};
}  // namespace

std::string_view to_string(ElementType type) {
  switch (type) {
    case ElementType::Float32:
      return "f32";
    case ElementType::Float16:
      return "f16";
    case ElementType::BFloat16:
      return "bf16";
    case ElementType::Int8:
      return "int8";
    case ElementType::Int4:
      return "int4";
    case ElementType::Int3:
      return "int3";
    case ElementType::Int2:
      return "int2";
    case ElementType::Ternary:
      return "ternary";
  }
  return "?";
}

ElementType parse_element_type(std::string_view name) {
  for (ElementType type : kTypes) {
    if (to_string(type) == name) return type;
  }
  throw InvalidArgument("element type is \"{}\"; use one of f32, f16, bf16, int8, int4, int3, int2, ternary", name);
}

}  // namespace halftone
