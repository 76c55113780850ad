// Decode and short prompts, as flash-decoding does it: one unit of work per sequence, key-value head and block of keys,
// all in one parallel loop; who finishes the last block of a head merges its partials, always in block order. With many
// heads a thread takes whole ones, and appends their new tokens on the way.
#include <atomic>

#include "kernels/cpu/attention/append.h"
#include "kernels/cpu/attention/launch.h"

namespace halftone::kernels {

int64_t attention_query_words(int64_t dim, int64_t rows) { return rows * (dim / 2 + kQueryTail); }

int64_t attention_scratch_floats(int64_t dim, int64_t rows) {
  constexpr int64_t kMaxDim = 256;
  const int64_t block = 2 * dim * kKeyBlock + 4 * kKeyBlock;
  const int64_t group = kGroup * (kKeyBlock + kKeyBlock / 2 + kMaxDim);
  return block + group + (kGroup + rows) * (dim + kPartialTail) + attention_query_words(dim, rows);
}

namespace {

constexpr int64_t kWholeHeads = 4;        // for each thread: from here on heads are divided well enough
constexpr int64_t kInlineWork = 1 << 14;  // keys x dim of a unit that is not worth waking a thread for

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
  AttentionUnit unit(int64_t head, int64_t block) const { return {.kv_head = head, .block = first_block + block}; }
  /// Where the codes of a unit begin.
  int64_t codes_at(const AttentionUnit& u) const {
    return u.kv_head * p.head_bytes + u.block * kKeyBlock * p.token_bytes;
  }
  int64_t scales_at(const AttentionUnit& u) const { return u.kv_head * p.head_scales + u.block * kKeyBlock * 2; }
};

struct SplitPlan {
  std::span<SplitSequence> sequences;
  float* scratch;
  int64_t scratch_floats, heads, units, dim;
};

/// Lays out the sequences of few tokens over `carver`, and describes them where it has memory.
SplitPlan plan_split(std::span<const AttentionProblem> problems, std::span<const AttentionArgs> args, int threads,
                     WorkspaceCarver& carver) {
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

void prepare_head(const IsaKernel& kernel, const SplitSequence& s, int64_t head) {
  if (s.args->append != nullptr) append_head(kernel.isa, *s.problem, *s.args, head, 0, s.p.tokens);
  kernel.attention.prepare(s.p, head, 0, s.p.tokens, s.queries + head * s.query_words());
}

/// Computes a block, asking for what `next` of sequence `after` reads.
void run_block(const IsaKernel& kernel, const SplitSequence& s, AttentionUnit unit, const SplitSequence& after,
               const AttentionUnit& next, float* scratch) {
  unit.next_keys = after.p.keys + after.codes_at(next);
  unit.next_values = after.p.values + after.codes_at(next);
  if (after.p.key_scales != nullptr) {
    unit.next_key_scales = after.p.key_scales + after.scales_at(next);
    unit.next_value_scales = after.p.value_scales + after.scales_at(next);
  }
  float* partials = s.partials + (unit.kv_head * s.blocks + unit.block - s.first_block) * s.partial_floats();
  kernel.attention.block(s.p, unit, s.queries + unit.kv_head * s.query_words(), partials, scratch);
}

/// Heads [first, last) of all sequences, from appending their new tokens to their output.
void run_heads(const IsaKernel& kernel, const SplitPlan& plan, int64_t first, int64_t last, float* scratch) {
  size_t at = 0;
  for (int64_t i = first; i < last; ++i) {
    while (i >= plan.sequences[at].heads_end) ++at;
    const SplitSequence& s = plan.sequences[at];
    const int64_t head = i - (s.heads_end - s.problem->kv_heads);
    const bool sequence_ends = i + 1 == s.heads_end;
    const SplitSequence& after = sequence_ends && at + 1 < plan.sequences.size() ? plan.sequences[at + 1] : s;
    const AttentionUnit next_head = after.unit(sequence_ends ? 0 : head + 1, 0);
    prepare_head(kernel, s, head);
    for (int64_t block = 0; block + 1 < s.blocks; ++block)
      run_block(kernel, s, s.unit(head, block), s, s.unit(head, block + 1), scratch);
    run_block(kernel, s, s.unit(head, s.blocks - 1), after, next_head, scratch);
    kernel.attention.merge(s.p, head, s.blocks, s.partials + head * s.blocks * s.partial_floats());
  }
}

/// Blocks [first, last) of all prepared heads; who finishes a head merges it.
void run_blocks(const IsaKernel& kernel, const SplitPlan& plan, int64_t first, int64_t last, float* scratch) {
  size_t at = 0;
  for (int64_t i = first; i < last; ++i) {
    while (i >= plan.sequences[at].units_end) ++at;
    const SplitSequence& s = plan.sequences[at];
    const int64_t units = s.problem->kv_heads * s.blocks, unit = i - (s.units_end - units);
    const int64_t next = std::min(unit + 1, units - 1);
    const int64_t head = unit / s.blocks;
    run_block(kernel, s, s.unit(head, unit % s.blocks), s, s.unit(next / s.blocks, next % s.blocks), scratch);
    if (std::atomic_ref<int32_t>(s.left[head]).fetch_sub(1, std::memory_order_acq_rel) == 1)
      kernel.attention.merge(s.p, head, s.blocks, s.partials + head * s.blocks * s.partial_floats());
  }
}

}  // namespace

void attend_few_tokens(ExecContext& context, const IsaKernel& kernel, std::span<const AttentionProblem> problems,
                       std::span<const AttentionArgs> args) {
  WorkspaceCarver sizes{nullptr};
  const int threads = context.pool.threads();
  if (plan_split(problems, args, threads, sizes).units == 0) return;
  WorkspaceCarver carver{static_cast<unsigned char*>(context.workspace.reserve(sizes.used))};
  const SplitPlan plan = plan_split(problems, args, threads, carver);
  const int64_t grain = std::max<int64_t>(1, kInlineWork / (kKeyBlock * plan.dim));
  const auto scratch = [&](int worker) { return plan.scratch + worker * plan.scratch_floats; };
  if (plan.heads >= kWholeHeads * threads)
    return context.pool.parallel_for(plan.heads, grain, [&](int64_t first, int64_t last, int worker) {
      run_heads(kernel, plan, first, last, scratch(worker));
    });
  for (const SplitSequence& s : plan.sequences)
    for (int64_t head = 0; head < s.problem->kv_heads; ++head) {
      prepare_head(kernel, s, head);
      s.left[head] = static_cast<int32_t>(s.blocks);
    }
  context.pool.parallel_for(plan.units, grain, [&](int64_t first, int64_t last, int worker) {
    run_blocks(kernel, plan, first, last, scratch(worker));
  });
}

}  // namespace halftone::kernels
