// The tables of the packed bf16 GEMM and of rounding its activations, their checks, and how a call is split over
// threads: over weight rows, so that weights are expanded once and a slow core takes fewer of them, or over tokens
// where rows are long, and several parts of K would have to wait for each other's sums.
#include <vector>

#include "kernels/api/packed_bf16.h"
#include "kernels/cpu/packed_bf16/packed_bf16_task.h"
#include "kernels/cpu/packed_gemm/packed_weights.h"
#include "numerics/reference/packed_bf16.h"

namespace halftone::kernels {
namespace {

constexpr int64_t kMinPairs = 4;  // of a thread: with fewer, expanding all weights in each thread costs too much
constexpr int64_t kTileGrain = 4;

Rejection supports(const PackedBf16Problem& p) {
  if (p.gemm.group > 0 && p.gemm.group < kUnitLength) return "groups of 16 are for packed_gemm";
  if (p.gemm.listed) return "listed codes are for packed_gemm";
  if (p.gated && p.gemm.n % 64 != 0) return "gated outputs need n, gates and ups together, to be a multiple of 64";
  if (p.gated && p.accumulate) return "gated outputs cannot be accumulated";
  return malformed(p.gemm);
}

void validate(const PackedBf16Problem& p, const PackedBf16Args& a) {
  if (const Rejection why = supports(p); !why.empty()) throw InvalidArgument("packed_bf16 {}: {}", to_string(p), why);
  require_pointer(a.x, "x", p.gemm);
  require_weights(p.gemm, a.w);
  if (a.bias != nullptr && (p.accumulate || p.gated))
    throw InvalidArgument("packed_bf16 {}: a bias excludes accumulate and gated outputs; add it apart", to_string(p));
  if (p.gated) return require_pointer(a.gated_y, "gated_y", p.gemm);
  require_pointer(a.y, "y", p.gemm);
  if (p.gemm.m > 1 && a.y_stride < p.gemm.n)
    throw InvalidArgument("packed_bf16 {}: y_stride is {}; it must be at least n", to_string(p), a.y_stride);
}

PackedBf16Task make_task(const PackedBf16Problem& p, const PackedBf16Args& a) {
  const Gating gating = !p.gated ? Gating::None : *p.gated == GatedActivation::SwiGlu ? Gating::SwiGlu : Gating::GeGlu;
  PackedBf16Task task = {
      .packed = weight_task(p.gemm, a.w), .x = a.x, .accumulate = p.accumulate, .gated = gating, .gated_y = a.gated_y};
  task.packed.bias = a.bias;
  task.packed.y = a.y, task.packed.y_stride = a.y_stride;
  return task;
}

void run_amx(ExecContext& context, const PackedBf16Problem& p, const PackedBf16Args& a) {
  const PackedBf16Task task = make_task(p, a);
  const int threads = context.pool.threads();
  auto* memory = static_cast<uint8_t*>(context.workspace.reserve(static_cast<size_t>(threads * kBf16ScratchBytes)));
  const auto scratch = [&](int worker) { return memory + worker * kBf16ScratchBytes; };
  const int64_t tiles = p.gated ? p.gemm.n / 32 : tiles_of(p.gemm.n), pairs = (p.gemm.m + 31) / 32;
  if (p.gemm.k > p.gemm.n && pairs >= kMinPairs * threads) {
    context.pool.parallel_for(pairs, context.pool.whole_share(pairs), [&](int64_t begin, int64_t end, int worker) {
      amx::packed_bf16(task, 2 * begin, 2 * end, 0, tiles, scratch(worker));
    });
  } else {
    context.pool.parallel_for(tiles, kTileGrain, [&](int64_t begin, int64_t end, int worker) {
      amx::packed_bf16(task, 0, 2 * pairs, begin, end, scratch(worker));
    });
  }
}

void run_reference(ExecContext& context, const PackedBf16Problem& p, const PackedBf16Args& a) {
  const reference::PackedWeights weights = reference_weights(p.gemm, a.w);
  if (p.gated)
    return reference::packed_bf16_gated(a.x, p.gemm.m, weights, *p.gated == GatedActivation::GeGlu, a.gated_y);
  context.pool.parallel_for(p.gemm.n, 1, [&](int64_t begin, int64_t end, int) {
    reference::packed_bf16(a.x, p.gemm.m, weights, begin, end, a.bias, p.accumulate, a.y, a.y_stride);
  });
}

constexpr KernelEntry<PackedBf16Problem, PackedBf16Args> kEntries[] = {
    {"amx", Isa::Amx, supports, run_amx},
    {"reference", Isa::Scalar, supports, run_reference},
};

Rejection malformed_rows(const RoundActivationsProblem& p) {
  return p.rows < 1 || p.k < 1 ? "rows and k must be at least 1" : Rejection{};
}

void round_amx(ExecContext& context, const RoundActivationsProblem& p, const RoundActivationsArgs& a) {
  const RoundTask task = {a.x, a.x_stride, p.rows, p.k, p.norm, p.norm ? a.norm_weight : nullptr, a.epsilon, a.y};
  // By pairs of tiles, to which tokens are padded.
  context.pool.parallel_for((p.rows + 31) / 32, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t tile = 2 * begin; tile < 2 * end; ++tile) amx::round_tile(task, tile);
  });
}

void round_reference(ExecContext& context, const RoundActivationsProblem& p, const RoundActivationsArgs& a) {
  if (!p.norm) return reference::round_activations(a.x, a.x_stride, p.rows, p.k, a.y);
  std::vector<float> normed(static_cast<size_t>(p.rows * p.k));
  rms_norm_table().back().run(context, {.rows = p.rows, .k = p.k},
                              {a.x, a.x_stride, a.norm_weight, a.epsilon, normed.data(), p.k});
  reference::round_activations(normed.data(), p.k, p.rows, p.k, a.y);
}

constexpr KernelEntry<RoundActivationsProblem, RoundActivationsArgs> kRoundEntries[] = {
    {"amx", Isa::Amx, malformed_rows, round_amx},
    {"reference", Isa::Scalar, malformed_rows, round_reference},
};

}  // namespace

std::string to_string(const PackedBf16Problem& p) {
  return to_string(p.gemm) + " in bf16" + (p.accumulate ? ", accumulate" : "") + (p.gated ? ", gated" : "");
}

KernelTable<PackedBf16Problem, PackedBf16Args> packed_bf16_table() { return kEntries; }

void packed_bf16(ExecContext& context, const PackedBf16Problem& problem, const PackedBf16Args& args) {
  validate(problem, args);
  run_selected("packed_bf16", packed_bf16_table(), context, problem, args);
}

std::string to_string(const RoundActivationsProblem& p) {
  return fmt::format("rows={} k={}{}", p.rows, p.k, p.norm ? " of the RMSNorm" : "");
}

KernelTable<RoundActivationsProblem, RoundActivationsArgs> round_activations_table() { return kRoundEntries; }

void round_activations(ExecContext& context, const RoundActivationsProblem& p, const RoundActivationsArgs& a) {
  if (const Rejection why = malformed_rows(p); !why.empty())
    throw InvalidArgument("round_activations {}: {}", to_string(p), why);
  if (a.x == nullptr || a.y == nullptr || (p.rows > 1 && a.x_stride < p.k))
    throw InvalidArgument("round_activations {}: x and y must not be null, and x_stride {} at least k", to_string(p),
                          a.x_stride);
  run_selected("round_activations", round_activations_table(), context, p, a);
}

}  // namespace halftone::kernels
