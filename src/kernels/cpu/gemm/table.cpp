// The ordered GEMM table, its checks, and how a call is split over threads: over weight rows, or over tokens where rows
// are few; never over K.
#include <algorithm>
#include <cmath>
#include <string>

#include "kernels/api/gemm.h"
#include "kernels/cpu/gemm/gemm_task.h"
#include "numerics/formats/element_codec.h"
#include "numerics/reference/gemm.h"

namespace halftone::kernels {

namespace {

constexpr int64_t kPanelBytes = 128 << 10;  // decoded weight rows: a fraction of a second-level cache
constexpr int64_t kSmallWork = 1 << 15;     // products below which waking a thread costs more than it saves
constexpr int64_t kRowGrain = 4;
constexpr int64_t kPanelRowGrain = 12;  // blocks of 3 or 4 rows fill a panel
constexpr int64_t kMaxPanelRows = 60;

bool is_integer(ElementType type) { return bits_of(type) <= 8; }

/// The f16 whose magnitude is a small float's times a power of two has its mantissa at the top of its own.
int float_shift(const ElementFormat& format) { return 10 - format.mantissa_bits; }

Rejection malformed_format(const GemmProblem& p) {
  if (p.scale_codes && p.scales != ScaleLayout::Group) return "scale codes go with group scales";
  if (p.format == nullptr) return p.scale_codes && p.minimums ? "scale codes and minimums exclude each other" : "";
  if (p.format->dimension != 1) return "codes must stand for one number each";
  if (p.minimums || (p.scales != ScaleLayout::Row && p.scales != ScaleLayout::Group))
    return "element formats go with row or group scales and without minimums";
  if (p.weight == ElementType::Int2 || p.weight == ElementType::Int4)
    return p.format->bits <= bits_of(p.weight) ? "" : "codes of the format are wider than the layout";
  const bool small = p.weight == ElementType::Int8 && p.format->is_float() && p.format->bits > 4 &&
                     p.format->bits <= 8 && p.format->bias <= 15 &&
                     (float_shift(*p.format) == 7 || float_shift(*p.format) == 8);
  if (!small) return "bytes hold integers, or floats of 5 to 8 bits with 2 or 3 mantissa bits";
  return p.zero_points ? "floating-point weights have no zero points" : "";
}

/// Why no entry can run `problem`; empty when it is well formed.
Rejection malformed(const GemmProblem& p) {
  if (p.m < 1 || p.n < 1 || p.k < 1) return "sizes m, n and k must be at least 1";
  if (is_integer(p.weight) != (p.scales != ScaleLayout::None)) {
    return is_integer(p.weight) ? "integer weights need scales: row, group or two_level"
                                : "floating-point weights have no scales: use none";
  }
  if (p.scales == ScaleLayout::SuperGroup) return "super_group scales are expanded to group scales";
  if (p.weight == ElementType::Ternary) return "ternary codes are expanded to int2";
  const bool by_group = p.scales == ScaleLayout::Group || p.scales == ScaleLayout::TwoLevel;
  if (by_group && p.group < 1) return "group must be at least 1 with group or two_level scales";
  if (!by_group && p.group != 0) return "group must be 0 with none or row scales";
  if (const Rejection why = malformed_format(p); !why.empty()) return why;
  if (p.scales == ScaleLayout::TwoLevel && p.weight == ElementType::Int8) return "two_level scales need fewer bits";
  if (p.zero_points && !is_integer(p.weight)) return "floating-point weights have no zero points";
  if (p.minimums && (p.scales != ScaleLayout::Group || p.zero_points))
    return "minimums go with group scales and without zero points";
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
  if (p.minimums) require(a.w.mins, "w.mins", p);
  if (p.scale_codes) require(a.w.scale_codes, "w.scale_codes", p);
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
          .zeros = p.zero_points ? w.zeros : nullptr,
          .mins = p.minimums ? w.mins : nullptr,
          .format = p.format,
          .scale_codes = p.scale_codes ? w.scale_codes : nullptr};
}

void run_reference(ExecContext& context, const GemmProblem& p, const GemmArgs& a) {
  validate(p, a);
  const reference::GemmWeights weights = reference_weights(p, a.w);
  context.pool.parallel_for(p.n, 1, [&](int64_t begin, int64_t end, int) {
    reference::gemm(a.x.values, a.x.stride, p.m, weights, begin, end, a.bias, a.y, a.y_stride);
  });
}

Coding coding_of(ElementType type) {
  switch (type) {
    case ElementType::Float32:
      return Coding::Float32;
    case ElementType::Float16:
      return Coding::Float16;
    case ElementType::BFloat16:
      return Coding::BFloat16;
    case ElementType::Int8:
      return Coding::Int8;
    case ElementType::Int4:
      return Coding::Int4;
    case ElementType::Int3:
      return Coding::Int3;
    case ElementType::Int2:
      return Coding::Int2;
    case ElementType::Ternary:  // malformed
      break;
  }
  return Coding::Float32;
}

void set_coding(const GemmProblem& p, GemmTask& t) {
  t.coding = coding_of(p.weight);
  t.unit = 1;
  if (p.format == nullptr) return;
  if (p.weight == ElementType::Int8) {
    t.coding = Coding::Float8;
    t.float_shift = float_shift(*p.format);
    t.unit = std::ldexp(1.0f, 15 - p.format->bias);
    return;
  }
  t.coding = p.weight == ElementType::Int4 ? Coding::Listed4 : Coding::Listed2;
  const uint32_t mask = (1u << p.format->bits) - 1;
  for (uint32_t i = 0; i < 16; ++i) t.values[i] = decode(*p.format, i & mask);
}

GemmTask make_task(const GemmProblem& p, const GemmArgs& a) {
  GemmTask t{};
  t.m = p.m;
  t.n = p.n;
  t.k = p.k;
  set_coding(p, t);
  t.grouped = p.scales == ScaleLayout::Group;
  t.two_level = p.scales == ScaleLayout::TwoLevel;
  t.group = p.group > 0 ? p.group : p.k;
  t.groups = (p.k + t.group - 1) / t.group;
  t.codes = static_cast<const uint8_t*>(a.w.codes);
  t.row_bytes = row_bytes(p.weight, p.k);
  t.scales = a.w.scales;
  t.group_scales = a.w.group_scales;
  t.zeros = p.zero_points ? a.w.zeros : nullptr;
  t.mins = p.minimums ? a.w.mins : nullptr;
  t.scale_codes = p.scale_codes ? a.w.scale_codes : nullptr;
  t.default_zero = p.weight == ElementType::Int8       ? 128
                   : p.format != nullptr || p.minimums ? 0
                                                       : symmetric_zero(p.weight);
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
    context.pool.parallel_for(
        p.m, context.pool.whole_share(p.m, kRowGrain),
        [&](int64_t begin, int64_t end, int worker) { kRange(task, begin, end, 0, p.n, panel(worker)); });
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
    case ScaleLayout::SuperGroup:
      return "super_group";
  }
  return "?";
}

std::string to_string(const GemmProblem& p) {
  std::string text =
      fmt::format("m={} n={} k={} {}", p.m, p.n, p.k, p.format != nullptr ? p.format->name : to_string(p.weight));
  if (p.scales != ScaleLayout::None) text += fmt::format("/{}", to_string(p.scales));
  if (p.group > 0) text += fmt::format(" group={}", p.group);
  if (p.scale_codes) text += " coded";
  if (p.zero_points) text += " zeros";
  if (p.minimums) text += " minimums";
  return text;
}

KernelTable<GemmProblem, GemmArgs> gemm_table() { return kEntries; }

void gemm(ExecContext& context, const GemmProblem& problem, const GemmArgs& args) {
  validate(problem, args);
  run_selected("gemm", gemm_table(), context, problem, args);
}

}  // namespace halftone::kernels
