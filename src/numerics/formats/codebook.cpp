// Checks of user codebooks; see codebook.h.
#include "numerics/formats/codebook.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/error.h"

namespace halftone {

Codebook::Codebook(std::string name, std::vector<float> values, int dimension) {
  if (dimension < 1 || dimension > kMaxDimension)
    throw InvalidArgument("codebook '{}' has vectors of {} numbers; 1 to {} can be", name, dimension, kMaxDimension);
  const size_t entries = values.size() / static_cast<size_t>(dimension);
  if (values.size() % static_cast<size_t>(dimension) != 0 || entries < 2 || entries > size_t{kMaxEntries})
    throw InvalidArgument("codebook '{}' has {} numbers; it needs 2 to {} entries of {} each", name, values.size(),
                          kMaxEntries, dimension);
  for (size_t i = 0; i < values.size(); ++i)
    if (!std::isfinite(values[i]))
      throw InvalidArgument("number {} of codebook '{}' is {}; entries must be finite", i, name, values[i]);
  auto owned = std::make_shared<Entries>();
  owned->name = std::move(name);
  owned->values = std::move(values);
  owned->format = codebook_format(owned->name.c_str(), std::bit_width(entries - 1), owned->values, dimension);
  entries_ = std::move(owned);
}

}  // namespace halftone
