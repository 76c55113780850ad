// Tables and launchers of attention: which kernel, and how its work is spread over threads.
//
// Few tokens (decode): one unit of work per sequence, key-value head and block of keys, all in one parallel loop; who
// finishes the last block of a head merges its partials, always in block order. With many heads a thread takes whole
// ones, and appends their new tokens on the way.
// Many tokens (prefill): one unit per key-value head and tile of tokens, long and short tiles alternating so that the
// equal shares of the pool cost the same. Both give the same bits.
// Prompts with bf16 products: the cache is packed in one parallel loop, then units as for prefill.
#include "kernels/api/attention.h"

#include <fmt/format.h>

#include <atomic>

#include "kernels/cpu/attention/append.h"
#include "kernels/cpu/attention/attention_kernel.h"
#include "numerics/reference/attention.h"

namespace halftone::kernels {

int64_t attention_query_words(int64_t dim, int64_t rows) { return rows * (dim / 2 + kQueryTail); }

int64_t attention_scratch_floats(int64_t dim, int64_t rows) {
  constexpr int64_t kMaxDim = 256;
  const int64_t block = 2 * dim * kKeyBlock + 4 * kKeyBlock;
  const int64_t group = kGroup * (kKeyBlock + kKeyBlock / 2 + kMaxDim);
  return block + group + (kGroup + rows) * (dim + kPartialTail) + attention_query_words(dim, rows);
}

int64_t prompt_scratch_bytes(int64_t dim, int64_t padded_rows) {
  // Query and accumulators, l twice, m and a count, the keys that it sees; scores and weights of a few steps.
  const int64_t row = dim * 6 + 2 * 16 * 4 + 2 * 4 + 2 * 8;
  return padded_rows * row + kPromptRows * (3 * 32 * 4 + 2 * 32 * 2 + 4);
}

namespace {

constexpr int64_t kSplitTokens = 8;  // up to here keys are split over threads
constexpr int64_t kWholeHeads = 4;   // for each thread: from here on heads are divided well enough
constexpr int64_t kTileRows = 96;    // queries that share a loaded block
// bf16 tiles pay from here on: measured 1.4 to 6 times as fast at 16 tokens, 3 to 5 times at 512 (Emerald Rapids).
constexpr int64_t kPromptTokens = 16;
constexpr int64_t kPromptTileRows = 192;    // queries that share packed keys on their way through the caches
constexpr int64_t kPromptTileRowsMin = 96;  // where larger tiles would be too few for the threads; 5 % slower
constexpr int64_t kPackedBytes = 32 << 20;  // of packed keys and values at a time, unless one head needs more
constexpr int64_t kInlineWork = 1 << 14;    // keys x dim of a unit that is not worth waking a thread for

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
  if (p.format == ElementType::BFloat16 || bits_of(p.format) < 4)
    return fmt::format("cache format {} is not one of f32, f16, int8, int4", to_string(p.format));
  return {};
}

Rejection needs_vectors(const AttentionProblem& p) {
  if (p.head_dim % 16 != 0 || p.head_dim > 256)
    return fmt::format("head_dim {} is no multiple of 16 up to 256", p.head_dim);
  return malformed(p);
}

Rejection needs_prompt(const AttentionProblem& p) {
  if (const Rejection why = needs_vectors(p); !why.empty()) return why;
  if (!p.bf16) return "products are to keep their precision, not to be rounded to bf16";
  if (p.tokens < kPromptTokens) return fmt::format("{} tokens are fewer than {}", p.tokens, kPromptTokens);
  if (p.head_dim % 32 != 0) return fmt::format("head_dim {} is no multiple of 32", p.head_dim);
  return {};
}

/// What a rule for one sequence says about the first of several that it rejects.
template <Rejection (*Rule)(const AttentionProblem&)>
Rejection any_sequence(const AttentionBatchProblem& p) {
  for (size_t i = 0; i < p.sequences.size(); ++i)
    if (const Rejection why = Rule(p.sequences[i]); !why.empty()) return fmt::format("sequence {}: {}", i, why);
  return {};
}

Rejection some_prompt(const AttentionBatchProblem& p) {
  if (const Rejection why = any_sequence<needs_vectors>(p); !why.empty()) return why;
  for (const AttentionProblem& sequence : p.sequences)
    if (needs_prompt(sequence).empty()) return {};
  if (p.sequences.empty()) return "no sequences";
  return fmt::format("no sequence is a prompt for it; the first: {}", needs_prompt(p.sequences[0]));
}

AttentionParams params_of(const AttentionProblem& problem, const AttentionArgs& args) {
  return {.q = args.append != nullptr ? args.append->q : args.q,
          .q_stride = args.q_stride,
          .keys = static_cast<const unsigned char*>(args.keys.codes),
          .values = static_cast<const unsigned char*>(args.values.codes),
          .key_scales = args.keys.scales,
          .value_scales = args.values.scales,
          .head_bytes = kv_head_bytes(problem.format, problem.head_dim, args.capacity),
          .head_scales = kv_head_scales(problem.format, args.capacity),
          .token_bytes = kv_token_bytes(problem.format, problem.head_dim),
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

/// A sequence of few tokens in a parallel loop over blocks.
struct SplitSequence {
  AttentionParams p;
  const AttentionProblem* problem;
  const AttentionArgs* args;
  int64_t first_block, blocks;
  int64_t heads_end, units_end;  // of this sequence and those before it
  float* partials;               // [kv_heads][blocks][rows][dim + kPartialTail]
  int32_t* queries;              // [kv_heads][query words of all rows]
  int32_t* left;                 // [kv_heads] blocks to do

  int64_t rows() const { return p.tokens * p.ratio; }
  int64_t partial_floats() const { return rows() * (p.dim + kPartialTail); }
  int64_t query_words() const { return attention_query_words(p.dim, rows()); }
  AttentionUnit unit(int64_t head, int64_t block) const { return {head, first_block + block, nullptr, nullptr}; }
  /// Where the codes of a unit begin.
  int64_t codes_at(const AttentionUnit& u) const {
    return u.kv_head * p.head_bytes + u.block * kKeyBlock * p.token_bytes;
  }
};

/// Hands out pieces of the workspace, each on a cache line of its own; without memory it only counts.
struct Carver {
  unsigned char* memory;
  size_t used = 0;
  template <class T>
  T* take(int64_t count) {
    auto* at = memory == nullptr ? nullptr : reinterpret_cast<T*>(memory + used);
    used += (static_cast<size_t>(count) * sizeof(T) + 63) / 64 * 64;
    return at;
  }
};

struct SplitPlan {
  std::span<SplitSequence> sequences;
  float* scratch;
  int64_t scratch_floats, heads, units, dim;
};

/// Lays out the sequences of few tokens over `carver`, and describes them where it has memory.
SplitPlan plan_split(std::span<const AttentionProblem> problems, std::span<const AttentionArgs> args, int threads,
                     Carver& carver) {
  SplitPlan plan{};
  auto* described = carver.take<SplitSequence>(static_cast<int64_t>(problems.size()));
  size_t count = 0;
  for (size_t i = 0; i < problems.size(); ++i) {
    const AttentionProblem& problem = problems[i];
    if (problem.tokens > kSplitTokens) continue;
    SplitSequence s{};
    s.p = params_of(problem, args[i]);
    s.problem = &problem, s.args = &args[i];
    s.first_block = problem.window > 0 ? std::max<int64_t>(0, problem.start - problem.window + 1) / kKeyBlock : 0;
    s.blocks = (problem.start + problem.tokens + kKeyBlock - 1) / kKeyBlock - s.first_block;
    s.partials = carver.take<float>(problem.kv_heads * s.blocks * s.partial_floats());
    s.queries = carver.take<int32_t>(problem.kv_heads * s.query_words());
    s.left = carver.take<int32_t>(problem.kv_heads);
    s.heads_end = plan.heads += problem.kv_heads;
    s.units_end = plan.units += problem.kv_heads * s.blocks;
    plan.dim = std::max(plan.dim, problem.head_dim);
    plan.scratch_floats = std::max(plan.scratch_floats, attention_scratch_floats(problem.head_dim, 0));
    if (described != nullptr) described[count++] = s;
  }
  plan.sequences = {described, count};
  plan.scratch = carver.take<float>(threads * plan.scratch_floats);
  return plan;
}

/// The kernel of an instruction set.
struct Kernels {
  Isa isa;
  const AttentionKernel& attention;
};
constexpr Kernels kAvx512 = {Isa::Avx512, avx512::kAttention};
constexpr Kernels kAvx2 = {Isa::Avx2, avx2::kAttention};

void prepare_head(const Kernels& kernels, const SplitSequence& s, int64_t head) {
  if (s.args->append != nullptr) append_head(kernels.isa, *s.problem, *s.args, head, 0, s.p.tokens);
  kernels.attention.prepare(s.p, head, 0, s.p.tokens, s.queries + head * s.query_words());
}

/// Computes a block, asking for what `next` of sequence `after` reads.
void run_block(const Kernels& kernels, const SplitSequence& s, AttentionUnit unit, const SplitSequence& after,
               const AttentionUnit& next, float* scratch) {
  unit.next_keys = after.p.keys + after.codes_at(next);
  unit.next_values = after.p.values + after.codes_at(next);
  float* partials = s.partials + (unit.kv_head * s.blocks + unit.block - s.first_block) * s.partial_floats();
  kernels.attention.block(s.p, unit, s.queries + unit.kv_head * s.query_words(), partials, scratch);
}

/// Heads [first, last) of all sequences, from appending their new tokens to their output.
void run_heads(const Kernels& kernels, const SplitPlan& plan, int64_t first, int64_t last, float* scratch) {
  size_t at = 0;
  for (int64_t i = first; i < last; ++i) {
    while (i >= plan.sequences[at].heads_end) ++at;
    const SplitSequence& s = plan.sequences[at];
    const int64_t head = i - (s.heads_end - s.problem->kv_heads);
    const bool sequence_ends = i + 1 == s.heads_end;
    const SplitSequence& after = sequence_ends && at + 1 < plan.sequences.size() ? plan.sequences[at + 1] : s;
    const AttentionUnit next_head = after.unit(sequence_ends ? 0 : head + 1, 0);
    prepare_head(kernels, s, head);
    for (int64_t block = 0; block + 1 < s.blocks; ++block)
      run_block(kernels, s, s.unit(head, block), s, s.unit(head, block + 1), scratch);
    run_block(kernels, s, s.unit(head, s.blocks - 1), after, next_head, scratch);
    kernels.attention.merge(s.p, head, s.blocks, s.partials + head * s.blocks * s.partial_floats());
  }
}

/// Blocks [first, last) of all prepared heads; who finishes a head merges it.
void run_blocks(const Kernels& kernels, const SplitPlan& plan, int64_t first, int64_t last, float* scratch) {
  size_t at = 0;
  for (int64_t i = first; i < last; ++i) {
    while (i >= plan.sequences[at].units_end) ++at;
    const SplitSequence& s = plan.sequences[at];
    const int64_t units = s.problem->kv_heads * s.blocks, unit = i - (s.units_end - units);
    const int64_t next = std::min(unit + 1, units - 1);
    const int64_t head = unit / s.blocks;
    run_block(kernels, s, s.unit(head, unit % s.blocks), s, s.unit(next / s.blocks, next % s.blocks), scratch);
    if (std::atomic_ref<int32_t>(s.left[head]).fetch_sub(1, std::memory_order_acq_rel) == 1)
      kernels.attention.merge(s.p, head, s.blocks, s.partials + head * s.blocks * s.partial_floats());
  }
}

void run_split(ExecContext& context, const Kernels& kernels, std::span<const AttentionProblem> problems,
               std::span<const AttentionArgs> args) {
  Carver sizes{nullptr};
  const int threads = context.pool.threads();
  if (plan_split(problems, args, threads, sizes).units == 0) return;
  Carver carver{static_cast<unsigned char*>(context.workspace.reserve(sizes.used))};
  const SplitPlan plan = plan_split(problems, args, threads, carver);
  const int64_t grain = std::max<int64_t>(1, kInlineWork / (kKeyBlock * plan.dim));
  const auto scratch = [&](int worker) { return plan.scratch + worker * plan.scratch_floats; };
  if (plan.heads >= kWholeHeads * threads)
    return context.pool.parallel_for(plan.heads, grain, [&](int64_t first, int64_t last, int worker) {
      run_heads(kernels, plan, first, last, scratch(worker));
    });
  for (const SplitSequence& s : plan.sequences)
    for (int64_t head = 0; head < s.problem->kv_heads; ++head) {
      prepare_head(kernels, s, head);
      s.left[head] = static_cast<int32_t>(s.blocks);
    }
  context.pool.parallel_for(plan.units, grain, [&](int64_t first, int64_t last, int worker) {
    run_blocks(kernels, plan, first, last, scratch(worker));
  });
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

/// False, with some of the output written, where a value is too large or not finite: see PromptKernel::pack.
bool run_prompt(ExecContext& context, const AttentionParams& p, int64_t kv_heads) {
  const int64_t first_key = p.window > 0 ? std::max<int64_t>(0, p.start - p.window + 1) : 0;
  PromptTask t{};
  t.p = p;
  t.first_block = first_key / kKeyBlock;
  t.blocks = (p.start + p.tokens + kKeyBlock - 1) / kKeyBlock - t.first_block;
  const bool many = kv_heads * p.tokens * p.ratio >= 4 * context.pool.threads() * kPromptTileRows;
  t.tile_tokens = std::max<int64_t>(1, (many ? kPromptTileRows : kPromptTileRowsMin) / p.ratio);
  t.tiles = (p.tokens + t.tile_tokens - 1) / t.tile_tokens;
  t.padded_rows = (t.tile_tokens * p.ratio + kPromptRows - 1) / kPromptRows * kPromptRows;
  const int64_t head_elements = t.blocks * kKeyBlock * p.dim,
                scratch_bytes = prompt_scratch_bytes(p.dim, t.padded_rows);
  const int64_t step = std::clamp<int64_t>(kPackedBytes / (4 * head_elements), 1, kv_heads);

  const auto lay_out = [&](Carver carver) {
    t.keys = carver.take<uint16_t>(step * head_elements);
    t.values = carver.take<uint16_t>(step * head_elements);
    return std::pair{carver.take<unsigned char>(context.pool.threads() * scratch_bytes), carver.used};
  };
  unsigned char* scratch =
      lay_out({static_cast<unsigned char*>(context.workspace.reserve(lay_out({nullptr}).second))}).first;
  for (; t.first_head < kv_heads; t.first_head += step) {
    t.heads = std::min(step, kv_heads - t.first_head);
    std::atomic<bool> fits = true;
    context.pool.parallel_for(t.heads * t.blocks, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i)
        if (!amx::kPrompt.pack(t, i / t.blocks, i % t.blocks)) fits.store(false, std::memory_order_relaxed);
    });
    if (!fits.load()) return false;
    context.pool.parallel_for(t.heads * t.tiles, 1, [&](int64_t begin, int64_t end, int worker) {
      amx::kPrompt.units(t, begin, end, scratch + worker * scratch_bytes);
    });
  }
  return true;
}

void run_prompts(ExecContext& context, const AttentionBatchProblem& problem, const AttentionBatchArgs& args) {
  run_split(context, kAvx512, problem.sequences, args.sequences);
  for (size_t i = 0; i < problem.sequences.size(); ++i) {
    const AttentionProblem& sequence = problem.sequences[i];
    if (sequence.tokens <= kSplitTokens) continue;
    const AttentionParams p = params_of(sequence, args.sequences[i]);
    if (args.sequences[i].append != nullptr) append_all(context, Isa::Avx512, sequence, args.sequences[i]);
    if (needs_prompt(sequence).empty() && run_prompt(context, p, sequence.kv_heads)) continue;
    run_tiles(context, avx512::kAttention, p, sequence.kv_heads);
  }
}

void run_prompt_alone(ExecContext& context, const AttentionProblem& problem, const AttentionArgs& args) {
  run_prompts(context, {{&problem, 1}}, {{&args, 1}});
}

template <const Kernels& kKernels>
void run_batch(ExecContext& context, const AttentionBatchProblem& problem, const AttentionBatchArgs& args) {
  run_split(context, kKernels, problem.sequences, args.sequences);
  for (size_t i = 0; i < problem.sequences.size(); ++i) {
    const AttentionProblem& sequence = problem.sequences[i];
    if (sequence.tokens <= kSplitTokens) continue;
    if (args.sequences[i].append != nullptr) append_all(context, kKernels.isa, sequence, args.sequences[i]);
    run_tiles(context, kKernels.attention, params_of(sequence, args.sequences[i]), sequence.kv_heads);
  }
}

template <const Kernels& kKernels>
void run(ExecContext& context, const AttentionProblem& problem, const AttentionArgs& args) {
  run_batch<kKernels>(context, {{&problem, 1}}, {{&args, 1}});
}

void run_reference(ExecContext& context, const AttentionProblem& problem, const AttentionArgs& args) {
  if (args.append != nullptr) append_all(context, Isa::Scalar, problem, args);
  reference::attention({.tokens = problem.tokens,
                        .start = problem.start,
                        .heads = problem.heads,
                        .kv_heads = problem.kv_heads,
                        .head_dim = problem.head_dim,
                        .window = problem.window,
                        .format = problem.format,
                        .q = args.append != nullptr ? args.append->q : args.q,
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

void run_reference_batch(ExecContext& context, const AttentionBatchProblem& problem, const AttentionBatchArgs& args) {
  for (size_t i = 0; i < problem.sequences.size(); ++i) run_reference(context, problem.sequences[i], args.sequences[i]);
}

constexpr KernelEntry<AttentionProblem, AttentionArgs> kTable[] = {
    {"amx", Isa::Amx, needs_prompt, run_prompt_alone},
    {"avx512", Isa::Avx512, needs_vectors, run<kAvx512>},
    {"avx2", Isa::Avx2, needs_vectors, run<kAvx2>},
    {"reference", Isa::Scalar, malformed, run_reference},
};

constexpr KernelEntry<AttentionBatchProblem, AttentionBatchArgs> kBatchTable[] = {
    {"amx", Isa::Amx, some_prompt, run_prompts},
    {"avx512", Isa::Avx512, any_sequence<needs_vectors>, run_batch<kAvx512>},
    {"avx2", Isa::Avx2, any_sequence<needs_vectors>, run_batch<kAvx2>},
    {"reference", Isa::Scalar, any_sequence<malformed>, run_reference_batch},
};

void check(const AttentionProblem& problem, const AttentionArgs& args) {
  if (const Rejection why = malformed(problem); !why.empty())
    throw InvalidArgument("attention {}: {}", to_string(problem), why);
  const bool scaled = bits_of(problem.format) <= 8;
  const AttentionAppend* append = args.append;
  if (append != nullptr && (append->q == nullptr || append->k == nullptr || append->v == nullptr ||
                            append->angles == nullptr || append->key_codes != args.keys.codes ||
                            append->value_codes != args.values.codes || append->key_scales != args.keys.scales ||
                            append->value_scales != args.values.scales || append->rotary_dim > problem.head_dim))
    throw InvalidArgument(
        "attention {}: what is appended needs q, k, v and angles of at most head_dim elements (rotary_dim is {}), and "
        "the cache that attention reads",
        to_string(problem), append->rotary_dim);
  const bool missing = (append == nullptr && args.q == nullptr) || args.out == nullptr || args.keys.codes == nullptr ||
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
  return fmt::format("tokens={} start={} heads={} kv_heads={} head_dim={} window={} format={}{}", p.tokens, p.start,
                     p.heads, p.kv_heads, p.head_dim, p.window, to_string(p.format), p.bf16 ? " bf16" : "");
}

std::string to_string(const AttentionBatchProblem& p) {
  if (p.sequences.empty()) return "sequences=0";
  return fmt::format("sequences={}, the first {}", p.sequences.size(), to_string(p.sequences[0]));
}

KernelTable<AttentionProblem, AttentionArgs> attention_table() { return kTable; }
KernelTable<AttentionBatchProblem, AttentionBatchArgs> attention_batch_table() { return kBatchTable; }

void attention(ExecContext& context, const AttentionProblem& problem, const AttentionArgs& args) {
  check(problem, args);
  select(attention_table(), problem, context.isa).run(context, problem, args);
}

void attention_batch(ExecContext& context, const AttentionBatchProblem& problem, const AttentionBatchArgs& args) {
  if (problem.sequences.size() != args.sequences.size())
    throw InvalidArgument("attention_batch: {} problems came with arguments for {}; give one each",
                          problem.sequences.size(), args.sequences.size());
  for (size_t i = 0; i < problem.sequences.size(); ++i) check(problem.sequences[i], args.sequences[i]);
  if (problem.sequences.empty()) return;
  select(attention_batch_table(), problem, context.isa).run(context, problem, args);
}

}  // namespace halftone::kernels
