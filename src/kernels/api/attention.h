// Causal attention of new tokens over the key-value cache, for decode (few tokens) and prefill (many) alike.
//
// Cache layout, per layer, for keys and for values:
//   codes  [Hkv][capacity][row_bytes(format, D)]
//   scales [Hkv][capacity][2] f16 {scale, zero}, integer formats only: value = (code - zero) * scale, Int8 codes being
//          unsigned 0..255 here
//
// Query t sits at position `start + t` and sees the positions p with p <= start + t and, when window > 0,
// p > start + t - window. Keys are visited in order in blocks of a fixed size with an online softmax, so a query's
// result does not depend on how many queries, threads or sequences came with it.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/api/table.h"
#include "numerics/formats.h"

namespace halftone::kernels {

struct AttentionProblem {
  int64_t tokens = 1;  ///< T new queries
  int64_t start = 0;   ///< position of the first; the cache holds start + tokens rows
  int64_t heads = 0;   ///< Hq, a multiple of kv_heads
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t window = 0;                         ///< sliding window in tokens; 0 for none
  ElementType format = ElementType::Float16;  ///< Float32, Float16, Int8 or Int4
};

struct KvView {
  const void* codes = nullptr;
  const uint16_t* scales = nullptr;
};

struct AttentionArgs {
  const float* q = nullptr;  ///< [T, Hq, D] after RoPE, rows `q_stride` floats apart
  int64_t q_stride = 0;
  KvView keys;
  KvView values;
  int64_t capacity = 0;     ///< tokens between two heads of the cache
  float softmax_scale = 0;  ///< usually 1/sqrt(D)
  float* out = nullptr;     ///< [T, Hq, D], rows `out_stride` floats apart
  int64_t out_stride = 0;
};

std::string to_string(const AttentionProblem& problem);
KernelTable<AttentionProblem, AttentionArgs> attention_table();
void attention(ExecContext& context, const AttentionProblem& problem, const AttentionArgs& args);

}  // namespace halftone::kernels
