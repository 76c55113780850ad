// Tables of attention: which kernel serves a problem. few_tokens.cpp and many_tokens.cpp spread its work over threads;
// both give the same bits, a prompt with bf16 products excepted.
#include "kernels/api/attention.h"

#include <fmt/format.h>

#include "kernels/cpu/attention/append.h"
#include "kernels/cpu/attention/launch.h"
#include "numerics/reference/attention.h"

namespace halftone::kernels {

namespace {

// bf16 tiles pay from here on: measured 1.4 to 6 times as fast at 16 tokens, 3 to 5 times at 512 (Emerald Rapids).
constexpr int64_t kPromptTokens = 16;
constexpr IsaKernel kAvx512 = {Isa::Avx512, avx512::kAttention};
constexpr IsaKernel kAvx2 = {Isa::Avx2, avx2::kAttention};

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

void run_prompts(ExecContext& context, const AttentionBatchProblem& problem, const AttentionBatchArgs& args) {
  attend_few_tokens(context, kAvx512, problem.sequences, args.sequences);
  for (size_t i = 0; i < problem.sequences.size(); ++i) {
    const AttentionProblem& sequence = problem.sequences[i];
    if (sequence.tokens <= kSplitTokens) continue;
    const AttentionParams p = params_of(sequence, args.sequences[i]);
    if (args.sequences[i].append != nullptr) append_all(context, Isa::Avx512, sequence, args.sequences[i]);
    if (needs_prompt(sequence).empty() && attend_prompt(context, p, sequence.kv_heads)) continue;
    attend_tiles(context, avx512::kAttention, p, sequence.kv_heads);
  }
}

void run_prompt_alone(ExecContext& context, const AttentionProblem& problem, const AttentionArgs& args) {
  run_prompts(context, {{&problem, 1}}, {{&args, 1}});
}

template <const IsaKernel& kKernel>
void run_batch(ExecContext& context, const AttentionBatchProblem& problem, const AttentionBatchArgs& args) {
  attend_few_tokens(context, kKernel, problem.sequences, args.sequences);
  for (size_t i = 0; i < problem.sequences.size(); ++i) {
    const AttentionProblem& sequence = problem.sequences[i];
    if (sequence.tokens <= kSplitTokens) continue;
    if (args.sequences[i].append != nullptr) append_all(context, kKernel.isa, sequence, args.sequences[i]);
    attend_tiles(context, kKernel.attention, params_of(sequence, args.sequences[i]), sequence.kv_heads);
  }
}

template <const IsaKernel& kKernel>
void run(ExecContext& context, const AttentionProblem& problem, const AttentionArgs& args) {
  run_batch<kKernel>(context, {{&problem, 1}}, {{&args, 1}});
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
  run_selected("attention", attention_table(), context, problem, args);
}

void attention_batch(ExecContext& context, const AttentionBatchProblem& problem, const AttentionBatchArgs& args) {
  if (problem.sequences.size() != args.sequences.size())
    throw InvalidArgument("attention_batch: {} problems came with arguments for {}; give one each",
                          problem.sequences.size(), args.sequences.size());
  for (size_t i = 0; i < problem.sequences.size(); ++i) check(problem.sequences[i], args.sequences[i]);
  if (problem.sequences.empty()) return;
  run_selected("attention_batch", attention_batch_table(), context, problem, args);
}

}  // namespace halftone::kernels
