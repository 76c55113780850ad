// Tables and launchers of the row-wise and element-wise operations. Rows are spread over the pool; work below
// kInlineElements stays on the calling thread, which is where the single token of a decode step belongs.
#include "kernels/api/elementwise.h"

#include <fmt/format.h>

#include <cmath>

#include "kernels/cpu/elementwise/elementwise_kernel.h"
#include "numerics/reference/elementwise.h"

namespace halftone::kernels {
namespace {

constexpr int64_t kInlineElements = 1 << 13;

int64_t grain_of(int64_t row_elements) {
  return std::max<int64_t>(1, kInlineElements / std::max<int64_t>(1, row_elements));
}

template <class Problem>
Rejection at_least_one(const Problem& p) {
  return p.rows < 1 || p.k < 1 ? "rows and k must be at least 1" : Rejection{};
}

// RMSNorm

template <const ElementwiseKernel& Kernel>
void run_rms_norm(ExecContext& context, const RmsNormProblem& p, const RmsNormArgs& a) {
  context.pool.parallel_for(p.rows, grain_of(p.k), [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r)
      Kernel.rms_norm(a.x + r * a.x_stride, a.weight, p.k, a.epsilon, a.y + r * a.y_stride);
  });
}

void reference_rms_norm(ExecContext&, const RmsNormProblem& p, const RmsNormArgs& a) {
  reference::rms_norm(p.rows, p.k, a.x, a.x_stride, a.weight, a.epsilon, a.y, a.y_stride);
}

constexpr KernelEntry<RmsNormProblem, RmsNormArgs> kRmsNorm[] = {
    {"avx512", Isa::Avx512, at_least_one<RmsNormProblem>, run_rms_norm<avx512::kElementwise>},
    {"avx2", Isa::Avx2, at_least_one<RmsNormProblem>, run_rms_norm<avx2::kElementwise>},
    {"reference", Isa::Scalar, at_least_one<RmsNormProblem>, reference_rms_norm},
};

// RoPE

Rejection malformed(const RopeProblem& p) {
  if (p.tokens < 1 || p.heads < 1 || p.head_dim < 1) return "tokens, heads and head_dim must be at least 1";
  if (p.rotary_dim < 2 || p.rotary_dim % 2 != 0 || p.rotary_dim > p.head_dim)
    return fmt::format("rotary_dim {} must be even, from 2 to head_dim {}", p.rotary_dim, p.head_dim);
  return {};
}

template <const ElementwiseKernel& Kernel>
void run_rope(ExecContext& context, const RopeProblem& p, const RopeArgs& a) {
  const int64_t floats = p.rotary_dim + kRopePad;
  auto* scratch = static_cast<float*>(
      context.workspace.reserve(sizeof(float) * static_cast<size_t>(2 * floats * context.pool.threads())));
  context.pool.parallel_for(p.tokens, grain_of(p.heads * p.head_dim), [&](int64_t begin, int64_t end, int worker) {
    float* mine = scratch + 2 * floats * worker;
    const RopeRow row = {mine, mine + floats, p.rotary_dim, p.style == RopeStyle::Adjacent};
    for (int64_t t = begin; t < end; ++t) {
      Kernel.rope_angles(row, a.start + t, a.inverse_frequency);
      Kernel.rope_rotate(row, p.heads, p.head_dim, a.x + t * a.x_stride);
    }
  });
}

void reference_rope(ExecContext&, const RopeProblem& p, const RopeArgs& a) {
  reference::rope(p.tokens, p.heads, p.head_dim, p.rotary_dim, p.style == RopeStyle::Adjacent, a.x, a.x_stride, a.start,
                  a.inverse_frequency);
}

constexpr KernelEntry<RopeProblem, RopeArgs> kRope[] = {
    {"avx512", Isa::Avx512, malformed, run_rope<avx512::kElementwise>},
    {"avx2", Isa::Avx2, malformed, run_rope<avx2::kElementwise>},
    {"reference", Isa::Scalar, malformed, reference_rope},
};

// RoPE's angles

Rejection malformed_angles(const RopeAnglesProblem& p) {
  if (p.tokens < 1 || p.rotary_dim < 2 || p.rotary_dim % 2 != 0)
    return fmt::format("tokens must be at least 1, rotary_dim {} even and at least 2", p.rotary_dim);
  return {};
}

template <const ElementwiseKernel& Kernel>
void run_rope_angles(ExecContext& context, const RopeAnglesProblem& p, const RopeAnglesArgs& a) {
  static_assert(rope_row_floats(0) == 2 * kRopePad);
  const int64_t floats = p.rotary_dim + kRopePad;
  context.pool.parallel_for(p.tokens, grain_of(16 * p.rotary_dim), [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      float* row = a.rows + 2 * floats * t;
      Kernel.rope_angles({row, row + floats, p.rotary_dim, p.style == RopeStyle::Adjacent}, a.start + t,
                         a.inverse_frequency);
    }
  });
}

