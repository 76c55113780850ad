// The ordered table of the packed GEMM, its checks, and how a call is split over threads: over tiles of weight rows, or
// over tokens where tiles are few; never over K.
#include "kernels/api/packed_gemm.h"
#include "kernels/cpu/packed_gemm/packed_task.h"
#include "numerics/reference/packed_gemm.h"

namespace halftone::kernels {
namespace {

constexpr int64_t kMaxK = 65536;         // 255 * 127 * K stays within int32
constexpr int64_t kSmallWork = 1 << 15;  // products below which waking a thread costs more than it saves
constexpr int64_t kMinAmxTokens = 12;    // fewer fill too little of a tile register: AVX-512 is as fast

Rejection malformed(const PackedGemmProblem& p) {
  if (p.m < 1 || p.n < 1 || p.k < 1) return "sizes m, n and k must be at least 1";
  if (p.k > kMaxK) return "k must be at most 65536";
  if (bits_of(p.weight) > 8) return "weights must be int8, int4 or int2";
  const bool by_group = p.scales == ScaleLayout::Group || p.scales == ScaleLayout::TwoLevel;
  if (!by_group && p.scales != ScaleLayout::Row) return "weights need scales: row, group or two_level";
  if (by_group && (p.group < kUnitLength || p.group % kUnitLength != 0)) return "group must be a multiple of 32";
  if (!by_group && p.group != 0) return "group must be 0 with row scales";
  if (p.scales == ScaleLayout::TwoLevel && p.weight != ElementType::Int4) return "two_level scales need int4 weights";
  return {};
}

Rejection supports_amx(const PackedGemmProblem& p) {
  if (p.m < kMinAmxTokens) return "has fewer than 12 tokens, too few to fill tile registers";
  if (p.weight == ElementType::Int8 && p.zero_points) return "int8 weights must be symmetric";
  return malformed(p);
}

void require(const void* pointer, const char* name, const PackedGemmProblem& problem) {
  if (pointer == nullptr) throw InvalidArgument("packed_gemm {}: {} is null; pass it", to_string(problem), name);
}

void validate(const PackedGemmProblem& p, const PackedGemmArgs& a) {
  if (const Rejection why = malformed(p); !why.empty()) throw InvalidArgument("packed_gemm {}: {}", to_string(p), why);
  require(a.x.codes, "x.codes", p);
  require(a.x.scales, "x.scales", p);
  require(a.x.sums, "x.sums", p);
  require(a.w.codes, "w.codes", p);
  if (p.scales == ScaleLayout::Group) require(a.w.scales, "w.scales", p);
  if (p.scales != ScaleLayout::Group) require(a.w.row_scales, "w.row_scales", p);
  if (p.scales == ScaleLayout::TwoLevel) require(a.w.group_scales, "w.group_scales", p);
  if (p.zero_points) require(a.w.zeros, "w.zeros", p);
  require(a.y, "y", p);
  if (a.x.code_stride < p.k || a.x.code_stride % 64 != 0)
    throw InvalidArgument("packed_gemm {}: x.code_stride is {}; it must be a multiple of 64 and at least k",
                          to_string(p), a.x.code_stride);
  if (p.m > 1 && a.y_stride < p.n)
    throw InvalidArgument("packed_gemm {}: y_stride is {}; it must be at least n", to_string(p), a.y_stride);
}

PackedTask make_task(const PackedGemmProblem& p, const PackedGemmArgs& a) {
  PackedTask t{};
  t.m = p.m, t.n = p.n, t.k = p.k;
  t.weight = p.weight;
  t.grouped = p.scales == ScaleLayout::Group;
  t.two_level = p.scales == ScaleLayout::TwoLevel;
  t.unit_scales = p.activations == ActivationScales::Unit;
  t.units = units_of(p.k);
  t.group_units = p.group > 0 ? p.group / kUnitLength : t.units;
  t.groups = (t.units + t.group_units - 1) / t.group_units;
  t.codes = a.w.codes;
  t.unit_bytes = unit_bytes(p.weight);
  t.scales = a.w.scales;
  t.row_scales = a.w.row_scales;
  t.group_scales = a.w.group_scales;
  t.zeros = p.zero_points ? a.w.zeros : nullptr;
  t.zero = p.weight == ElementType::Int8 ? 128 : symmetric_zero(p.weight);
  t.x = a.x.codes, t.x_stride = a.x.code_stride;
  t.x_scales = a.x.scales;
  t.x_sums = a.x.sums;
  t.bias = a.bias;
  t.y = a.y, t.y_stride = a.y_stride;
  return t;
}

template <PackedRange kRange, bool kAmx>
void run_range(ExecContext& context, const PackedGemmProblem& p, const PackedGemmArgs& a) {
  const PackedTask task = make_task(p, a);
  const int threads = context.pool.threads();
  const int64_t bytes = kAmx ? amx_scratch_bytes(task.units) : 0;
  auto* memory =
      bytes > 0 ? static_cast<uint8_t*>(context.workspace.reserve(static_cast<size_t>(threads * bytes))) : nullptr;
  const auto scratch = [&](int worker) { return memory + worker * bytes; };
  const int64_t tiles = tiles_of(p.n);
  if (p.m * p.n * p.k <= kSmallWork) return kRange(task, 0, p.m, 0, tiles, scratch(0));
  constexpr int64_t kTokenGrain = 16;
  const bool by_tokens = tiles < 4 * threads && p.m >= 2 * threads * kTokenGrain;
  if (by_tokens) {
    context.pool.parallel_for(p.m, kTokenGrain, [&](int64_t begin, int64_t end, int worker) {
      kRange(task, begin, end, 0, tiles, scratch(worker));
    });
  } else {
    context.pool.parallel_for(
        tiles, 1, [&](int64_t begin, int64_t end, int worker) { kRange(task, 0, p.m, begin, end, scratch(worker)); });
  }
}

void run_reference(ExecContext& context, const PackedGemmProblem& p, const PackedGemmArgs& a) {
  const reference::PackedWeights weights = {
      .n = p.n,
      .k = p.k,
      .type = p.weight,
      .group = p.group > 0 ? p.group : p.k,
      .codes = a.w.codes,
      .scales = p.scales == ScaleLayout::Group ? a.w.scales : nullptr,
      .row_scales = p.scales == ScaleLayout::Group ? nullptr : a.w.row_scales,
      .group_scales = p.scales == ScaleLayout::TwoLevel ? a.w.group_scales : nullptr,
      .zeros = p.zero_points ? a.w.zeros : nullptr};
  const reference::PackedActivations x = {.codes = a.x.codes,
                                          .stride = a.x.code_stride,
                                          .scales = a.x.scales,
                                          .unit_scales = p.activations == ActivationScales::Unit};
  context.pool.parallel_for(p.n, 1, [&](int64_t begin, int64_t end, int) {
    reference::packed_gemm(x, p.m, weights, begin, end, a.bias, a.y, a.y_stride);
  });
}

constexpr KernelEntry<PackedGemmProblem, PackedGemmArgs> kEntries[] = {
    {"amx", Isa::Amx, supports_amx, run_range<amx::packed_gemm, true>},
    {"avx512", Isa::Avx512, malformed, run_range<avx512::packed_gemm, false>},
    {"avx2", Isa::Avx2, malformed, run_range<avx2::packed_gemm, false>},
    {"reference", Isa::Scalar, malformed, run_reference},
};

}  // namespace

std::string_view to_string(ActivationScales scales) { return scales == ActivationScales::Row ? "row" : "unit"; }

std::string to_string(const PackedGemmProblem& p) {
  std::string text = fmt::format("m={} n={} k={} {}/{}", p.m, p.n, p.k, to_string(p.weight), to_string(p.scales));
  if (p.group > 0) text += fmt::format(" group={}", p.group);
  if (p.zero_points) text += " zeros";
  return text + fmt::format(" x=int8/{}", to_string(p.activations));
}

KernelTable<PackedGemmProblem, PackedGemmArgs> packed_gemm_table() { return kEntries; }

void packed_gemm(ExecContext& context, const PackedGemmProblem& problem, const PackedGemmArgs& args) {
  validate(problem, args);
  select(packed_gemm_table(), problem, context.isa).run(context, problem, args);
}

}  // namespace halftone::kernels
