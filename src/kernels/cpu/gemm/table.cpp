// The ordered GEMM table, its checks, and how a call is split over threads: over weight rows, or over tokens where rows
// are few; never over K.
#include <algorithm>
#include <string>

#include "kernels/api/gemm.h"
#include "kernels/cpu/gemm/gemm_task.h"
#include "numerics/reference/gemm.h"

namespace halftone::kernels {

namespace {

constexpr int64_t kPanelBytes = 128 << 10;  // decoded weight rows: a fraction of a second-level cache
constexpr int64_t kSmallWork = 1 << 15;     // products below which waking a thread costs more than it saves
constexpr int64_t kRowGrain = 4;
constexpr int64_t kPanelRowGrain = 12;  // blocks of 3 or 4 rows fill a panel
constexpr int64_t kMaxPanelRows = 60;

bool is_integer(ElementType type) { return bits_of(type) <= 8; }

/// Why no entry can run `problem`; empty when it is well formed.
Rejection malformed(const GemmProblem& p) {
  if (p.m < 1 || p.n < 1 || p.k < 1) return "sizes m, n and k must be at least 1";
  if (is_integer(p.weight) != (p.scales != ScaleLayout::None)) {
    return is_integer(p.weight) ? "integer weights need scales: row, group or two_level"
                                : "floating-point weights have no scales: use none";
  }
  const bool by_group = p.scales == ScaleLayout::Group || p.scales == ScaleLayout::TwoLevel;
  if (by_group && p.group < 1) return "group must be at least 1 with group or two_level scales";
  if (!by_group && p.group != 0) return "group must be 0 with none or row scales";
  if (p.scales == ScaleLayout::TwoLevel && p.weight != ElementType::Int4) return "two_level scales need int4 weights";
  if (p.zero_points && !is_integer(p.weight)) return "floating-point weights have no zero points";
  return {};
}

void require(const void* pointer, const char* name, const GemmProblem& problem) {
  if (pointer == nullptr) throw InvalidArgument("gemm {}: {} is null; pass it", to_string(problem), name);
}

void require_stride(int64_t stride, int64_t wanted, const char* name, const GemmProblem& problem) {
  if (stride >= wanted) return;
  throw InvalidArgument("gemm {}: {} is {}; it must be at least {}", to_string(problem), name, stride, wanted);
}

void validate(const GemmProblem& p, const GemmArgs& a) {
  if (const Rejection why = malformed(p); !why.empty()) throw InvalidArgument("gemm {}: {}", to_string(p), why);
  require(a.x.values, "x.values", p);
  if (p.m > 1) require_stride(a.x.stride, p.k, "x.stride", p);
  require(a.w.codes, "w.codes", p);
  if (p.scales != ScaleLayout::None) require(a.w.scales, "w.scales", p);
  if (p.scales == ScaleLayout::TwoLevel) require(a.w.group_scales, "w.group_scales", p);
  if (p.zero_points) require(a.w.zeros, "w.zeros", p);
  require(a.y, "y", p);
  if (p.m > 1) require_stride(a.y_stride, p.n, "y_stride", p);
}

reference::GemmWeights reference_weights(const GemmProblem& p, const WeightView& w) {
  return {.n = p.n,
          .k = p.k,
          .type = p.weight,
          .codes = w.codes,
          .group = p.group > 0 ? p.group : p.k,
          .scale_per_group = p.scales == ScaleLayout::Group,
          .scales = w.scales,
          .group_scales = p.scales == ScaleLayout::TwoLevel ? w.group_scales : nullptr,
          .zeros = p.zero_points ? w.zeros : nullptr};
}

void run_reference(ExecContext& context, const GemmProblem& p, const GemmArgs& a) {
  validate(p, a);
  const reference::GemmWeights weights = reference_weights(p, a.w);
  context.pool.parallel_for(p.n, 1, [&](int64_t begin, int64_t end, int) {
    reference::gemm(a.x.values, a.x.stride, p.m, weights, begin, end, a.bias, a.y, a.y_stride);
  });
}

GemmTask make_task(const GemmProblem& p, const GemmArgs& a) {
  GemmTask t{};
  t.m = p.m;
  t.n = p.n;
  t.k = p.k;
  t.weight = p.weight;
  t.grouped = p.scales == ScaleLayout::Group;
  t.two_level = p.scales == ScaleLayout::TwoLevel;
  t.group = p.group > 0 ? p.group : p.k;
  t.groups = (p.k + t.group - 1) / t.group;
  t.codes = static_cast<const uint8_t*>(a.w.codes);
  t.row_bytes = row_bytes(p.weight, p.k);
  t.scales = a.w.scales;
  t.group_scales = a.w.group_scales;
  t.zeros = p.zero_points ? a.w.zeros : nullptr;
  t.default_zero = p.weight == ElementType::Int8 ? 128 : symmetric_zero(p.weight);
  t.x = a.x.values;
  t.x_stride = a.x.stride;
  t.bias = a.bias;
  t.y = a.y;
  t.y_stride = a.y_stride;
  // One cache line more than the row: rows a power of two apart would compete for the same cache sets.
  t.panel_stride = (p.k + 15) / 16 * 16 + 16;
  const int64_t fit = kPanelBytes / (4 * t.panel_stride) / kPanelRowGrain * kPanelRowGrain;
  t.panel_rows = std::clamp<int64_t>(fit, kPanelRowGrain, kMaxPanelRows);
  return t;
}

template <GemmRange kRange>
void run_range(ExecContext& context, const GemmProblem& p, const GemmArgs& a) {
  const GemmTask task = make_task(p, a);
  const int64_t panel_floats = task.panel_rows * task.panel_stride;
  const int threads = context.pool.threads();
  auto* scratch =
      static_cast<float*>(context.workspace.reserve(sizeof(float) * static_cast<size_t>(threads * panel_floats)));
  const auto panel = [&](int worker) { return scratch + worker * panel_floats; };
  if (p.m * p.n * p.k <= kSmallWork) return kRange(task, 0, p.m, 0, p.n, panel(0));
  const bool by_tokens = p.n < threads * 4 * kRowGrain && p.m >= threads * 4 * kRowGrain;
  if (by_tokens) {
    context.pool.parallel_for(p.m, kRowGrain, [&](int64_t begin, int64_t end, int worker) {
      kRange(task, begin, end, 0, p.n, panel(worker));
    });
  } else {
    context.pool.parallel_for(p.n, kRowGrain, [&](int64_t begin, int64_t end, int worker) {
      kRange(task, 0, p.m, begin, end, panel(worker));
    });
  }
}

Rejection supports(const GemmProblem& p) {
  if (p.group % 16 != 0 && p.group < p.k) return "group must be a multiple of 16";
  return malformed(p);
}

using Entry = KernelEntry<GemmProblem, GemmArgs>;
constexpr Entry kEntries[] = {
    {"avx512", Isa::Avx512, supports, run_range<avx512::gemm>},
    {"avx2", Isa::Avx2, supports, run_range<avx2::gemm>},
    {"reference", Isa::Scalar, malformed, run_reference},
};

}  // namespace

std::string_view to_string(ScaleLayout layout) {
  switch (layout) {
    case ScaleLayout::None:
      return "none";
    case ScaleLayout::Row:
      return "row";
    case ScaleLayout::Group:
      return "group";
    case ScaleLayout::TwoLevel:
      return "two_level";
  }
  return "?";
}

std::string to_string(const GemmProblem& p) {
  std::string text = fmt::format("m={} n={} k={} {}", p.m, p.n, p.k, to_string(p.weight));
  if (p.scales != ScaleLayout::None) text += fmt::format("/{}", to_string(p.scales));
  if (p.group > 0) text += fmt::format(" group={}", p.group);
  if (p.zero_points) text += " zeros";
  return text;
}

KernelTable<GemmProblem, GemmArgs> gemm_table() { return kEntries; }

void gemm(ExecContext& context, const GemmProblem& problem, const GemmArgs& args) {
  validate(problem, args);
  select(gemm_table(), problem, context.isa).run(context, problem, args);
}

}  // namespace halftone::kernels
