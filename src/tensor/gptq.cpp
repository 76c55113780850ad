// GPTQ (Frantar et al., arXiv:2210.17323, algorithm 1).
//
// The paper updates the whole matrix column by column, in lazy blocks. Rows never talk to each other once the factor of
// the inverse Hessian is known, so we run the columns of a few rows at a time: the same arithmetic, the factor's rows
// are read once per tile of rows, and threads share nothing.
#include <ATen/ops/cholesky_inverse.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_cholesky_ex.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "tensor/quantize.h"

namespace halftone {
namespace {

constexpr int64_t kRowTile = 8;

/// Upper factor U of the inverse of the damped Hessian, H^-1 = U^T U, as f32 [K, K] (algorithm 1, "Cholesky").
at::Tensor inverse_factor(const at::Tensor& hessian, double damping) {
  const int64_t k = hessian.size(0);
  at::Tensor h = hessian.clone(at::MemoryFormat::Contiguous);
  double* data = h.data_ptr<double>();
  double mean = 0;
  for (int64_t i = 0; i < k; ++i) mean += data[i * k + i] / static_cast<double>(k);
  if (mean <= 0) mean = 1;
  for (int64_t i = 0; i < k; ++i)
    if (data[i * k + i] == 0) data[i * k + i] = mean;  // an input that is always zero constrains nothing
  double added = 0;                                    // how much of the mean lies on the diagonal so far
  for (double damp = damping; added < 1; damp = std::clamp(damp * 10, 1e-6, 1.0)) {
    for (int64_t i = 0; i < k; ++i) data[i * k + i] += (damp - added) * mean;
    added = damp;
    const auto [lower, failed] = at::linalg_cholesky_ex(h);
    if (failed.item<int>() != 0) continue;
    const auto [upper, inverse_failed] = at::linalg_cholesky_ex(at::cholesky_inverse(lower), /*upper=*/true);
    if (inverse_failed.item<int>() == 0) return upper.to(at::kFloat).contiguous();
  }
  throw NumericError(
      "the {} x {} calibration Hessian is not positive definite even with damping 1; "
      "check the calibration text and the model for NaN",
      k, k);
}

std::vector<int64_t> column_order(const at::Tensor& hessian, bool by_activation) {
  std::vector<int64_t> order(hessian.size(0));
  std::iota(order.begin(), order.end(), int64_t{0});
  if (!by_activation) return order;
  const double* data = hessian.const_data_ptr<double>();
  const int64_t k = hessian.size(0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return data[a * k + a] > data[b * k + b]; });
  return order;
}

at::Tensor permuted(const at::Tensor& hessian, const std::vector<int64_t>& order) {
  const int64_t k = hessian.size(0);
  at::Tensor result = at::empty({k, k}, at::kDouble);
  const double* from = hessian.const_data_ptr<double>();
  double* to = result.data_ptr<double>();
  for (int64_t i = 0; i < k; ++i)
    for (int64_t j = 0; j < k; ++j) to[i * k + j] = from[order[i] * k + order[j]];
  return result;
}

/// What one tile of rows needs; columns are visited in `order`, and `factor` is in that order already.
struct Solver {
  const QuantScheme& scheme;
  const GptqOptions& options;
  const std::vector<int64_t>& order;
  const float* factor;
  int64_t columns;
  int64_t group;
  QuantizedBuilder& builder;
  std::atomic<bool>& overflow;  ///< set when a weight leaves the range of f32; a worker must not throw

  GroupCode fit(const float* original, int64_t group_index, float row_scale) const {
    const int64_t start = group_index * group;
    const std::span<const float> part(original + start, std::min(group, columns - start));
    return fit_with_clip(scheme, part, row_scale, options.clip);
  }

  bool left_range(std::span<const float> values) const {
    const bool finite = std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
    if (!finite) overflow = true;
    return !finite;
  }

  /// Rounds `count` rows; `rows` [count, K] f32 in natural order.
  void solve(int64_t first_row, int64_t count, const float* rows) const {
    const int64_t groups = scheme.groups(columns);
    std::vector<GroupCode> codes(count * groups);
    std::vector<float> row_scales(count, 1.0f);
    std::vector<float> work(count * columns);
    for (int64_t r = 0; r < count; ++r) {
      const float* row = rows + r * columns;
      if (scheme.granularity == Granularity::TwoLevel)
        row_scales[r] = fit_row_scale(scheme, {row, static_cast<size_t>(columns)});
      for (int64_t k = 0; k < columns; ++k) work[r * columns + k] = row[order[k]];
      if (options.activation_order || groups == 1)
        for (int64_t g = 0; g < groups; ++g) codes[r * groups + g] = fit(row, g, row_scales[r]);
    }
    for (int64_t k = 0; k < columns; ++k) {
      const int64_t g = groups == 1 ? 0 : order[k] / group;
      const bool fit_now = !options.activation_order && groups > 1 && k % group == 0;
      for (int64_t r = 0; r < count; ++r) {
        float* row = work.data() + r * columns;
        if (left_range({row + k, static_cast<size_t>(fit_now ? std::min(group, columns - k) : 1)})) return;
        if (fit_now) codes[r * groups + g] = fit(row, g, row_scales[r]);  // on the weights as updated so far
        const GroupCode& code = codes[r * groups + g];
        const int chosen = code.encode(row[k]);
        builder.set_code(first_row + r, order[k], chosen);
        const float* factor_row = factor + k * columns;
        const float error = (row[k] - code.decode(chosen)) / factor_row[k];
        for (int64_t j = k + 1; j < columns; ++j) row[j] -= error * factor_row[j];
      }
    }
    for (int64_t r = 0; r < count; ++r)
      for (int64_t g = 0; g < groups; ++g) builder.set_group(first_row + r, g, codes[r * groups + g]);
  }
};

}  // namespace

QuantizedStorage quantize_gptq(ExecContext& exec, const at::Tensor& weight, const at::Tensor& hessian,
                               const QuantScheme& scheme, const GptqOptions& options) {
  const int64_t rows = weight.size(0), columns = weight.size(1);
  if (hessian.dim() != 2 || hessian.size(0) != columns || hessian.size(1) != columns ||
      hessian.scalar_type() != at::kDouble)
    throw InvalidArgument("GPTQ needs an f64 Hessian of [{}, {}] for this weight", columns, columns);
  const at::Tensor dense = weight.to(at::kFloat).contiguous();
  check_finite(dense);
  const auto order = column_order(hessian.contiguous(), options.activation_order);
  const at::Tensor factor =
      inverse_factor(options.activation_order ? permuted(hessian.contiguous(), order) : hessian, options.damping);
  QuantizedBuilder builder(scheme, rows, columns);
  std::atomic<bool> overflow = false;
  const Solver solver{scheme,  options,
                      order,   factor.const_data_ptr<float>(),
                      columns, scheme.granularity == Granularity::Row ? columns : scheme.group,
                      builder, overflow};
  const float* data = dense.const_data_ptr<float>();
  exec.pool.parallel_for((rows + kRowTile - 1) / kRowTile, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t tile = begin; tile < end; ++tile) {
      const int64_t first = tile * kRowTile;
      solver.solve(first, std::min(kRowTile, rows - first), data + first * columns);
    }
  });
  if (overflow)
    throw NumericError(
        "GPTQ drove a weight out of the range of f32; raise damping above {}, or use more calibration text",
        options.damping);
  return builder.finish();
}

}  // namespace halftone
