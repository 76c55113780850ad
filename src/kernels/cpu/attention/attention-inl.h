// Blocked online-softmax attention, written once for every instruction set; see attention_kernel.h for the scheme
// (Dao et al., arXiv:2205.14135, with blocks at fixed positions and partials merged in order).
//
// Queries of all heads of a key-value head and of neighbouring tokens form groups of kGroup rows that share every
// loaded key and value: float_path-inl.h for Float32 and Float16 caches, int_path-inl.h for Int8 and Int4.
#pragma once

#include "kernels/cpu/attention/float_path-inl.h"
#include "kernels/cpu/attention/int_path-inl.h"

namespace halftone::kernels::HALFTONE_ISA_NAMESPACE {

/// So many rows make it worth turning a block of halves into floats once.
inline constexpr int64_t kWidenRows = 2 * kGroup + 1;

static bool is_integer(const AttentionParams& p) { return p.format == KvFormat::Int8 || p.format == KvFormat::Int4; }
static int64_t query_stride(const AttentionParams& p) { return is_integer(p) ? p.dim / 2 + kQueryTail : 0; }

/// Queries [row, row + Rows) of a key-value head; `queries` are the prepared ones of the first token in sight, whose
/// rows begin at `first_row`.
struct Rows {
  int64_t kv_head, row, first_row;
  const int32_t* queries;
};

template <int Count>
static void group_partials(const AttentionParams& p, const Rows& rows, const Block& block, const Scratch& scratch,
                           float* out) {
  Group<Count> g;
  g.keys_ahead = block.keys_ahead, g.values_ahead = block.values_ahead;
  g.any = {kKeyBlock, 0};
  for (int r = 0; r < Count; ++r) {
    const int64_t row = rows.row + r, token = row / p.ratio, head = rows.kv_head * p.ratio + row % p.ratio;
    g.q[r] = p.q + token * p.q_stride + head * p.dim;
    g.prepared[r] = rows.queries + (row - rows.first_row) * query_stride(p);
    g.out[r] = out + r * (p.dim + kPartialTail);
    g.spans[r] = visible(p, token, block.index);
    g.out[r][p.dim + 1] = 0;
    if (g.spans[r].empty()) continue;
    if (g.spans[r].begin < g.any.begin) g.any.begin = g.spans[r].begin;
    if (g.spans[r].end > g.any.end) g.any.end = g.spans[r].end;
  }
  if (g.any.empty()) return;
  switch (p.format) {
    case KvFormat::Float32:
      return float_partials<Count, float>(p, g, block, scratch);
    case KvFormat::Float16:
      if (block.floats) return float_partials<Count, float>(p, g, block, scratch);
      return float_partials<Count, uint16_t>(p, g, block, scratch);
    case KvFormat::Int8:
      return int_partials<Count, 8>(p, g, block, scratch);
    case KvFormat::Int4:
      return int_partials<Count, 4>(p, g, block, scratch);
  }
}

static void group_partials(const AttentionParams& p, const Rows& rows, int64_t count, const Block& block,
                           const Scratch& scratch, float* out) {
  switch (count) {
    case 1:
      return group_partials<1>(p, rows, block, scratch, out);
    case 2:
      return group_partials<2>(p, rows, block, scratch, out);
    case 3:
      return group_partials<3>(p, rows, block, scratch, out);
    case 4:
      return group_partials<4>(p, rows, block, scratch, out);
    case 5:
      return group_partials<5>(p, rows, block, scratch, out);
    default:
      return group_partials<6>(p, rows, block, scratch, out);
  }
}

/// The block's keys below `visible_end`, its scales decoded to scratch, its halves widened when `rows` make it pay.
static Block load_block(const AttentionParams& p, int64_t kv_head, int64_t index, int64_t visible_end, int64_t rows,
                        const Scratch& scratch) {
  const int64_t first = index * kKeyBlock, count = clamp_to_block(visible_end - first);
  const int64_t at = kv_head * p.head_bytes + first * p.token_bytes;
  Block block{index, p.keys + at, p.values + at, p.format == KvFormat::Float32, 0, 0};
  if (is_integer(p)) {
    const int64_t scale = kv_head * p.head_scales + 2 * first;
    load_scales(p.key_scales + scale, p.value_scales + scale, count, p.format == KvFormat::Int8 ? 128.0f : 0.0f,
                scratch.scales);
  } else if (!block.floats && rows >= kWidenRows) {
    widen(block.keys, (count + 15) / 16 * 16 * p.dim, scratch.keys);
    widen(block.values, count * p.dim, scratch.values);
    block = {index,
             reinterpret_cast<const unsigned char*>(scratch.keys),
             reinterpret_cast<const unsigned char*>(scratch.values),
             true,
             0,
             0};
  }
  return block;
}

/// state += partial, both rows of dim accumulators followed by m and l.
static void merge_row(const float* partial, int64_t dim, float* state) {
  if (partial[dim + 1] == 0) return;
  if (state[dim + 1] == 0) {
    for (int64_t d = 0; d < dim; d += kLanes) store(state + d, load(partial + d));
    state[dim] = partial[dim];
    state[dim + 1] = partial[dim + 1];
    return;
  }
  const float m = partial[dim] > state[dim] ? partial[dim] : state[dim];
  const F old_weight = exp2_negative(set(state[dim] - m)), new_weight = exp2_negative(set(partial[dim] - m));
  for (int64_t d = 0; d < dim; d += kLanes)
    store(state + d, fma(load(partial + d), new_weight, mul(load(state + d), old_weight)));
  const F l = fma(set(partial[dim + 1]), new_weight, mul(set(state[dim + 1]), old_weight));
  state[dim] = m;
  store(state + dim + 1, l, 1);
}

static void write_output(const AttentionParams& p, int64_t kv_head, int64_t row, const float* state) {
  float* out = p.out + row / p.ratio * p.out_stride + (kv_head * p.ratio + row % p.ratio) * p.dim;
  const F inverse = div(set(1.0f), set(state[p.dim + 1]));
  for (int64_t d = 0; d < p.dim; d += kLanes) store(out + d, mul(load(state + d), inverse));
}

static void attention_prepare(const AttentionParams& p, int64_t kv_head, int64_t token_begin, int64_t token_end,
                              int32_t* queries) {
  if (!is_integer(p)) return;
  for (int64_t t = token_begin; t < token_end; ++t)
    for (int64_t h = 0; h < p.ratio; ++h, queries += query_stride(p))
      prepare_query(p, p.q + t * p.q_stride + (kv_head * p.ratio + h) * p.dim, queries);
}

static void attention_tile(const AttentionParams& p, int64_t kv_head, int64_t token_begin, int64_t token_end,
                           float* memory) {
  const int64_t stride = p.dim + kPartialTail;
  const int64_t row_begin = token_begin * p.ratio, row_end = token_end * p.ratio;
  const Scratch scratch = carve(memory, p.dim);
  float* states = scratch.rest;
  auto* queries = reinterpret_cast<int32_t*>(states + (row_end - row_begin) * stride);
  attention_prepare(p, kv_head, token_begin, token_end, queries);
  for (int64_t row = row_begin; row < row_end; ++row) states[(row - row_begin) * stride + p.dim + 1] = 0;
  const int64_t end = p.start + token_end;
  for (int64_t b = first_visible(p, token_begin) / kKeyBlock; b * kKeyBlock < end; ++b) {
    const Block block = load_block(p, kv_head, b, end, row_end - row_begin, scratch);
    for (int64_t row = row_begin; row < row_end; row += kGroup) {
      const int64_t count = row_end - row < kGroup ? row_end - row : kGroup;
      group_partials(p, {kv_head, row, row_begin, queries}, count, block, scratch, scratch.partials);
      for (int64_t r = 0; r < count; ++r)
        merge_row(scratch.partials + r * stride, p.dim, states + (row - row_begin + r) * stride);
    }
  }
  for (int64_t row = row_begin; row < row_end; ++row)
    write_output(p, kv_head, row, states + (row - row_begin) * stride);
}

/// Scales are read before anything else of a block, all at once.
static void ask_scales(const AttentionUnit& unit) {
  constexpr int kLineHalves = 32;
  for (int64_t i = 0; i < 2 * kKeyBlock; i += kLineHalves)
    ask(unit.next_key_scales + i), ask(unit.next_value_scales + i);
}

static void attention_block(const AttentionParams& p, const AttentionUnit& unit, const int32_t* queries,
                            float* partials, float* memory) {
  const int64_t rows = p.tokens * p.ratio;
  const Scratch scratch = carve(memory, p.dim);
  Block block = load_block(p, unit.kv_head, unit.block, p.start + p.tokens, rows, scratch);
  if (rows <= kGroup && unit.next_keys != nullptr) {  // 10 to 30 % of a decode step beyond L2
    block.keys_ahead = reinterpret_cast<intptr_t>(unit.next_keys) - reinterpret_cast<intptr_t>(block.keys);
    block.values_ahead = reinterpret_cast<intptr_t>(unit.next_values) - reinterpret_cast<intptr_t>(block.values);
    if (unit.next_key_scales != nullptr) ask_scales(unit);
  }
  for (int64_t row = 0; row < rows; row += kGroup)
    group_partials(p, {unit.kv_head, row, 0, queries}, rows - row < kGroup ? rows - row : kGroup, block, scratch,
                   partials + row * (p.dim + kPartialTail));
}

static void attention_merge(const AttentionParams& p, int64_t kv_head, int64_t blocks, float* partials) {
  const int64_t stride = p.dim + kPartialTail, rows = p.tokens * p.ratio;
  for (int64_t row = 0; row < rows; ++row) {
    float* state = partials + row * stride;
    for (int64_t b = 1; b < blocks; ++b) merge_row(state + b * rows * stride, p.dim, state);
    write_output(p, kv_head, row, state);
  }
}

const AttentionKernel kAttention = {attention_prepare, attention_tile, attention_block, attention_merge};

}  // namespace halftone::kernels::HALFTONE_ISA_NAMESPACE
