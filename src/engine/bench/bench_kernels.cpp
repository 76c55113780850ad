// The kernel tables at SmolLM2's shapes; see bench.h. Sizes: width 576, feed-forward 1536, 9 heads of 64, 3 key-value
// heads, vocabulary 49152.
#include <ATen/ops/empty.h>

#include <algorithm>

#include "base/philox.h"
#include "base/progress.h"
#include "engine/bench/bench_bit_planes.h"
#include "engine/bench/bench_rotations.h"
#include "engine/bench/kernel_case.h"
#include "kernels/api/attention.h"
#include "kernels/api/elementwise.h"
#include "kernels/api/gemm.h"
#include "nn/kv_store.h"
#include "nn/linear.h"
#include "numerics/formats/weight_format.h"
#include "tensor/format_storage.h"
#include "tensor/quantize.h"

namespace halftone::engine {
namespace {

constexpr double kEpsilon = std::numeric_limits<float>::epsilon();
constexpr int64_t kWidth = 576, kFeedForward = 1536, kHeads = 9, kKvHeads = 3, kHeadDim = 64, kVocabulary = 49152;
constexpr double kRotateBytes = 96e6;  // weights of a timed problem, all copies together
constexpr size_t kMaxCopies = 64;

/// Values in [-1, 1).
at::Tensor random_matrix(int64_t rows, int64_t columns, uint64_t seed) {
  at::Tensor values = at::empty({rows, columns}, at::kFloat);
  PhiloxStream random(seed);
  float* data = values.data_ptr<float>();
  for (int64_t i = 0; i < values.numel(); ++i) data[i] = 2 * random.uniform() - 1;
  return values;
}

std::span<float> span_of(const at::Tensor& x) { return {x.data_ptr<float>(), static_cast<size_t>(x.numel())}; }

// ---- gemm ----

struct WeightKind {
  const char* name;
  ElementType dense = ElementType::Float32;
  std::optional<QuantScheme> scheme = {};
};

const std::vector<WeightKind>& weight_kinds() {
  static const std::vector<WeightKind> kinds = {
      {"f32"},
      {"bf16", ElementType::BFloat16},
      {"w4a16", {}, QuantScheme{ElementType::Int4, Granularity::Group, 64, true}},
  };
  return kinds;
}

using GemmCase = KernelCase<kernels::GemmProblem, kernels::GemmArgs>;

GemmCase gemm_case(ExecContext& exec, const WeightKind& kind, int64_t m, int64_t n, int64_t k, bool rotate) {
  struct Operands {
    std::vector<PreparedWeight> weights;
    std::unique_ptr<Activation> x;
    at::Tensor y;
  };
  auto operands = std::make_shared<Operands>();
  const at::Tensor w = random_matrix(n, k, 1);
  const auto make = [&]() -> Storage {
    if (kind.scheme) return quantize_nearest(exec, w, *kind.scheme);
    return make_dense(w.clone(), kind.dense);
  };
  const Storage storage = make();
  const auto copies = rotate ? std::clamp<size_t>(kRotateBytes / bytes_of(storage), 1, kMaxCopies) : 1;
  for (size_t i = 0; i < copies; ++i) operands->weights.emplace_back(i == 0 ? storage : make());
  operands->x = std::make_unique<Activation>(exec, random_matrix(m, k, 2));
  operands->y = at::empty({m, n}, at::kFloat);

  GemmCase result;
  result.problem = operands->weights[0].problem();
  result.problem.m = m;
  for (const auto& weight : operands->weights)
    result.args.push_back(
        {.x = operands->x->float32(), .w = weight.view(), .y = operands->y.data_ptr<float>(), .y_stride = n});
  result.output = span_of(operands->y);
  // A sum of K products errs by about sqrt(K) eps sum |x||w| (Higham & Mary, SIAM J. Sci. Comput. 41, 2019), where the
  // sum is at most K for operands within [-1, 1]; a lost product shows by tens of tolerances.
  result.tolerance = std::sqrt(static_cast<double>(k)) * kEpsilon * static_cast<double>(k);
  result.bytes = static_cast<double>(bytes_of(storage)) + static_cast<double>(4 * m * (n + k));
  result.flops = 2.0 * static_cast<double>(m * n * k);
  result.owner = operands;
  return result;
}

constexpr int64_t kGemmShapes[][3] = {  // m, n, k
    {1, kFeedForward, kWidth}, {1, kWidth, kFeedForward},   {1, kVocabulary, kWidth},
    {8, kFeedForward, kWidth}, {128, kFeedForward, kWidth}, {512, kWidth, kFeedForward}};

void bench_gemm(ExecContext& exec, int rounds, const std::string& filter, std::vector<KernelTiming>& timings) {
  for (const auto& kind : weight_kinds())
    for (const auto& [m, n, k] : kGemmShapes) {
      const std::string name = std::string("gemm ") + kind.name;
      const GemmCase small = gemm_case(exec, kind, std::min<int64_t>(m, 5), 67, k, false);
      kernels::GemmProblem problem = small.problem;
      problem.m = m, problem.n = n;
      if (!wanted(exec, name, kernels::gemm_table(), problem, filter)) continue;
      bench_case(exec, name, kernels::gemm_table(), small, gemm_case(exec, kind, m, n, k, m <= 8), rounds, filter,
                 timings);
    }
}

// ---- packed gemm ----

struct PackedKind {
  const char* name;
  QuantScheme scheme;
  kernels::ActivationScales activations;
  const char* format = nullptr;  ///< instead of `scheme`
};

const std::vector<PackedKind>& packed_kinds() {
  using enum kernels::ActivationScales;
  static const std::vector<PackedKind> kinds = {
      {"q8_0", {ElementType::Int8, Granularity::Group, 32}, Unit},
      {"q4_0", {ElementType::Int4, Granularity::Group, 32}, Unit},
      {"w8a8", {ElementType::Int8, Granularity::Row}, Row},
      {"w4a8", {ElementType::Int4, Granularity::TwoLevel, 64, true}, Row},
      {"w3a8", {ElementType::Int3, Granularity::TwoLevel, 64, true}, Row},
      {"w2a8", {ElementType::Int2, Granularity::Group, 64, true}, Row},
      {"ternary", {ElementType::Ternary, Granularity::Row}, Row},
      {"ternary", {ElementType::Ternary, Granularity::Group, 64}, Unit},
      {"mxfp4", {}, Unit, "mxfp4"},
      {"nvfp4", {}, Unit, "nvfp4"},
  };
  return kinds;
}

using PackedCase = KernelCase<kernels::PackedGemmProblem, kernels::PackedGemmArgs>;

PackedCase packed_case(ExecContext& exec, const PackedKind& kind, int64_t m, int64_t n, int64_t k, bool rotate) {
  struct Operands {
    std::vector<PackedWeight> weights;
    std::unique_ptr<Activation> x;
    at::Tensor y;
  };
  auto operands = std::make_shared<Operands>();
  const at::Tensor matrix = random_matrix(n, k, 1);
  const Storage storage = kind.format != nullptr ? quantize_to_format(exec, matrix, parse_weight_format(kind.format))
                                                 : quantize_nearest(exec, matrix, kind.scheme);
  const Storage* part = &storage;
  const auto copies = rotate ? std::clamp<size_t>(kRotateBytes / bytes_of(storage), 1, kMaxCopies) : 1;
  for (size_t i = 0; i < copies; ++i) operands->weights.emplace_back(std::span(&part, 1));
  operands->x = std::make_unique<Activation>(exec, random_matrix(m, k, 2));
  operands->y = at::empty({m, n}, at::kFloat);

  PackedCase result;
  result.problem = operands->weights[0].problem();
  result.problem.m = m;
  result.problem.activations = kind.activations;
  for (const auto& weight : operands->weights)
    result.args.push_back({.x = operands->x->int8(kind.activations),
                           .w = weight.view(),
                           .y = operands->y.data_ptr<float>(),
                           .y_stride = n});
  result.output = span_of(operands->y);
  // A rounding a fold of 16 or 32, and a few at the end, of sums of at most K products of operands within [-1, 1].
  result.tolerance = (static_cast<double>(k) / 16 + 8) * kEpsilon * static_cast<double>(k);
  result.bytes = static_cast<double>(bytes_of(storage)) + static_cast<double>(m * (k + 4 * n));
  result.flops = 2.0 * static_cast<double>(m * n * k);
  result.owner = operands;
  return result;
}

void bench_packed_gemm(ExecContext& exec, int rounds, const std::string& filter, std::vector<KernelTiming>& timings) {
  for (const auto& kind : packed_kinds())
    for (const auto& [m, n, k] : kGemmShapes) {
      const Arena::Frame frame(exec.arena);
      const std::string name = std::string("packed_gemm ") + kind.name;
      const PackedCase small = packed_case(exec, kind, std::min<int64_t>(m, 17), 67, k, false);
      kernels::PackedGemmProblem problem = small.problem;
      problem.m = m, problem.n = n;
      if (!wanted(exec, name, kernels::packed_gemm_table(), problem, filter)) continue;
      bench_case(exec, name, kernels::packed_gemm_table(), small, packed_case(exec, kind, m, n, k, m <= 8), rounds,
                 filter, timings);
    }
}

// ---- attention ----

using AttentionCase = KernelCase<kernels::AttentionProblem, kernels::AttentionArgs>;

AttentionCase attention_case(ExecContext& exec, ElementType format, int64_t tokens, int64_t start, bool bf16) {
  struct Operands {
    nn::KvStore cache;
    at::Tensor q, out;
  };
  const int64_t length = start + tokens, row = kHeads * kHeadDim;
  auto operands =
      std::make_shared<Operands>(Operands{nn::KvStore({1, kKvHeads, kHeadDim}, format, length),
                                          random_matrix(tokens, row, 3), at::empty({tokens, row}, at::kFloat)});
  operands->cache.append(exec, 0, random_matrix(length, kKvHeads * kHeadDim, 4),
                         random_matrix(length, kKvHeads * kHeadDim, 5));
  AttentionCase result;
  result.problem = {.tokens = tokens,
                    .start = start,
                    .heads = kHeads,
                    .kv_heads = kKvHeads,
                    .head_dim = kHeadDim,
                    .window = 0,
                    .format = format,
                    .bf16 = bf16};
  result.args = {{.q = operands->q.const_data_ptr<float>(),
                  .q_stride = row,
                  .keys = operands->cache.keys(0),
                  .values = operands->cache.values(0),
                  .capacity = length,
                  .softmax_scale = 0.125f,
                  .out = operands->out.data_ptr<float>(),
                  .out_stride = row}};
  result.output = span_of(operands->out);
  // Scores are at most D/8 = 8 and err by sqrt(D) eps of that, 64 eps; the weights exp(score) by as much relatively,
  // and so do weighted means of values within [-1, 1]. Eight times that.
  result.tolerance = 8 * static_cast<double>(kHeadDim) * kEpsilon;
  // bf16 rounds by u = 2^-8: scores err by 2 u D/8, weights by u more, means of values by twice that and u.
  if (bf16) result.tolerance = 0x1p-8 * (3 + static_cast<double>(kHeadDim) / 2);
  const double visible = static_cast<double>(tokens) * static_cast<double>(start) + tokens * (tokens + 1) / 2.0;
  result.bytes =
      static_cast<double>(nn::kv_bytes_per_token({1, kKvHeads, kHeadDim}, format) * length + 8 * tokens * row);
  result.flops = 4.0 * kHeads * kHeadDim * visible;
  result.owner = operands;
  return result;
}

void bench_attention(ExecContext& exec, int rounds, const std::string& filter, std::vector<KernelTiming>& timings) {
  struct Shape {
    int64_t tokens, start;
    bool bf16;
  };
  constexpr Shape kShapes[] = {{1, 511, false}, {1, 2047, false}, {512, 0, false}, {512, 0, true}, {2048, 0, true}};
  for (const auto format : {ElementType::Float16, ElementType::Int8, ElementType::Int4})
    for (const auto& [tokens, start, bf16] : kShapes)
      bench_case(exec, "attention", kernels::attention_table(),
                 attention_case(exec, format, std::min<int64_t>(tokens, bf16 ? 19 : 7), 90, bf16),
                 attention_case(exec, format, tokens, start, bf16), rounds, filter, timings);
}

// ---- row-wise operations ----

template <class Problem, class Args>
struct RowOperands {
  at::Tensor a, b, weight, original;
  std::vector<double> frequencies;
};

using NormCase = KernelCase<kernels::RmsNormProblem, kernels::RmsNormArgs>;
NormCase norm_case(int64_t rows) {
  auto o = std::make_shared<RowOperands<kernels::RmsNormProblem, kernels::RmsNormArgs>>();
  o->a = random_matrix(rows, kWidth, 6), o->b = at::empty({rows, kWidth}, at::kFloat);
  o->weight = random_matrix(1, kWidth, 7);
  return {.problem = {rows, kWidth},
          .args = {{.x = o->a.const_data_ptr<float>(),
                    .x_stride = kWidth,
                    .weight = o->weight.const_data_ptr<float>(),
                    .epsilon = 1e-5f,
                    .y = o->b.data_ptr<float>(),
                    .y_stride = kWidth}},
          .output = span_of(o->b),
          .tolerance = static_cast<double>(kWidth) * kEpsilon * 4,  // |y| < 2; the mean of K squares errs by K eps
          .bytes = 8.0 * static_cast<double>(rows * kWidth),
          .flops = 0,
          .owner = o};
}

using RopeCase = KernelCase<kernels::RopeProblem, kernels::RopeArgs>;
RopeCase rope_case(int64_t tokens) {
  auto o = std::make_shared<RowOperands<kernels::RopeProblem, kernels::RopeArgs>>();
  o->a = random_matrix(tokens, kHeads * kHeadDim, 8), o->original = o->a.clone();
  for (int64_t i = 0; i < kHeadDim / 2; ++i) o->frequencies.push_back(std::pow(1e5, -2.0 * i / kHeadDim));
  return {.problem = {tokens, kHeads, kHeadDim, kHeadDim, kernels::RopeStyle::Adjacent},
          .args = {{.x = o->a.data_ptr<float>(),
                    .x_stride = kHeads * kHeadDim,
                    .start = 100,
                    .inverse_frequency = o->frequencies.data()}},
          .output = span_of(o->a),
          .tolerance = 8 * kEpsilon,  // two products of values within [-1, 1], and sine and cosine rounded to f32
          .bytes = 8.0 * static_cast<double>(tokens * kHeads * kHeadDim),
          .flops = 0,
          .owner = o,
          .reset = [o] { o->a.copy_(o->original); }};
}

using GatedCase = KernelCase<kernels::GatedProblem, kernels::GatedArgs>;
GatedCase gated_case(int64_t rows) {
  auto o = std::make_shared<RowOperands<kernels::GatedProblem, kernels::GatedArgs>>();
  o->a = random_matrix(rows, kFeedForward, 9), o->weight = random_matrix(rows, kFeedForward, 10);
  o->b = at::empty({rows, kFeedForward}, at::kFloat);
  return {.problem = {rows, kFeedForward, kernels::GatedActivation::SwiGlu},
          .args = {{.gate = o->a.const_data_ptr<float>(),
                    .up = o->weight.const_data_ptr<float>(),
                    .y = o->b.data_ptr<float>()}},
          .output = span_of(o->b),
          .tolerance = 16 * kEpsilon,  // an exponential, a division and two products of values within [-1, 1]
          .bytes = 12.0 * static_cast<double>(rows * kFeedForward),
          .flops = 0,
          .owner = o};
}

void bench_rows(ExecContext& exec, int rounds, const std::string& filter, std::vector<KernelTiming>& timings) {
  for (const int64_t rows : {1, 512}) {
    bench_case(exec, "rms_norm", kernels::rms_norm_table(), norm_case(3), norm_case(rows), rounds, filter, timings);
    bench_case(exec, "rope", kernels::rope_table(), rope_case(3), rope_case(rows), rounds, filter, timings);
    bench_case(exec, "gated", kernels::gated_table(), gated_case(3), gated_case(rows), rounds, filter, timings);
  }
}

}  // namespace

std::vector<KernelTiming> bench_kernels(ExecContext& exec, int rounds, const std::string& filter) {
  std::vector<KernelTiming> timings;
  Progress progress("bench kernels", 3);
  bench_gemm(exec, rounds, filter, timings);
  bench_packed_gemm(exec, rounds, filter, timings);
  bench_bit_planes(exec, rounds, filter, timings);
  progress.update(1, "gemm");
  bench_attention(exec, rounds, filter, timings);
  progress.update(2, "attention");
  bench_rows(exec, rounds, filter, timings);
  bench_rotations(exec, rounds, filter, timings);
  progress.update(3, "row-wise");
  return timings;
}

}  // namespace halftone::engine
