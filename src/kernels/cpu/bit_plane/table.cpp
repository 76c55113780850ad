// The ordered table of the bit-plane GEMM, its checks, and how a call is split over threads: over tiles of weight rows,
// or over tokens where tiles are few; never over K.
#include "kernels/api/bit_plane.h"
#include "kernels/cpu/bit_plane/bit_plane_task.h"
#include "numerics/reference/bit_plane.h"

namespace halftone::kernels {
namespace {

constexpr int64_t kSmallWork = 1 << 17;  // products of bits below which waking a thread costs more than it saves

int64_t group_of(const BitPlaneProblem& p) { return p.group > 0 ? p.group : p.k; }
BitPlanes weight_planes(const BitPlaneProblem& p) { return {PlaneOrder::Weights, p.weight_bits, p.n, p.k}; }
BitPlanes activation_planes(const BitPlaneProblem& p) { return {PlaneOrder::Activations, p.activation_bits, p.m, p.k}; }

Rejection malformed(const BitPlaneProblem& p) {
  if (p.m < 1 || p.n < 1 || p.k < 1) return "sizes m, n and k must be at least 1";
  if (p.weight_bits < 1 || p.weight_bits > 8 || p.activation_bits < 1 || p.activation_bits > 8)
    return "weights and activations must have 1 to 8 bits";
  if (p.group < 0 || p.group % kPlaneCodes != 0) return "group must be a multiple of 64, or 0 for a scale a row";
  const int64_t largest = ((int64_t{1} << p.weight_bits) - 1) * ((int64_t{1} << p.activation_bits) - 1);
  if (std::min(group_of(p), p.k) > INT32_MAX / (4 * largest))
    return "sums of so many elements overflow 32 bits; take fewer bits or a group";
  return {};
}

Rejection supports_vpopcntdq(const BitPlaneProblem& p) {
  if (!has_extension(Avx512Extension::Vpopcntdq)) return "this CPU lacks AVX512_VPOPCNTDQ";
  return malformed(p);
}

void validate(const BitPlaneProblem& p, const BitPlaneArgs& a) {
  if (const Rejection why = malformed(p); !why.empty())
    throw InvalidArgument("bit_plane_gemm {}: {}", to_string(p), why);
  const std::pair<const void*, const char*> pointers[] = {
      {a.x.planes, "x.planes"},   {a.x.scales, "x.scales"}, {a.x.offsets, "x.offsets"},
      {a.x.sums, "x.sums"},       {a.w.planes, "w.planes"}, {a.w.scales, "w.scales"},
      {a.w.offsets, "w.offsets"}, {a.w.sums, "w.sums"},     {a.y, "y"}};
  for (const auto& [pointer, name] : pointers)
    if (pointer == nullptr) throw InvalidArgument("bit_plane_gemm {}: {} is null; pass it", to_string(p), name);
  if (p.m > 1 && a.y_stride < p.n)
    throw InvalidArgument("bit_plane_gemm {}: y_stride is {}; it must be at least n", to_string(p), a.y_stride);
}

BitPlaneTask make_task(const BitPlaneProblem& p, const BitPlaneArgs& a) {
  const int64_t group = group_of(p);
  return {.m = p.m,
          .n = p.n,
          .k = p.k,
          .p = p.weight_bits,
          .q = p.activation_bits,
          .words = weight_planes(p).words(),
          .groups = (p.k + group - 1) / group,
          .group_words = (group + kPlaneCodes - 1) / kPlaneCodes,
          .w = a.w.planes,
          .w_scales = a.w.scales,
          .w_offsets = a.w.offsets,
          .w_sums = a.w.sums,
          .x = a.x.planes,
          .x_scales = a.x.scales,
          .x_offsets = a.x.offsets,
          .x_sums = a.x.sums,
          .bias = a.bias,
          .y = a.y,
          .y_stride = a.y_stride};
}

template <BitPlaneRange kRange>
void run_range(ExecContext& context, const BitPlaneProblem& p, const BitPlaneArgs& a) {
  const BitPlaneTask task = make_task(p, a);
  const int64_t tiles = weight_planes(p).tiles(), threads = context.pool.threads();
  if (p.m * p.n * p.k * p.weight_bits * p.activation_bits <= kSmallWork) return kRange(task, 0, p.m, 0, tiles);
  constexpr int64_t kTokenGrain = 8, kTileGrain = 2;
  if (tiles < 4 * threads && p.m >= 2 * threads * kTokenGrain) {
    context.pool.parallel_for(p.m, kTokenGrain,
                              [&](int64_t begin, int64_t end, int) { kRange(task, begin, end, 0, tiles); });
  } else {
    context.pool.parallel_for(tiles, kTileGrain,
                              [&](int64_t begin, int64_t end, int) { kRange(task, 0, p.m, begin, end); });
  }
}

void run_reference(ExecContext& context, const BitPlaneProblem& p, const BitPlaneArgs& a) {
  const reference::BitPlaneWeights w = {.planes = weight_planes(p),
                                        .group = group_of(p),
                                        .words = a.w.planes,
                                        .scales = a.w.scales,
                                        .offsets = a.w.offsets};
  const reference::BitPlaneActivations x = {
      .planes = activation_planes(p), .words = a.x.planes, .scales = a.x.scales, .offsets = a.x.offsets};
  context.pool.parallel_for(p.n, 1, [&](int64_t begin, int64_t end, int) {
    reference::bit_plane_gemm(x, w, begin, end, a.bias, a.y, a.y_stride);
  });
}

constexpr KernelEntry<BitPlaneProblem, BitPlaneArgs> kEntries[] = {
    {"avx512_vpopcntdq", Isa::Avx512, supports_vpopcntdq, run_range<avx512_vpopcntdq::bit_plane>},
    {"avx512", Isa::Avx512, malformed, run_range<avx512::bit_plane>},
    {"avx2", Isa::Avx2, malformed, run_range<avx2::bit_plane>},
    {"reference", Isa::Scalar, malformed, run_reference},
};

}  // namespace

std::string to_string(const BitPlaneProblem& p) {
  std::string text = fmt::format("m={} n={} k={} w=u{} x=u{}", p.m, p.n, p.k, p.weight_bits, p.activation_bits);
  if (p.group > 0) text += fmt::format(" group={}", p.group);
  return text;
}

KernelTable<BitPlaneProblem, BitPlaneArgs> bit_plane_table() { return kEntries; }

void bit_plane_gemm(ExecContext& context, const BitPlaneProblem& problem, const BitPlaneArgs& args) {
  validate(problem, args);
  run_selected("bit_plane", bit_plane_table(), context, problem, args);
}

}  // namespace halftone::kernels
