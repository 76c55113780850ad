// What a number format costs a tensor: mean square error, signal to noise, direction, the worst row, clipping, and
// codes that are never used. Rows stream through; sums are kept in double, row by row, then over rows.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace halftone {

struct ErrorReport {
  int64_t rows = 0;
  int64_t elements = 0;      ///< compared, finite on both sides
  int64_t not_finite = 0;    ///< pairs with a NaN or an infinity; left out of every figure below
  double mean_square = 0;    ///< of the original
  double mse = 0;            ///< mean (restored - original)^2
  double largest_error = 0;  ///< largest |restored - original|
  double sqnr_db = 0;        ///< 10 log10(mean_square / mse): infinite where there is no error
  double cosine = 1;         ///< between original and restored; 1 where both are zero, 0 where one is
  int64_t worst_row = -1;    ///< the first row of the lowest signal to noise; -1 without rows
  double worst_row_sqnr_db = 0;
  double clipped_fraction = 0;  ///< of all elements seen, those reported by add_clipped
  int64_t codes = 0;            ///< codes that the format has; 0: not watched
  int64_t codes_used = 0;
  int64_t unused_codes() const { return codes - codes_used; }
};

/// Collects rows of one tensor. Not for several threads at once: one each, then merge() in the order of the rows.
class ErrorAnalysis {
 public:
  /// `codes`: how many codes the format has, to count those that never occur; 0 to leave that out. At most 2^24.
  /// Throws InvalidArgument outside 0 .. 2^24.
  explicit ErrorAnalysis(int64_t codes = 0);

  /// Compares one row of the tensor with what came back. Throws InvalidArgument for rows of different length.
  void add_row(std::span<const float> original, std::span<const float> restored);
  /// Marks codes as used. Throws InvalidArgument for a code that the format does not have.
  void add_codes(std::span<const uint32_t> codes);
  /// Counts elements whose value lay outside of what their scale can represent.
  void add_clipped(int64_t count) { clipped_ += count; }
  /// Appends what `later` collected from the rows after ours. Throws InvalidArgument for another number of codes.
  void merge(const ErrorAnalysis& later);

  ErrorReport report() const;

 private:
  int64_t rows_ = 0, elements_ = 0, not_finite_ = 0, clipped_ = 0;
  double signal_ = 0, restored_ = 0, product_ = 0, noise_ = 0, largest_ = 0;
  int64_t worst_row_ = -1;
  double worst_ratio_ = -1;  ///< noise / signal of that row; infinite for noise without signal
  std::vector<bool> used_;
};

/// 10 log10(signal / noise): infinity for no noise, minus infinity for noise without signal.
double decibels(double signal, double noise);

}  // namespace halftone
