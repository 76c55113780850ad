// Table and launcher of the activations' quantisation. Kernels report a bad row by their status; the launcher throws,
// on the calling thread, once all rows are done.
#include <atomic>

#include "kernels/api/packed_gemm.h"
#include "kernels/cpu/packed_gemm/packed_task.h"
#include "numerics/reference/packed_gemm.h"

namespace halftone::kernels {
namespace {

constexpr int64_t kInlineElements = 1 << 14;  // fewer are done before another thread would have begun

[[noreturn]] void refuse_row(const QuantizeActivationsProblem& problem, int64_t row) {
  throw NumericError(
      "quantize_activations {}: row {} holds a NaN or an infinity, int8 codes need finite values; look for an overflow "
      "in the layer before it",
      to_string(problem), row);
}

template <const QuantizeActivationRow& kKernel>
void run_rows(ExecContext& context, const QuantizeActivationsProblem& p, const QuantizeActivationsArgs& a) {
  const bool by_unit = p.scales == ActivationScales::Unit;
  const auto quantize = by_unit ? kKernel.by_unit : kKernel.by_row;
  const int64_t units = units_of(p.k), grain = std::max<int64_t>(1, kInlineElements / p.k);
  std::atomic<int64_t> first_bad{INT64_MAX};
  context.pool.parallel_for(p.rows, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      if (quantize(a.x + r * a.x_stride, p.k, a.codes + r * a.code_stride, a.code_stride,
                   a.scales + r * (by_unit ? units : 1), a.sums + r * units))
        continue;
      int64_t seen = first_bad.load();
      while (r < seen && !first_bad.compare_exchange_weak(seen, r)) {
      }
    }
  });
  if (first_bad.load() != INT64_MAX) refuse_row(p, first_bad.load());
}

void run_reference(ExecContext&, const QuantizeActivationsProblem& p, const QuantizeActivationsArgs& a) {
  const int64_t bad = reference::quantize_activations(p.rows, p.k, a.x, a.x_stride, p.scales == ActivationScales::Unit,
                                                      a.codes, a.code_stride, a.scales, a.sums);
  if (bad >= 0) refuse_row(p, bad);
}

Rejection malformed(const QuantizeActivationsProblem& p) {
  return p.rows < 1 || p.k < 1 ? "rows and k must be at least 1" : Rejection{};
}

constexpr KernelEntry<QuantizeActivationsProblem, QuantizeActivationsArgs> kEntries[] = {
    {"avx512", Isa::Avx512, malformed, run_rows<avx512::kQuantizeActivation>},
    {"avx2", Isa::Avx2, malformed, run_rows<avx2::kQuantizeActivation>},
    {"reference", Isa::Scalar, malformed, run_reference},
};

}  // namespace

std::string to_string(const QuantizeActivationsProblem& p) {
  return fmt::format("rows={} k={} scales={}", p.rows, p.k, to_string(p.scales));
}

KernelTable<QuantizeActivationsProblem, QuantizeActivationsArgs> quantize_activations_table() { return kEntries; }

void quantize_activations(ExecContext& context, const QuantizeActivationsProblem& p, const QuantizeActivationsArgs& a) {
  if (const Rejection why = malformed(p); !why.empty())
    throw InvalidArgument("quantize_activations {}: {}", to_string(p), why);
  if (a.x == nullptr || a.codes == nullptr || a.scales == nullptr || a.sums == nullptr)
    throw InvalidArgument("quantize_activations {}: x, codes, scales and sums must not be null", to_string(p));
  if (a.code_stride < p.k || a.code_stride % 64 != 0 || (p.rows > 1 && a.x_stride < p.k))
    throw InvalidArgument(
        "quantize_activations {}: code_stride {} must be a multiple of 64 and, like x_stride {}, at least k",
        to_string(p), a.code_stride, a.x_stride);
  select(quantize_activations_table(), p, context.isa).run(context, p, a);
}

}  // namespace halftone::kernels
