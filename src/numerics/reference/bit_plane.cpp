// Plain loops in double; see bit_plane.h.
#include "numerics/reference/bit_plane.h"

#include <cstddef>
#include <vector>

namespace halftone::reference {
namespace {

int code_at(const BitPlanes& planes, const uint64_t* words, int64_t row, int64_t k) {
  int code = 0;
  for (int plane = 0; plane < planes.bits; ++plane)
    code |= static_cast<int>(words[planes.index(row, k / kPlaneCodes, plane)] >> k % kPlaneCodes & 1) << plane;
  return code;
}

}  // namespace

void bit_plane_gemm(const BitPlaneActivations& x, const BitPlaneWeights& w, int64_t n0, int64_t n1, const float* bias,
                    float* y, int64_t y_stride) {
  const int64_t k = w.planes.k, groups = (k + w.group - 1) / w.group;
  std::vector<double> row(static_cast<std::size_t>(k));
  for (int64_t n = n0; n < n1; ++n) {
    for (int64_t i = 0; i < k; ++i) {
      const int64_t at = (n / kPlaneRows * groups + i / w.group) * kPlaneRows + n % kPlaneRows;
      const double half_offset = 0.5 * w.offsets[at];
      row[static_cast<std::size_t>(i)] =
          (code_at(w.planes, w.words, n, i) - half_offset) * static_cast<double>(w.scales[at]);
    }
    for (int64_t m = 0; m < x.planes.rows; ++m) {
      double sum = 0;
      for (int64_t i = 0; i < k; ++i)
        sum += row[static_cast<std::size_t>(i)] * (code_at(x.planes, x.words, m, i) - 0.5 * x.offsets[m]);
      sum *= static_cast<double>(x.scales[m]);
      y[m * y_stride + n] = static_cast<float>(bias != nullptr ? sum + static_cast<double>(bias[n]) : sum);
    }
  }
}

}  // namespace halftone::reference
