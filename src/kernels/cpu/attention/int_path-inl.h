// A block of an Int8 or Int4 cache without decoding it: both products of attention are dot products of codes with
// integers, summed exactly, so their order is free and scales enter once a key instead of once an element.
//
//   score_j  = (q^ . code_j - zero_j sum(q^)) * scale_j * step_q      q^ = round(q / step_q), 15 bits with its sign
//   output_d = (w^ . code_d - sum_j w^_j zero_j) * step_w             w^ = round(p_j scale_j / step_w), 15 or 16 bits
//
// step_q comes from a query's largest element, step_w from the largest weight times scale of a block. Rounding q and w
// moves a score by at most max|q| / 32512 * sum_d |k_jd| (times softmax_scale), and an output by at most half a step_w
// per code of distance from zero: far below what rounding keys and values to 8 bits did to them.
#pragma once

#include "kernels/cpu/attention/int_dot-inl.h"

namespace halftone::kernels::HALFTONE_ISA_NAMESPACE {

/// A prepared query: dim / 2 operand words, then step_q * softmax_scale * log2(e) and sum(q^) as floats.
static void prepare_query(const AttentionParams& p, const float* q, int32_t* out) {
  I bits = set_int(0);
  for (int64_t d = 0; d < p.dim; d += kLanes) bits = max_int(bit_and(as_int(load(q + d)), set_int(0x7fffffff)), bits);
  const int32_t largest_bits = maximum_int(bits);
  const bool finite = largest_bits < 0x7f800000;
  float largest = finite ? __builtin_bit_cast(float, largest_bits) : 1.0f;
  if (largest < 1e-30f) largest = 1e-30f;  // a step that its inverse survives
  const float inverse = kQueryLevels / largest;
  I total = set_int(0);
  for (int64_t d = 0; d < p.dim; d += kLanes) {
    const I x = finite ? to_int(mul(load(q + d), set(inverse))) : set_int(0);
    total = add_int(total, x);
    store_query(out + d / 2, x);
  }
  auto* tail = reinterpret_cast<float*>(out + p.dim / 2);
  tail[0] = finite ? largest / kQueryLevels * (p.softmax_scale * kLog2e) : __builtin_nanf("");
  tail[1] = static_cast<float>(sum_int(total));
}

/// Scales and zero points of the keys of a block, then of its values, whose zero points count from -128 for Int8.
static void load_scales(const uint16_t* keys, const uint16_t* values, int64_t count, float shift, float* out) {
  for (int64_t j = 0; j < count; j += 16)
    for (int64_t i = 0; i < 16; i += kLanes) {
      store(out + j + i, load_half(keys + 2 * j + i));
      store(out + kKeyBlock + j + i, load_half(keys + 2 * j + 16 + i));
      store(out + 2 * kKeyBlock + j + i, load_half(values + 2 * j + i));
      store(out + 3 * kKeyBlock + j + i, sub(load_half(values + 2 * j + 16 + i), set(shift)));
    }
}

template <int Rows, int kBits>
static void int_scores(const Group<Rows>& g, const unsigned char* keys, int64_t token_bytes, float* scores) {
  constexpr int kTile = kTileVectors<Rows>, kGroupVectors = 16 / kLanes;
  const int64_t words = token_bytes / 4, vector_stride = kGroupVectors == 1 ? 16 * token_bytes : 4 * kLanes;
  const auto tile = [&](int64_t v, auto run) __attribute__((always_inline)) {
    int32_t* out[Rows];
    for (int r = 0; r < Rows; ++r) out[r] = reinterpret_cast<int32_t*>(scores + r * kKeyBlock + v * kLanes);
    run(keys + v / kGroupVectors * 16 * token_bytes + v % kGroupVectors * 4 * kLanes, 64, vector_stride, 0, words,
        g.keys_ahead, g.prepared, out);
  };
  int64_t v = g.any.begin / 16 * kGroupVectors;
  const int64_t end = (g.any.end + 15) / 16 * kGroupVectors;
  for (; v + kTile <= end; v += kTile) tile(v, dot_tile<Rows, kTile, kBits, false>);
  for (; v < end; ++v) tile(v, dot_tile<Rows, 1, kBits, false>);
}

struct Weights {
  float step, offset;  ///< step_w and sum_j w^_j zero_j
};

/// Scores of a row to its integer weights; writes m and l to `tail`. `scales` as load_scales leaves them.
template <bool kFull>
static Weights weigh_row(const float* scores, Span span, const float* query_tail, const float* scales, int32_t* weights,
                         float* tail) {
  const F lowest = set(-__builtin_inff()), factor = set(query_tail[0]), query_sum = set(query_tail[1]);
  F x[kVectors], top = lowest;
#pragma GCC unroll 16
  for (int v = 0; v < kVectors; ++v) {
    const F dot = to_float(as_int(load(scores + v * kLanes)));
    x[v] = mul(fnma(load(scales + kKeyBlock + v * kLanes), query_sum, dot), mul(load(scales + v * kLanes), factor));
    if (!kFull) x[v] = select(seen(span, v), x[v], lowest);
    top = max(x[v], top);
  }
  const float m = maximum(top);
  F total = zero(), largest = zero();
#pragma GCC unroll 16
  for (int v = 0; v < kVectors; ++v) {
    const F weight = exp2_negative(sub(x[v], set(m)));
    total = add(total, weight);
    x[v] = mul(weight, load(scales + 2 * kKeyBlock + v * kLanes));
    if (!kFull) x[v] = select(seen(span, v), x[v], zero());
    largest = max(x[v], largest);
  }
  const float most = maximum(largest);
  const F inverse = set(kWeightLevels / most);
  F offset = zero();
#pragma GCC unroll 16
  for (int v = 0; v < kVectors; ++v) {
    const I rounded = to_int(mul(x[v], inverse));
    F zero_point = load(scales + 3 * kKeyBlock + v * kLanes);
    if (!kFull) zero_point = select(seen(span, v), zero_point, zero());
    offset = fma(to_float(rounded), zero_point, offset);
    store_weights(weights + v * kLanes / 2, rounded);
  }
  tail[0] = m;
  tail[1] = sum(total);
  return {most / kWeightLevels, sum(offset)};
}

/// Rows that see nothing come along with weights that nobody reads: their l is 0.
template <int Rows, int kBits>
static void int_values(const Group<Rows>& g, const unsigned char* values, int64_t dim, const Weights* weights,
                       const Scratch& scratch) {
  constexpr int kTile = kTileVectors<Rows>, kTokens = 32 / kBits;  // of a 32-bit word
  const int32_t* operands[Rows];
  for (int r = 0; r < Rows; ++r) operands[r] = scratch.weights + r * kKeyBlock / 2;
  const int64_t begin = g.any.begin / kTokens, end = (g.any.end + kTokens - 1) / kTokens;
  const auto tile = [&](int64_t d, auto run) __attribute__((always_inline)) {
    int32_t* out[Rows];
    for (int r = 0; r < Rows; ++r) out[r] = scratch.sums + r * kMaxDim + d;
    run(values + 4 * d, 4 * dim, 4 * kLanes, begin, end, g.values_ahead, operands, out);
  };
  int64_t d = 0;
  for (; d + kTile * kLanes <= dim; d += kTile * kLanes) tile(d, dot_tile<Rows, kTile, kBits, true>);
  for (; d < dim; d += kLanes) tile(d, dot_tile<Rows, 1, kBits, true>);
  for (int r = 0; r < Rows; ++r)
    for (d = 0; d < dim; d += kLanes) {
      const F dot = to_float(as_int(load(reinterpret_cast<const float*>(scratch.sums + r * kMaxDim + d))));
      store(g.out[r] + d, mul(sub(dot, set(weights[r].offset)), set(weights[r].step)));
    }
}

template <int Rows, int kBits>
static void int_partials(const AttentionParams& p, const Group<Rows>& g, const Block& block, const Scratch& scratch) {
  int_scores<Rows, kBits>(g, block.keys, p.token_bytes, scratch.scores);
  Weights weights[Rows];
  for (int r = 0; r < Rows; ++r) {
    const float* scores = scratch.scores + r * kKeyBlock;
    const auto* query_tail = reinterpret_cast<const float*>(g.prepared[r] + p.dim / 2);
    int32_t* operands = scratch.weights + r * kKeyBlock / 2;
    weights[r] = {0, 0};
    if (g.spans[r].full())
      weights[r] = weigh_row<true>(scores, g.spans[r], query_tail, scratch.scales, operands, g.out[r] + p.dim);
    else if (!g.spans[r].empty())
      weights[r] = weigh_row<false>(scores, g.spans[r], query_tail, scratch.scales, operands, g.out[r] + p.dim);
  }
  int_values<Rows, kBits>(g, block.values, p.dim, weights, scratch);
}

}  // namespace halftone::kernels::HALFTONE_ISA_NAMESPACE
