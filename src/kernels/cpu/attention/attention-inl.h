// Blocked online-softmax attention, written once for every instruction set; see attention_kernel.h for the scheme
// (Dao et al., arXiv:2205.14135, with blocks at fixed positions and partials merged in order).
//
// Queries of all heads of a key-value head and of neighbouring tokens form groups of kGroup rows that share every
// loaded key and value. A row's scores are summed over dim, and its output over keys, one fused multiply-add after the
// other, in an order that the size of the group does not change.
#pragma once

#include "kernels/cpu/attention/kv_block-inl.h"

namespace halftone::kernels::HALFTONE_ISA_NAMESPACE {

inline constexpr int kTileVectors = kRegisters == 32 ? 4 : 2;  // kGroup * kTileVectors accumulators stay in registers
static_assert(kKeyBlock % (kTileVectors * kLanes) == 0);

struct Span {  ///< the keys of a block that a query sees
  int64_t begin, end;
};

static int64_t clamp_to_block(int64_t x) { return x < 0 ? 0 : x > kKeyBlock ? kKeyBlock : x; }

static int64_t first_visible(const AttentionParams& p, int64_t token) {
  const int64_t first = p.start + token - p.window + 1;
  return p.window > 0 && first > 0 ? first : 0;
}

static Span visible(const AttentionParams& p, int64_t token, int64_t block) {
  const int64_t base = block * kKeyBlock;
  return {clamp_to_block(first_visible(p, token) - base), clamp_to_block(p.start + token + 1 - base)};
}

/// s[r][j] = q[r] . k[j] for the keys below `end`, rounded up to whole vectors.
template <int Rows>
static void score_rows(const float* const* q, const float* kt, int64_t dim, int64_t end, float* s) {
  for (int64_t j = 0; j < end; j += kTileVectors * kLanes) {
    F acc[Rows][kTileVectors];
    for (int r = 0; r < Rows; ++r)
      for (int v = 0; v < kTileVectors; ++v) acc[r][v] = zero();
    for (int64_t d = 0; d < dim; ++d) {
      F k[kTileVectors];
      for (int v = 0; v < kTileVectors; ++v) k[v] = load(kt + d * kKeyBlock + j + v * kLanes);
      for (int r = 0; r < Rows; ++r) {
        const F x = set(q[r][d]);
        for (int v = 0; v < kTileVectors; ++v) acc[r][v] = fma(x, k[v], acc[r][v]);
      }
    }
    for (int r = 0; r < Rows; ++r)
      for (int v = 0; v < kTileVectors; ++v) store(s + r * kKeyBlock + j + v * kLanes, acc[r][v]);
  }
}

/// Turns scores into exp(scale * score - m) inside `span` and 0 outside it; writes m and l.
static void softmax_row(float* s, Span span, float scale, float* tail) {
  constexpr int kVectors = kKeyBlock / kLanes;
  const F lowest = set(-__builtin_inff());
  F top = lowest;
  for (int v = 0; v < kVectors; ++v) {
    const M seen = without(first_lanes(span.end - v * kLanes), first_lanes(span.begin - v * kLanes));
    const F x = select(seen, mul(load(s + v * kLanes), set(scale)), lowest);
    store(s + v * kLanes, x);
    top = max(x, top);
  }
  const float m = maximum(top);
  F total = zero();
  for (int v = 0; v < kVectors; ++v) {
    const F x = exp(sub(load(s + v * kLanes), set(m)));
    store(s + v * kLanes, x);
    total = add(total, x);
  }
  tail[0] = m;
  tail[1] = sum(total);
}

/// acc[r][:] += sum over keys j of [begin, end) of p[r][j] * v[j][:], in key order.
template <int Rows, int Vectors>
static void add_values_at(const float* p, const float* v, int64_t dim, Span keys, float* const* acc, int64_t d) {
  F sums[Rows][Vectors];
  for (int r = 0; r < Rows; ++r)
    for (int i = 0; i < Vectors; ++i) sums[r][i] = load(acc[r] + d + i * kLanes);
  for (int64_t j = keys.begin; j < keys.end; ++j) {
    F x[Vectors];
    for (int i = 0; i < Vectors; ++i) x[i] = load(v + j * dim + d + i * kLanes);
    for (int r = 0; r < Rows; ++r) {
      const F weight = set(p[r * kKeyBlock + j]);
      for (int i = 0; i < Vectors; ++i) sums[r][i] = fma(weight, x[i], sums[r][i]);
    }
  }
  for (int r = 0; r < Rows; ++r)
    for (int i = 0; i < Vectors; ++i) store(acc[r] + d + i * kLanes, sums[r][i]);
}

template <int Rows>
static void add_values(const float* p, const float* v, int64_t dim, Span keys, float* const* acc) {
  if (keys.begin >= keys.end) return;
  int64_t d = 0;
  for (; d + kTileVectors * kLanes <= dim; d += kTileVectors * kLanes)
    add_values_at<Rows, kTileVectors>(p, v, dim, keys, acc, d);
  for (; d < dim; d += kLanes) add_values_at<Rows, 1>(p, v, dim, keys, acc, d);
}

/// The rows of a group differ in their spans by few keys: what all see goes jointly, the ends row by row. Keys that a
/// row does not see are not multiplied by 0, since rows past the cache's end may hold anything.
template <int Rows>
static void weigh_values(const float* p, const float* v, int64_t dim, const Span* spans, float* const* acc) {
  Span common = {0, kKeyBlock};
  for (int r = 0; r < Rows; ++r) {
    if (spans[r].begin > common.begin) common.begin = spans[r].begin;
    if (spans[r].end < common.end) common.end = spans[r].end;
  }
  if (common.begin >= common.end) {
    for (int r = 0; r < Rows; ++r) add_values<1>(p + r * kKeyBlock, v, dim, spans[r], acc + r);
    return;
  }
  for (int r = 0; r < Rows; ++r) add_values<1>(p + r * kKeyBlock, v, dim, {spans[r].begin, common.begin}, acc + r);
  add_values<Rows>(p, v, dim, common, acc);
  for (int r = 0; r < Rows; ++r) add_values<1>(p + r * kKeyBlock, v, dim, {common.end, spans[r].end}, acc + r);
}

struct Block {  ///< a loaded block and a scratch for kGroup rows of scores
  int64_t index;
  const float* kt;
  const float* v;
  float* scores;
};

/// Partials of rows [row, row + Rows) of a key-value head, written to out with stride dim + kPartialTail.
template <int Rows>
static void group_partials(const AttentionParams& p, int64_t kv_head, int64_t row, const Block& block, float* out) {
  const float* q[Rows];
  float* acc[Rows];
  Span spans[Rows];
  int64_t end = 0;
  for (int r = 0; r < Rows; ++r) {
    const int64_t token = (row + r) / p.ratio, head = kv_head * p.ratio + (row + r) % p.ratio;
    q[r] = p.q + token * p.q_stride + head * p.dim;
    acc[r] = out + r * (p.dim + kPartialTail);
    spans[r] = visible(p, token, block.index);
    if (spans[r].begin < spans[r].end && spans[r].end > end) end = spans[r].end;
    for (int64_t d = 0; d < p.dim; d += kLanes) store(acc[r] + d, zero());
    acc[r][p.dim + 1] = 0;
  }
  if (end == 0) return;
  score_rows<Rows>(q, block.kt, p.dim, end, block.scores);
  for (int r = 0; r < Rows; ++r)
    if (spans[r].begin < spans[r].end)
      softmax_row(block.scores + r * kKeyBlock, spans[r], p.softmax_scale, acc[r] + p.dim);
  weigh_values<Rows>(block.scores, block.v, p.dim, spans, acc);
}

static void group_partials(const AttentionParams& p, int64_t kv_head, int64_t row, int64_t rows, const Block& block,
                           float* out) {
  switch (rows) {
    case 1:
      return group_partials<1>(p, kv_head, row, block, out);
    case 2:
      return group_partials<2>(p, kv_head, row, block, out);
    case 3:
      return group_partials<3>(p, kv_head, row, block, out);
    case 4:
      return group_partials<4>(p, kv_head, row, block, out);
    case 5:
      return group_partials<5>(p, kv_head, row, block, out);
    default:
      return group_partials<6>(p, kv_head, row, block, out);
  }
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
  const F old_weight = exp(set(state[dim] - m)), new_weight = exp(set(partial[dim] - m));
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

/// Asks for the block after `block` ahead of time: 5 to 10 % of a decode step whose cache lies beyond L2.
static void prefetch_next(const AttentionParams& p, int64_t kv_head, int64_t block) {
  const int64_t first = (block + 1) * kKeyBlock;
  const int64_t bytes = clamp_to_block(p.start + p.tokens - first) * p.row_bytes;
  const int64_t at = (kv_head * p.capacity + first) * p.row_bytes;
  for (int64_t i = 0; i < bytes; i += 64) {
    _mm_prefetch(reinterpret_cast<const char*>(p.keys + at + i), _MM_HINT_T1);
    _mm_prefetch(reinterpret_cast<const char*>(p.values + at + i), _MM_HINT_T1);
  }
}

/// Scratch: keys [dim][64], values [64][dim], scores [kGroup][64], then rows of partials.
static Block load_at(const AttentionParams& p, int64_t kv_head, int64_t block, int64_t visible_end, float* scratch) {
  const int64_t first = block * kKeyBlock;
  const int64_t count = clamp_to_block(visible_end - first);
  float* v = scratch + p.dim * kKeyBlock;
  return {block, scratch, load_block(p, kv_head, first, count, scratch, v), v + p.dim * kKeyBlock};
}

static void attention_tile(const AttentionParams& p, int64_t kv_head, int64_t token_begin, int64_t token_end,
                           float* scratch) {
  const int64_t stride = p.dim + kPartialTail;
  float* partial = scratch + 2 * p.dim * kKeyBlock + kGroup * kKeyBlock;
  float* states = partial + kGroup * stride;
  const int64_t row_begin = token_begin * p.ratio, row_end = token_end * p.ratio;
  for (int64_t row = row_begin; row < row_end; ++row) states[(row - row_begin) * stride + p.dim + 1] = 0;
  const int64_t end = p.start + token_end;
  for (int64_t b = first_visible(p, token_begin) / kKeyBlock; b * kKeyBlock < end; ++b) {
    const Block block = load_at(p, kv_head, b, end, scratch);
    for (int64_t row = row_begin; row < row_end; row += kGroup) {
      const int64_t rows = row_end - row < kGroup ? row_end - row : kGroup;
      group_partials(p, kv_head, row, rows, block, partial);
      for (int64_t r = 0; r < rows; ++r)
        merge_row(partial + r * stride, p.dim, states + (row - row_begin + r) * stride);
    }
  }
  for (int64_t row = row_begin; row < row_end; ++row)
    write_output(p, kv_head, row, states + (row - row_begin) * stride);
}

static void attention_block(const AttentionParams& p, int64_t kv_head, int64_t b, float* partials, float* scratch) {
  const int64_t row_end = p.tokens * p.ratio;
  prefetch_next(p, kv_head, b);
  const Block block = load_at(p, kv_head, b, p.start + p.tokens, scratch);
  for (int64_t row = 0; row < row_end; row += kGroup) {
    const int64_t rows = row_end - row < kGroup ? row_end - row : kGroup;
    group_partials(p, kv_head, row, rows, block, partials + row * (p.dim + kPartialTail));
  }
}

static void attention_merge(const AttentionParams& p, int64_t kv_head, int64_t blocks, float* partials) {
  const int64_t stride = p.dim + kPartialTail, rows = p.tokens * p.ratio;
  for (int64_t row = 0; row < rows; ++row) {
    float* state = partials + row * stride;
    for (int64_t b = 1; b < blocks; ++b) merge_row(state + b * rows * stride, p.dim, state);
    write_output(p, kv_head, row, state);
  }
}

const AttentionKernel kAttention = {attention_tile, attention_block, attention_merge};

}  // namespace halftone::kernels::HALFTONE_ISA_NAMESPACE
