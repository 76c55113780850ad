// A block of a Float32 or Float16 cache. A row's scores are summed over dim, and its output over keys, one fused
// multiply-add after the other, in an order that the number of rows worked on together does not change. Tiles ask for
// the elements `ahead` of those they read.
#pragma once

#include "kernels/cpu/attention/block-inl.h"

namespace halftone::kernels::HALFTONE_ISA_NAMESPACE {

static inline F load_any(const float* p) { return load(p); }
static inline F load_any(const uint16_t* p) { return load_half(p); }

/// s[r][j] = q[r] . k[j] for the vectors [v0, v0 + Vectors) of keys.
template <int Rows, int Vectors, class T>
[[gnu::noinline]] static void score_tile(const float* const* q, const T* keys, int64_t dim, int64_t v0, int64_t ahead,
                                         float* s) {
  F acc[Rows][Vectors];
  const T* k[Vectors];
#pragma GCC unroll 8
  for (int v = 0; v < Vectors; ++v) {
    const int64_t lane = (v0 + v) * kLanes;
    k[v] = keys + lane / 16 * 16 * dim + lane % 16;
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) acc[r][v] = zero();
  }
  for (int64_t d = 0; d < dim; ++d) {
    F x[Vectors];
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) {
      x[v] = load_any(k[v] + d * 16);
      if (sizeof(T) == sizeof(float) || d % 2 == 0) ask(k[v] + d * 16 + ahead);
    }
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const F y = set(q[r][d]);
#pragma GCC unroll 8
      for (int v = 0; v < Vectors; ++v) acc[r][v] = fma(y, x[v], acc[r][v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < Vectors; ++v) store(s + r * kKeyBlock + (v0 + v) * kLanes, acc[r][v]);
}

/// The vectors [v, end) of keys in tiles of kTile and, for the rest, of half as many again and again: a tile of one
/// vector takes as long as the additions of a few rows wait for each other.
template <int Rows, int kTile, class T>
static void score_vectors(const float* const* q, const T* keys, int64_t dim, int64_t v, int64_t end, int64_t ahead,
                          float* s) {
  for (; v + kTile <= end; v += kTile) score_tile<Rows, kTile>(q, keys, dim, v, ahead, s);
  if constexpr (kTile > 1) score_vectors<Rows, kTile / 2>(q, keys, dim, v, end, ahead, s);
}

template <int Rows, class T>
static void score_rows(const Group<Rows>& g, const T* keys, int64_t dim, float* s) {
  const int64_t ahead = g.keys_ahead / static_cast<int64_t>(sizeof(T));
  const int64_t begin = g.any.begin / kLanes, end = (g.any.end + kLanes - 1) / kLanes;
  score_vectors<Rows, 2 * kTileVectors<Rows>>(g.q, keys, dim, begin, end, ahead, s);
}

/// Turns scores into 2^(scale * score - m) inside `span` and 0 outside it; writes m and l.
template <bool kFull>
static void softmax_row(float* s, Span span, float scale, float* tail) {
  const F lowest = set(-__builtin_inff());
  F x[kVectors], top = lowest;
#pragma GCC unroll 16
  for (int v = 0; v < kVectors; ++v) {
    x[v] = mul(load(s + v * kLanes), set(scale));
    if (!kFull) x[v] = select(seen(span, v), x[v], lowest);
    top = max(x[v], top);
  }
  const float m = maximum(top);
  F total = zero();
#pragma GCC unroll 16
  for (int v = 0; v < kVectors; ++v) {
    x[v] = exp2_negative(sub(x[v], set(m)));
    store(s + v * kLanes, x[v]);
    total = add(total, x[v]);
  }
  tail[0] = m;
  tail[1] = sum(total);
}

/// out[r][d ...] = sum over `keys` j of p[r][j] * v[j][d ...] in key order, on top of what out holds where `more`.
template <int Rows, int Vectors, class T>
[[gnu::noinline]] static void value_tile(const float* p, const T* values, int64_t dim, Span keys, float* const* out,
                                         int64_t d, int64_t ahead) {
  F sums[Rows][Vectors];
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (int i = 0; i < Vectors; ++i) sums[r][i] = load(out[r] + d + i * kLanes);
  for (int64_t j = keys.begin; j < keys.end; ++j) {
    F x[Vectors];
#pragma GCC unroll 8
    for (int i = 0; i < Vectors; ++i) {
      const T* from = values + j * dim + d + i * kLanes;
      x[i] = load_any(from);
      if (sizeof(T) == sizeof(float) || i % 2 == 0) ask(from + ahead);
    }
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const F weight = set(p[r * kKeyBlock + j]);
#pragma GCC unroll 8
      for (int i = 0; i < Vectors; ++i) sums[r][i] = fma(weight, x[i], sums[r][i]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
    for (int i = 0; i < Vectors; ++i) store(out[r] + d + i * kLanes, sums[r][i]);
}

/// The elements [d, dim) in tiles of kTile vectors, the rest as in score_vectors.
template <int Rows, int kTile, class T>
static void value_vectors(const float* p, const T* values, int64_t dim, Span keys, float* const* out, int64_t d,
                          int64_t ahead) {
  for (; d + kTile * kLanes <= dim; d += kTile * kLanes) value_tile<Rows, kTile>(p, values, dim, keys, out, d, ahead);
  if constexpr (kTile > 1) value_vectors<Rows, kTile / 2>(p, values, dim, keys, out, d, ahead);
}

template <int Rows, class T>
static void add_values(const float* p, const T* values, int64_t dim, Span keys, float* const* out, int64_t ahead) {
  if (!keys.empty()) value_vectors<Rows, 2 * kTileVectors<Rows>>(p, values, dim, keys, out, 0, ahead);
}

/// The rows of a group differ in their spans by few keys: what all see goes jointly, the ends row by row. Keys that a
/// row does not see are not multiplied by 0, since rows past the cache's end may hold anything.
template <int Rows, class T>
static void weigh_values(const Group<Rows>& g, const float* p, const T* values, int64_t dim) {
  const int64_t ahead = g.values_ahead / static_cast<int64_t>(sizeof(T));
  Span common = {0, kKeyBlock};
  for (int r = 0; r < Rows; ++r) {
    if (g.spans[r].begin > common.begin) common.begin = g.spans[r].begin;
    if (g.spans[r].end < common.end) common.end = g.spans[r].end;
  }
  if (common.empty()) {
    for (int r = 0; r < Rows; ++r) add_values<1>(p + r * kKeyBlock, values, dim, g.spans[r], g.out + r, ahead);
    return;
  }
  for (int r = 0; r < Rows; ++r)
    add_values<1>(p + r * kKeyBlock, values, dim, {g.spans[r].begin, common.begin}, g.out + r, ahead);
  add_values<Rows>(p, values, dim, common, g.out, ahead);
  for (int r = 0; r < Rows; ++r)
    add_values<1>(p + r * kKeyBlock, values, dim, {common.end, g.spans[r].end}, g.out + r, ahead);
}

template <int Rows, class T>
static void float_partials(const AttentionParams& p, const Group<Rows>& g, const Block& block, const Scratch& scratch) {
  score_rows<Rows>(g, reinterpret_cast<const T*>(block.keys), p.dim, scratch.scores);
  for (int r = 0; r < Rows; ++r) {
    for (int64_t d = 0; d < p.dim; d += kLanes) store(g.out[r] + d, zero());
    float* s = scratch.scores + r * kKeyBlock;
    const float scale = p.softmax_scale * kLog2e;
    if (g.spans[r].full())
      softmax_row<true>(s, g.spans[r], scale, g.out[r] + p.dim);
    else if (!g.spans[r].empty())
      softmax_row<false>(s, g.spans[r], scale, g.out[r] + p.dim);
  }
  weigh_values<Rows>(g, scratch.scores, reinterpret_cast<const T*>(block.values), p.dim);
}

/// n halves to floats, n a multiple of 16.
static void widen(const unsigned char* from, int64_t n, float* to) {
  for (int64_t i = 0; i < n; i += kLanes) store(to + i, load_half(reinterpret_cast<const uint16_t*>(from) + i));
}

}  // namespace halftone::kernels::HALFTONE_ISA_NAMESPACE
