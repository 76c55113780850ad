// The random bits or points that a matrix is rounded with, element by element.
#pragma once

#include <cstdint>
#include <optional>

#include "numerics/formats/rounding.h"
#include "numerics/low_discrepancy.h"

namespace halftone {

/// A rounding and where its bits come from. Stochastic: RandomBits of the key. Dithered: the plane filled evenly by the
/// additive recurrence of two dimensions, shifted by one draw of the key; each single point is uniform.
class RoundingSource {
 public:
  /// Roundings that are not random ignore the key.
  explicit RoundingSource(Rounding rounding = Rounding::NearestEven, const RandomKey& key = {});

  Rounding rounding() const { return rounding_; }
  /// Bits for element (row, column) of a matrix of `columns` columns; 0 where the rounding needs none.
  uint32_t bits(int64_t row, int64_t column, int64_t columns) const {
    if (rounding_ == Rounding::Stochastic) return stream_.word(static_cast<uint64_t>(row * columns + column));
    if (rounding_ != Rounding::Dithered) return 0;
    return shift_ + along_rows_->bits(static_cast<uint64_t>(row)) + along_columns_->bits(static_cast<uint64_t>(column));
  }

 private:
  Rounding rounding_;
  RandomBits stream_;
  uint32_t shift_ = 0;
  std::optional<AdditiveRecurrence> along_rows_, along_columns_;
};

}  // namespace halftone
