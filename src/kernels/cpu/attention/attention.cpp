// Table and launcher of attention: which kernel, and how its work is spread over threads.
//
// Few tokens (decode): one unit of work per key-value head and block of keys, partials merged afterwards by the caller.
// Many tokens (prefill): one per key-value head and tile of tokens, long and short tiles alternating so that the equal
// shares of the pool cost the same. Both give the same bits.
#include "kernels/api/attention.h"

#include <fmt/format.h>

#include "kernels/cpu/attention/attention_kernel.h"
#include "numerics/reference/attention.h"

namespace halftone::kernels {

int64_t attention_scratch_floats(int64_t dim, int64_t rows) {
  return 2 * dim * kKeyBlock + kGroup * kKeyBlock + (kGroup + rows) * (dim + kPartialTail);
}

namespace {

constexpr int64_t kSplitTokens = 8;       // up to here keys are split over threads
constexpr int64_t kTileRows = 96;         // queries that share a loaded block
constexpr int64_t kInlineWork = 1 << 14;  // keys x dim of a unit that is not worth waking a thread for

KvFormat kv_format(ElementType format) {
  switch (format) {
    case ElementType::Float32:
      return KvFormat::Float32;
    case ElementType::Float16:
      return KvFormat::Float16;
    case ElementType::Int8:
      return KvFormat::Int8;
    default:
      return KvFormat::Int4;
  }
}

Rejection malformed(const AttentionProblem& p) {
  if (p.tokens < 1 || p.heads < 1 || p.kv_heads < 1 || p.head_dim < 1 || p.start < 0 || p.window < 0)
    return "tokens, heads, kv_heads and head_dim must be at least 1, start and window at least 0";
  if (p.heads % p.kv_heads != 0) return fmt::format("{} heads are no multiple of {} kv_heads", p.heads, p.kv_heads);
  if (p.format == ElementType::BFloat16 || p.format == ElementType::Int2)
    return fmt::format("cache format {} is not one of f32, f16, int8, int4", to_string(p.format));
  return {};
}

Rejection needs_vectors(const AttentionProblem& p) {
  if (p.head_dim % 16 != 0 || p.head_dim > 256)
    return fmt::format("head_dim {} is no multiple of 16 up to 256", p.head_dim);
  return malformed(p);
}

AttentionParams params_of(const AttentionProblem& problem, const AttentionArgs& args) {
  return {.q = args.q,
          .q_stride = args.q_stride,
          .keys = static_cast<const unsigned char*>(args.keys.codes),
          .values = static_cast<const unsigned char*>(args.values.codes),
          .key_scales = args.keys.scales,
          .value_scales = args.values.scales,
          .capacity = args.capacity,
          .row_bytes = row_bytes(problem.format, problem.head_dim),
          .tokens = problem.tokens,
          .start = problem.start,
          .ratio = problem.heads / problem.kv_heads,
          .dim = problem.head_dim,
          .window = problem.window,
          .format = kv_format(problem.format),
          .softmax_scale = args.softmax_scale,
          .out = args.out,
          .out_stride = args.out_stride};
}

void run_split(ExecContext& context, const AttentionKernel& kernel, const AttentionParams& p, int64_t kv_heads) {
  const int64_t first_key = p.window > 0 ? std::max<int64_t>(0, p.start - p.window + 1) : 0;
  const int64_t first = first_key / kKeyBlock;
  const int64_t blocks = (p.start + p.tokens + kKeyBlock - 1) / kKeyBlock - first;
  const int64_t partial_floats = p.tokens * p.ratio * (p.dim + kPartialTail);
  const int64_t scratch_floats = attention_scratch_floats(p.dim, 0);
  auto* partials = static_cast<float*>(
      context.workspace.reserve(sizeof(float) * static_cast<size_t>(kv_heads * blocks * partial_floats +
                                                                    context.pool.threads() * scratch_floats)));
  float* scratch = partials + kv_heads * blocks * partial_floats;
  const int64_t grain = std::max<int64_t>(1, kInlineWork / (kKeyBlock * p.dim));
  context.pool.parallel_for(kv_heads * blocks, grain, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t i = begin; i < end; ++i)
      kernel.block(p, i / blocks, first + i % blocks, partials + i * partial_floats, scratch + worker * scratch_floats);
  });
  for (int64_t head = 0; head < kv_heads; ++head)
    kernel.merge(p, head, blocks, partials + head * blocks * partial_floats);
}

