// Codebooks that a user or a method brings: lists of numbers or of short vectors, checked once, used as an
// ElementFormat.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "numerics/formats/element_format.h"

namespace halftone {

/// 2 to 65536 entries of `dimension` finite numbers each. Code i is entry i; codes past the last entry are never
/// produced and decode to NaN. Of equal entries the lowest code is produced.
class Codebook {
 public:
  static constexpr int kMaxDimension = 256;
  static constexpr int kMaxEntries = 65536;

  /// values  [size, dimension], row-major. Throws InvalidArgument naming what does not fit.
  Codebook(std::string name, std::vector<float> values, int dimension = 1);
  /// Valid while any copy of this codebook lives.
  const ElementFormat& format() const { return entries_->format; }
  /// [size, dimension], row-major.
  std::span<const float> values() const { return entries_->values; }

 private:
  struct Entries {
    std::string name;
    std::vector<float> values;
    ElementFormat format;
  };
  std::shared_ptr<const Entries> entries_;
};

}  // namespace halftone