void reference_rope_angles(ExecContext&, const RopeAnglesProblem& p, const RopeAnglesArgs& a) {
  reference::rope_angles(p.tokens, p.rotary_dim, p.style == RopeStyle::Adjacent, a.start, a.inverse_frequency, a.rows,
                         rope_row_floats(p.rotary_dim));
}

constexpr KernelEntry<RopeAnglesProblem, RopeAnglesArgs> kRopeAngles[] = {
    {"avx512", Isa::Avx512, malformed_angles, run_rope_angles<avx512::kElementwise>},
    {"avx2", Isa::Avx2, malformed_angles, run_rope_angles<avx2::kElementwise>},
    {"reference", Isa::Scalar, malformed_angles, reference_rope_angles},
};

// Gated activations

template <const ElementwiseKernel& Kernel>
void run_gated(ExecContext& context, const GatedProblem& p, const GatedArgs& a) {
  const auto kernel = p.activation == GatedActivation::SwiGlu ? Kernel.swiglu : Kernel.geglu;
  const int64_t stride = a.stride > 0 ? a.stride : p.k;
  context.pool.parallel_for(p.rows, grain_of(p.k), [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) kernel(p.k, a.gate + r * stride, a.up + r * stride, a.y + r * p.k);
  });
}

void reference_gated(ExecContext&, const GatedProblem& p, const GatedArgs& a) {
  const int64_t stride = a.stride > 0 ? a.stride : p.k;
  for (int64_t r = 0; r < p.rows; ++r)
    reference::gated(p.k, p.activation == GatedActivation::GeGlu, a.gate + r * stride, a.up + r * stride,
                     a.y + r * p.k);
}

constexpr KernelEntry<GatedProblem, GatedArgs> kGated[] = {
    {"avx512", Isa::Avx512, at_least_one<GatedProblem>, run_gated<avx512::kElementwise>},
    {"avx2", Isa::Avx2, at_least_one<GatedProblem>, run_gated<avx2::kElementwise>},
    {"reference", Isa::Scalar, at_least_one<GatedProblem>, reference_gated},
};

// Softmax statistics

template <const ElementwiseKernel& Kernel>
void run_softmax_stats(ExecContext& context, const SoftmaxStatsProblem& p, const SoftmaxStatsArgs& a) {
  context.pool.parallel_for(p.rows, grain_of(p.k), [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      const SoftmaxSum row = Kernel.softmax_sum(p.k, a.x + r * p.k);
      a.argmax[r] = static_cast<int32_t>(row.argmax);
      a.log_sum_exp[r] = row.maximum + std::log(row.sum);
      if (a.reference == nullptr) continue;
      const SoftmaxSum other = Kernel.softmax_sum(p.k, a.reference + r * p.k);
      a.kl[r] = Kernel.softmax_kl(p.k, a.x + r * p.k, a.log_sum_exp[r], a.reference + r * p.k,
                                  other.maximum + std::log(other.sum));
    }
  });
}

void reference_softmax_stats(ExecContext&, const SoftmaxStatsProblem& p, const SoftmaxStatsArgs& a) {
  reference::softmax_stats(p.rows, p.k, a.x, a.reference, a.argmax, a.log_sum_exp, a.kl);
}

Rejection fits_index(const SoftmaxStatsProblem& p) {
  return p.k > INT32_MAX ? fmt::format("k {} does not fit the 32-bit argmax", p.k) : at_least_one(p);
}

constexpr KernelEntry<SoftmaxStatsProblem, SoftmaxStatsArgs> kSoftmaxStats[] = {
    {"avx512", Isa::Avx512, fits_index, run_softmax_stats<avx512::kElementwise>},
    {"avx2", Isa::Avx2, fits_index, run_softmax_stats<avx2::kElementwise>},
    {"reference", Isa::Scalar, fits_index, reference_softmax_stats},
};

