// Rounding of a weight matrix to a scheme: to nearest (with or without clip search) and by GPTQ. Every rounder fits its
// groups with numerics/group_code.h and writes the same storage, so any rounder serves any scheme.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "base/exec_context.h"
#include "numerics/group_code.h"
#include "tensor/storage.h"

namespace halftone {

/// Clip search: how many shrunk ranges are tried per group, and the strongest shrink. 0 steps: the full range.
struct ClipSearch {
  int steps = 0;
  float max_shrink = 0.2f;
};

/// Collects the codes and group parameters of a matrix while a rounder produces them, then packs them.
class QuantizedBuilder {
 public:
  /// Throws InvalidArgument when the scheme does not fit rows of `columns` elements.
  QuantizedBuilder(const QuantScheme& scheme, int64_t rows, int64_t columns);
  /// Records the parameters of group `group` of `row`. Safe to call for different rows in parallel.
  void set_group(int64_t row, int64_t group, const GroupCode& code);
  void set_code(int64_t row, int64_t column, int code) {
    codes_[static_cast<size_t>(row * columns_ + column)] = static_cast<uint8_t>(code - code_offset_);
  }
  QuantizedStorage finish() const;

 private:
  QuantScheme scheme_;
  int64_t rows_, columns_;
  int code_offset_;  // asymmetric int8 codes are stored minus 128
  std::vector<uint8_t> codes_;
  at::Tensor scales_, group_scales_, zeros_;
};

/// Round-to-nearest of `weight` [N, K] f32. Throws NumericError for non-finite weights.
QuantizedStorage quantize_nearest(ExecContext& exec, const at::Tensor& weight, const QuantScheme& scheme,
                                  const ClipSearch& clip = {});

/// fit_group, or fit_group_clip when `clip` asks for a search.
GroupCode fit_with_clip(const QuantScheme& scheme, std::span<const float> group, float row_scale,
                        const ClipSearch& clip);

/// Throws NumericError naming the first entry of `weight` [N, K] f32 that is NaN or infinite.
void check_finite(const at::Tensor& weight);

struct GptqOptions {
  double damping = 0.01;          ///< added to the Hessian's diagonal, times its mean
  bool activation_order = false;  ///< visit columns by falling diagonal of the Hessian, with groups fitted beforehand
  ClipSearch clip;
};

/// GPTQ (Frantar et al., arXiv:2210.17323, algorithm 1): rounds column after column and spreads each column's error
/// over the later ones by the inverse Hessian of ||W x - Q x||^2.
///   weight   [N, K] f32
///   hessian  [K, K] f64, the sum of x x^T over calibration tokens; symmetric positive semi-definite
/// Columns that no input ever used (zero diagonal) are rounded to nearest. The damping grows tenfold, up to 1, when the
/// factorisation fails, and NumericError names the site's size when even that does not help.
/// The result does not depend on the number of threads.
QuantizedStorage quantize_gptq(ExecContext& exec, const at::Tensor& weight, const at::Tensor& hessian,
                               const QuantScheme& scheme, const GptqOptions& options);

}  // namespace halftone
