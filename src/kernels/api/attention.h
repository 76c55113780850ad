// Causal attention of new tokens over the key-value cache, for decode (few tokens) and prefill (many) alike, of one
// sequence or of several at once.
//
// The cache of a layer is laid out as numerics/kv_layout.h draws it, one array for keys and one for values.
//
// Query t sits at position `start + t` and sees the positions p with p <= start + t and, when window > 0,
// p > start + t - window. Keys are visited in order in blocks of a fixed size with an online softmax, so a query's
// result does not depend on how many queries, threads or sequences came with it: prefill equals decode bit for bit.
// That holds unless bf16 products are permitted: then the entry "amx" takes prompts of 16 tokens and more; threads and
// the other queries do not change a query's bits there either, but a decode gives others.
//
// Precision. Float32 and Float16 caches: f32 sums and an exponential good to 3 units. Int8 and Int4 caches: products of
// codes with integers, summed exactly; a query is rounded to 15 bits (with its sign) of its largest element, and the
// weights of a block, times the values' scales, to 15 bits (16 with AVX-512) of the largest: a score moves by at most
// softmax_scale * max|q| / 32512 * sum_d |k_d|, an output of a block by at most 2^-16 of the largest weight times scale
// per code that a value is away from 0. Rounding the cache itself to 8 bits costs some hundred times more.
//
// bf16 products ("amx"): queries (times softmax_scale), keys, weights and values are rounded to 8 bits of significand,
// relatively by u = 2^-8 at most; sums are f32. A score moves by at most 2 u softmax_scale sum_d |q_d k_d|; a weight
// relatively by that and u, in the sum of weights too; an output thus by at most u times the weighted mean of |v|, plus
// the largest relative error of a weight times that mean and |output|. Prompts with values of 2^40 and more, or not
// finite, are left to the other entries.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "kernels/api/elementwise.h"
#include "kernels/api/table.h"
#include "numerics/kv_layout.h"

namespace halftone::kernels {

struct AttentionProblem {
  int64_t tokens = 1;  ///< T new queries
  int64_t start = 0;   ///< position of the first; the cache holds start + tokens rows
  int64_t heads = 0;   ///< Hq, a multiple of kv_heads
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t window = 0;                         ///< sliding window in tokens; 0 for none
  ElementType format = ElementType::Float16;  ///< Float32, Float16, Int8 or Int4
  bool bf16 = false;                          ///< products may round all operands to bf16, see Precision
};

struct KvView {
  const void* codes = nullptr;
  const uint16_t* scales = nullptr;
};

/// The new tokens' rows as the projections give them, where attention is to do what comes before it: queries and keys
/// turn by RoPE, in place, and keys and values go into the cache (the bits of rope and store_kv).
struct AttentionAppend {
  float* q = nullptr;  ///< [T, Hq, D]; all rows q_stride floats apart
  float* k = nullptr;  ///< [T, Hkv, D]
  const float* v = nullptr;
  const float* angles = nullptr;  ///< [T, rope_row_floats(rotary_dim)], see elementwise.h
  int64_t rotary_dim = 0;         ///< even, <= D
  RopeStyle style = RopeStyle::Adjacent;
  void* key_codes = nullptr;  ///< the cache again, to be written
  void* value_codes = nullptr;
  uint16_t* key_scales = nullptr;
  uint16_t* value_scales = nullptr;
};

struct AttentionArgs {
  const float* q = nullptr;  ///< [T, Hq, D] after RoPE, rows `q_stride` floats apart; unread with `append`
  int64_t q_stride = 0;
  KvView keys;
  KvView values;
  int64_t capacity = 0;     ///< tokens that the cache was made for
  float softmax_scale = 0;  ///< usually 1/sqrt(D); not negative
  float* out = nullptr;     ///< [T, Hq, D], rows `out_stride` floats apart
  int64_t out_stride = 0;
  const AttentionAppend* append = nullptr;  ///< or null: the cache holds the new tokens and q is turned
};

std::string to_string(const AttentionProblem& problem);
KernelTable<AttentionProblem, AttentionArgs> attention_table();
void attention(ExecContext& context, const AttentionProblem& problem, const AttentionArgs& args);

/// Several sequences, each with its own cache, start and shape: problems[i] with args[i].
struct AttentionBatchProblem {
  std::span<const AttentionProblem> sequences;
};
struct AttentionBatchArgs {
  std::span<const AttentionArgs> sequences;
};
std::string to_string(const AttentionBatchProblem& problem);
KernelTable<AttentionBatchProblem, AttentionBatchArgs> attention_batch_table();
/// The same bits as `attention` for each sequence; those of up to 8 tokens share one parallel loop.
void attention_batch(ExecContext& context, const AttentionBatchProblem& problem, const AttentionBatchArgs& args);

}  // namespace halftone::kernels