/// Refuses what no entry can run: a malformed problem, a missing pointer, rows that overlap.
template <class Problem>
void check(std::string_view operation, const Problem& problem, const Rejection& why, bool pointers,
           int64_t least_stride, int64_t wanted_stride) {
  if (!why.empty()) throw InvalidArgument("{} {}: {}", operation, to_string(problem), why);
  if (!pointers) throw InvalidArgument("{} {}: a required pointer is null", operation, to_string(problem));
  if (least_stride < wanted_stride)
    throw InvalidArgument("{} {}: rows are {} floats apart, at least {} are needed", operation, to_string(problem),
                          least_stride, wanted_stride);
}

}  // namespace

std::string to_string(const RmsNormProblem& p) { return fmt::format("rows={} k={}", p.rows, p.k); }
std::string to_string(const SoftmaxStatsProblem& p) { return fmt::format("rows={} k={}", p.rows, p.k); }
std::string to_string(const GatedProblem& p) {
  return fmt::format("rows={} k={} {}", p.rows, p.k, p.activation == GatedActivation::SwiGlu ? "swiglu" : "geglu");
}
std::string to_string(const RopeProblem& p) {
  return fmt::format("tokens={} heads={} head_dim={} rotary_dim={} {}", p.tokens, p.heads, p.head_dim, p.rotary_dim,
                     p.style == RopeStyle::Adjacent ? "adjacent" : "half-split");
}

std::string to_string(const RopeAnglesProblem& p) {
  return fmt::format("tokens={} rotary_dim={} {}", p.tokens, p.rotary_dim,
                     p.style == RopeStyle::Adjacent ? "adjacent" : "half-split");
}

KernelTable<RmsNormProblem, RmsNormArgs> rms_norm_table() { return kRmsNorm; }
KernelTable<RopeProblem, RopeArgs> rope_table() { return kRope; }
KernelTable<RopeAnglesProblem, RopeAnglesArgs> rope_angles_table() { return kRopeAngles; }
KernelTable<GatedProblem, GatedArgs> gated_table() { return kGated; }
KernelTable<SoftmaxStatsProblem, SoftmaxStatsArgs> softmax_stats_table() { return kSoftmaxStats; }

void rms_norm(ExecContext& context, const RmsNormProblem& p, const RmsNormArgs& a) {
  const int64_t stride = p.rows > 1 ? std::min(a.x_stride, a.y_stride) : p.k;
  check("rms_norm", p, at_least_one(p), a.x != nullptr && a.y != nullptr, stride, p.k);
  run_selected("rms_norm", rms_norm_table(), context, p, a);
}

void rope(ExecContext& context, const RopeProblem& p, const RopeArgs& a) {
  const int64_t wanted = p.heads * p.head_dim;
  check("rope", p, malformed(p), a.x != nullptr && a.inverse_frequency != nullptr, p.tokens > 1 ? a.x_stride : wanted,
        wanted);
  if (a.start < 0) throw InvalidArgument("rope {}: start {} must be at least 0", to_string(p), a.start);
  run_selected("rope", rope_table(), context, p, a);
}

void rope_angles(ExecContext& context, const RopeAnglesProblem& p, const RopeAnglesArgs& a) {
  check("rope_angles", p, malformed_angles(p), a.rows != nullptr && a.inverse_frequency != nullptr, 0, 0);
  if (a.start < 0) throw InvalidArgument("rope_angles {}: start {} must be at least 0", to_string(p), a.start);
  run_selected("rope_angles", rope_angles_table(), context, p, a);
}

void gated(ExecContext& context, const GatedProblem& p, const GatedArgs& a) {
  check("gated", p, at_least_one(p), a.gate != nullptr && a.up != nullptr && a.y != nullptr,
        a.stride > 0 ? a.stride : p.k, p.k);
  run_selected("gated", gated_table(), context, p, a);
}

void softmax_stats(ExecContext& context, const SoftmaxStatsProblem& p, const SoftmaxStatsArgs& a) {
  const bool pointers =
      a.x != nullptr && a.argmax != nullptr && a.log_sum_exp != nullptr && (a.reference == nullptr || a.kl != nullptr);
  check("softmax_stats", p, fits_index(p), pointers, p.k, p.k);
  run_selected("softmax_stats", softmax_stats_table(), context, p, a);
}

}  // namespace halftone::kernels
