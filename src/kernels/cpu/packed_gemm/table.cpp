// The ordered table of the packed GEMM, its checks, and how a call is split over threads: over tiles of weight rows, or
// over tokens where tiles are few; never over K.
#include "kernels/api/packed_gemm.h"
#include "kernels/cpu/packed_gemm/packed_weights.h"

namespace halftone::kernels {
namespace {

constexpr int64_t kSmallWork = 1 << 15;  // products below which waking a thread costs more than it saves
constexpr int64_t kMinFewTokens = 3;
constexpr int64_t kMinAmxTokens = 12;  // fewer fill too little of a tile register: AVX-512 is as fast

Rejection supports_amx(const PackedGemmProblem& p) {
  if (p.m < kMinAmxTokens) return "has fewer than 12 tokens, too few to fill tile registers";
  if (p.weight == ElementType::Int8 && p.zero_points) return "int8 weights must be symmetric";
  if (p.scales != ScaleLayout::Row && p.group < kUnitLength) return "groups of 16 are half of what an instruction adds";
  return malformed(p);
}

Rejection supports_few_tokens(const PackedGemmProblem& p) {
  if (p.m < kMinFewTokens || p.m > kMaxFewTokens) return "is for 3 to 8 tokens";
  if (p.activations != ActivationScales::Unit || p.scales != ScaleLayout::Group || p.zero_points || p.minimums)
    return "needs unit scales of activations and symmetric weights with group scales";
  if (p.listed) return "needs weights that are plain integers";
  if (p.weight == ElementType::Ternary) return "needs units that share no lines";
  return malformed(p);
}

Rejection supports_vbmi(const PackedGemmProblem& p) {
  if (p.weight != ElementType::Ternary) return "is for ternary weights";
  if (!has_extension(Avx512Extension::Vbmi)) return "this CPU lacks AVX512_VBMI";
  return malformed(p);
}

void validate(const PackedGemmProblem& p, const PackedGemmArgs& a) {
  if (const Rejection why = malformed(p); !why.empty()) throw InvalidArgument("packed_gemm {}: {}", to_string(p), why);
  require_pointer(a.x.codes, "x.codes", p);
  require_pointer(a.x.scales, "x.scales", p);
  require_pointer(a.x.sums, "x.sums", p);
  require_weights(p, a.w);
  require_pointer(a.y, "y", p);
  if (a.x.code_stride < p.k || a.x.code_stride % 64 != 0)
    throw InvalidArgument("packed_gemm {}: x.code_stride is {}; it must be a multiple of 64 and at least k",
                          to_string(p), a.x.code_stride);
  if (p.m > 1 && a.y_stride < p.n)
    throw InvalidArgument("packed_gemm {}: y_stride is {}; it must be at least n", to_string(p), a.y_stride);
}

PackedTask make_task(const PackedGemmProblem& p, const PackedGemmArgs& a) {
  PackedTask t = weight_task(p, a.w);
  t.unit_scales = p.activations == ActivationScales::Unit;
  t.x = a.x.codes, t.x_stride = a.x.code_stride;
  t.x_scales = a.x.scales;
  t.x_sums = a.x.sums;
  t.bias = a.bias;
  t.y = a.y, t.y_stride = a.y_stride;
  t.accumulate = a.accumulate;
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
    context.pool.parallel_for(
        p.m, context.pool.whole_share(p.m, kTokenGrain),
        [&](int64_t begin, int64_t end, int worker) { kRange(task, begin, end, 0, tiles, scratch(worker)); });
  } else {
    context.pool.parallel_for(
        tiles, 1, [&](int64_t begin, int64_t end, int worker) { kRange(task, 0, p.m, begin, end, scratch(worker)); });
  }
}

/// Each thread arranges the activations for itself: reading them anew costs it less than taking over lines that another
/// core has just written.
void run_few_tokens(ExecContext& context, const PackedGemmProblem& p, const PackedGemmArgs& a) {
  const PackedTask task = make_task(p, a);
  const int64_t bytes = few_tokens_bytes(task.units) + 64;  // a line says whether the rest is arranged
  const int threads = context.pool.threads();
  auto* memory = static_cast<uint8_t*>(context.workspace.reserve(static_cast<size_t>(threads * bytes)));
  for (int i = 0; i < threads; ++i) memory[i * bytes] = 0;
  const auto run = [&](int64_t begin, int64_t end, int worker) {
    uint8_t* own = memory + worker * bytes;
    avx512::few_tokens(task, begin, end, own + 64, *own != 0);
    *own = 1;
  };
  const int64_t tiles = tiles_of(p.n);
  if (p.m * p.n * p.k <= kSmallWork) return run(0, tiles, 0);
  context.pool.parallel_for(tiles, 1, run);
}

void run_reference(ExecContext& context, const PackedGemmProblem& p, const PackedGemmArgs& a) {
  const reference::PackedWeights weights = reference_weights(p, a.w);
  const reference::PackedActivations x = {.codes = a.x.codes,
                                          .stride = a.x.code_stride,
                                          .scales = a.x.scales,
                                          .unit_scales = p.activations == ActivationScales::Unit};
  context.pool.parallel_for(p.n, 1, [&](int64_t begin, int64_t end, int) {
    reference::packed_gemm(x, p.m, weights, begin, end, a.bias, a.accumulate, a.y, a.y_stride);
  });
}

constexpr KernelEntry<PackedGemmProblem, PackedGemmArgs> kEntries[] = {
    {"amx", Isa::Amx, supports_amx, run_range<amx::packed_gemm, true>},
    {"avx512_few_tokens", Isa::Avx512, supports_few_tokens, run_few_tokens},
    {"avx512_vbmi", Isa::Avx512, supports_vbmi, run_range<avx512_vbmi::packed_gemm, false>},
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
  if (p.minimums) text += " minimums";
  if (p.listed) text += " listed";
  if (p.scale_format != nullptr) text += fmt::format(" scales={}", p.scale_format->name);
  return text + fmt::format(" x=int8/{}", to_string(p.activations));
}

KernelTable<PackedGemmProblem, PackedGemmArgs> packed_gemm_table() { return kEntries; }

void packed_gemm(ExecContext& context, const PackedGemmProblem& problem, const PackedGemmArgs& args) {
  validate(problem, args);
  run_selected("packed_gemm", packed_gemm_table(), context, problem, args);
}

}  // namespace halftone::kernels