void run_tiles(ExecContext& context, const AttentionKernel& kernel, const AttentionParams& p, int64_t kv_heads) {
  const int64_t tile_tokens = std::max<int64_t>(1, kTileRows / p.ratio);
  const int64_t tiles = (p.tokens + tile_tokens - 1) / tile_tokens;
  const int64_t scratch_floats = attention_scratch_floats(p.dim, tile_tokens * p.ratio);
  auto* scratch = static_cast<float*>(
      context.workspace.reserve(sizeof(float) * static_cast<size_t>(context.pool.threads() * scratch_floats)));
  context.pool.parallel_for(kv_heads * tiles, 1, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t turn = i / kv_heads;
      const int64_t tile = turn % 2 == 0 ? turn / 2 : tiles - 1 - turn / 2;
      kernel.tile(p, i % kv_heads, tile * tile_tokens, std::min(p.tokens, (tile + 1) * tile_tokens),
                  scratch + worker * scratch_floats);
    }
  });
}

void run_kernel(ExecContext& context, const AttentionKernel& kernel, const AttentionProblem& problem,
                const AttentionArgs& args) {
  const AttentionParams p = params_of(problem, args);
  (p.tokens <= kSplitTokens ? run_split : run_tiles)(context, kernel, p, problem.kv_heads);
}

template <const AttentionKernel& Kernel>
void run(ExecContext& context, const AttentionProblem& problem, const AttentionArgs& args) {
  run_kernel(context, Kernel, problem, args);
}

void run_reference(ExecContext&, const AttentionProblem& problem, const AttentionArgs& args) {
  reference::attention({.tokens = problem.tokens,
                        .start = problem.start,
                        .heads = problem.heads,
                        .kv_heads = problem.kv_heads,
                        .head_dim = problem.head_dim,
                        .window = problem.window,
                        .format = problem.format,
                        .q = args.q,
                        .q_stride = args.q_stride,
                        .keys = args.keys.codes,
                        .key_scales = args.keys.scales,
                        .values = args.values.codes,
                        .value_scales = args.values.scales,
                        .capacity = args.capacity,
                        .softmax_scale = args.softmax_scale,
                        .out = args.out,
                        .out_stride = args.out_stride});
}

constexpr KernelEntry<AttentionProblem, AttentionArgs> kTable[] = {
    {"avx512", Isa::Avx512, needs_vectors, run<avx512::kAttention>},
    {"avx2", Isa::Avx2, needs_vectors, run<avx2::kAttention>},
    {"reference", Isa::Scalar, malformed, run_reference},
};

void check(const AttentionProblem& problem, const AttentionArgs& args) {
  if (const Rejection why = malformed(problem); !why.empty())
    throw InvalidArgument("attention {}: {}", to_string(problem), why);
  const bool scaled = bits_of(problem.format) <= 8;
  const bool missing = args.q == nullptr || args.out == nullptr || args.keys.codes == nullptr ||
                       args.values.codes == nullptr ||
                       (scaled && (args.keys.scales == nullptr || args.values.scales == nullptr));
  if (missing)
    throw InvalidArgument("attention {}: q, out, keys, values{} must not be null", to_string(problem),
                          scaled ? " and their scales" : "");
  if (args.capacity < problem.start + problem.tokens)
    throw InvalidArgument("attention {}: capacity {} is below start + tokens = {}; make the cache larger",
                          to_string(problem), args.capacity, problem.start + problem.tokens);
  if (problem.tokens > 1 && std::min(args.q_stride, args.out_stride) < problem.heads * problem.head_dim)
    throw InvalidArgument("attention {}: strides of q ({}) and out ({}) must be at least heads * head_dim = {}",
                          to_string(problem), args.q_stride, args.out_stride, problem.heads * problem.head_dim);
}

}  // namespace

std::string to_string(const AttentionProblem& p) {
  return fmt::format("tokens={} start={} heads={} kv_heads={} head_dim={} window={} format={}", p.tokens, p.start,
                     p.heads, p.kv_heads, p.head_dim, p.window, to_string(p.format));
}

KernelTable<AttentionProblem, AttentionArgs> attention_table() { return kTable; }

void attention(ExecContext& context, const AttentionProblem& problem, const AttentionArgs& args) {
  check(problem, args);
  select(attention_table(), problem, context.isa).run(context, problem, args);
}

}  // namespace halftone::kernels
