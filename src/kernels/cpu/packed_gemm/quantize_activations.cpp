// Table and launcher of the activations' quantisation. Kernels report a bad row by their status; the launcher throws,
// on the calling thread, once all rows are done.
#include <atomic>

#include "kernels/api/packed_gemm.h"
#include "kernels/cpu/elementwise/elementwise_kernel.h"
#include "kernels/cpu/packed_gemm/packed_task.h"
#include "numerics/reference/elementwise.h"
#include "numerics/reference/packed_gemm.h"

namespace halftone::kernels {
namespace {

constexpr int64_t kInlineElements = 1 << 13;  // fewer are done before another thread would have begun

[[noreturn]] void refuse_row(const QuantizeActivationsProblem& problem, int64_t row) {
  throw NumericError(
      "quantize_activations {}: row {} holds a NaN or an infinity, int8 codes need finite values; look for an overflow "
      "in the layer before it",
      to_string(problem), row);
}

/// Row r of what is quantised: x's, or made of it in `own`.
template <const ElementwiseKernel& kElementwise>
const float* make_row(const QuantizeActivationsProblem& p, const QuantizeActivationsArgs& a, int64_t r, float* own) {
  const float* x = a.x + r * a.x_stride;
  if (p.norm)
    kElementwise.rms_norm(x, a.norm_weight, p.k, a.epsilon, own);
  else if (p.gated == GatedActivation::SwiGlu)
    kElementwise.swiglu(p.k, x, a.up + r * a.x_stride, own);
  else if (p.gated == GatedActivation::GeGlu)
    kElementwise.geglu(p.k, x, a.up + r * a.x_stride, own);
  else
    return x;
  return own;
}

template <const QuantizeActivationRow& kKernel, const ElementwiseKernel& kElementwise>
void run_rows(ExecContext& context, const QuantizeActivationsProblem& p, const QuantizeActivationsArgs& a) {
  const bool by_unit = p.scales == ActivationScales::Unit;
  const auto quantize = by_unit ? kKernel.by_unit : kKernel.by_row;
  const int64_t units = units_of(p.k), own_floats = units * kUnitLength;
  const int64_t grain = p.rows * p.k < kInlineElements ? p.rows : 1;
  auto* made = static_cast<float*>(
      context.workspace.reserve(static_cast<size_t>(context.pool.threads() * own_floats) * sizeof(float)));
  std::atomic<int64_t> first_bad{INT64_MAX};
  context.pool.parallel_for(p.rows, grain, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t r = begin; r < end; ++r) {
      const float* row = make_row<kElementwise>(p, a, r, made + worker * own_floats);
      if (quantize(row, p.k, a.codes + r * a.code_stride, a.code_stride, a.scales + r * (by_unit ? units : 1),
                   a.sums + r * units))
        continue;
      int64_t seen = first_bad.load();
      while (r < seen && !first_bad.compare_exchange_weak(seen, r)) {
      }
    }
  });
  if (first_bad.load() != INT64_MAX) refuse_row(p, first_bad.load());
}

void run_reference(ExecContext& context, const QuantizeActivationsProblem& p, const QuantizeActivationsArgs& a) {
  const float* x = a.x;
  int64_t stride = a.x_stride;
  if (p.norm || p.gated) {
    auto* made = static_cast<float*>(context.workspace.reserve(static_cast<size_t>(p.rows * p.k) * sizeof(float)));
    for (int64_t r = 0; r < p.rows; ++r) {
      const float* row = a.x + r * a.x_stride;
      if (p.norm)
        reference::rms_norm(1, p.k, row, p.k, a.norm_weight, a.epsilon, made + r * p.k, p.k);
      else
        reference::gated(p.k, p.gated == GatedActivation::GeGlu, row, a.up + r * a.x_stride, made + r * p.k);
    }
    x = made, stride = p.k;
  }
  const int64_t bad = reference::quantize_activations(p.rows, p.k, x, stride, p.scales == ActivationScales::Unit,
                                                      a.codes, a.code_stride, a.scales, a.sums);
  if (bad >= 0) refuse_row(p, bad);
}

Rejection malformed(const QuantizeActivationsProblem& p) {
  if (p.rows < 1 || p.k < 1) return "rows and k must be at least 1";
  if (p.norm && p.gated) return "norm and gated exclude each other";
  return {};
}

constexpr KernelEntry<QuantizeActivationsProblem, QuantizeActivationsArgs> kEntries[] = {
    {"avx512", Isa::Avx512, malformed, run_rows<avx512::kQuantizeActivation, avx512::kElementwise>},
    {"avx2", Isa::Avx2, malformed, run_rows<avx2::kQuantizeActivation, avx2::kElementwise>},
    {"reference", Isa::Scalar, malformed, run_reference},
};

}  // namespace

std::string to_string(const QuantizeActivationsProblem& p) {
  return fmt::format("rows={} k={} scales={}{}{}", p.rows, p.k, to_string(p.scales), p.norm ? " norm" : "",
                     p.gated ? " gated" : "");
}

KernelTable<QuantizeActivationsProblem, QuantizeActivationsArgs> quantize_activations_table() { return kEntries; }

void quantize_activations(ExecContext& context, const QuantizeActivationsProblem& p, const QuantizeActivationsArgs& a) {
  if (const Rejection why = malformed(p); !why.empty())
    throw InvalidArgument("quantize_activations {}: {}", to_string(p), why);
  if (a.x == nullptr || a.codes == nullptr || a.scales == nullptr || a.sums == nullptr || (p.gated && a.up == nullptr))
    throw InvalidArgument("quantize_activations {}: x, codes, scales, sums{} must not be null", to_string(p),
                          p.gated ? " and up" : "");
  if (a.code_stride < p.k || a.code_stride % 64 != 0 || (p.rows > 1 && a.x_stride < p.k))
    throw InvalidArgument(
        "quantize_activations {}: code_stride {} must be a multiple of 64 and, like x_stride {}, at least k",
        to_string(p), a.code_stride, a.x_stride);
  run_selected("quantize_activations", quantize_activations_table(), context, p, a);
}

}  // namespace halftone::kernels
