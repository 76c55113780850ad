// Names of the roundings, and the bits of a matrix; see rounding.h and rounding_source.h.
#include "numerics/formats/rounding.h"

#include "base/error.h"
#include "numerics/formats/rounding_source.h"

namespace halftone {

namespace {
constexpr Rounding kRoundings[] = {Rounding::NearestEven, Rounding::HalfAway, Rounding::TowardZero,
                                   Rounding::Stochastic, Rounding::Dithered};
}  // namespace

std::string_view to_string(Rounding rounding) {
  switch (rounding) {
    case Rounding::NearestEven:
      return "nearest-even";
    case Rounding::HalfAway:
      return "half-away";
    case Rounding::TowardZero:
      return "toward-zero";
    case Rounding::Stochastic:
      return "stochastic";
    case Rounding::Dithered:
      return "dithered";
  }
  return "?";
}

Rounding parse_rounding(std::string_view name) {
  for (const Rounding rounding : kRoundings)
    if (to_string(rounding) == name) return rounding;
  throw InvalidArgument(
      "rounding '{}' is unknown; it is one of nearest-even, half-away, toward-zero, stochastic, dithered", name);
}

RoundingSource::RoundingSource(Rounding rounding, const RandomKey& key) : rounding_(rounding), stream_(key) {
  if (rounding != Rounding::Dithered) return;
  shift_ = stream_.word(0);
  along_rows_.emplace(0, 2);
  along_columns_.emplace(1, 2);
}

}  // namespace halftone
