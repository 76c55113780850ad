// The fast Hadamard transform of one row, and the two small products of a Kronecker pair.
//
// H = base (x) Sylvester(segment). Phases over the whole row: (1) butterflies within groups of up to kGroup vectors
// held in registers, the first of them within a vector; (2) butterflies between vectors, three or four stages a pass
// over the segment; (3) the base across the segments of each block. Stages run in the order of their distance and sums
// in the order of their index, so every vector length gives the same bits. A product with +1 or -1 is exact, and a
// fused multiply-add with one of them rounds like the addition that it stands for.
#pragma once

#include "kernels/cpu/hadamard/hadamard_kernel.h"
#include "kernels/cpu/simd-inl.h"

namespace halftone::kernels::HALFTONE_ISA_NAMESPACE {

inline constexpr int kGroup = kRegisters / 2;             // vectors of phase 1: half the registers
inline constexpr int kRadix = kRegisters == 32 ? 16 : 8;  // vectors of phase 2
inline constexpr int kMaxOrder = 20;                      // 36 and 28 come as conference matrices of 18 and 14

/// Lanes i and i ^ distance exchanged, for distance 1, 2, 4, ... below kLanes.
template <int Distance>
static inline F exchange(F a) {
  if constexpr (Distance == 1) return swap_pairs(a);
#if defined(__AVX512F__)
  if constexpr (Distance == 2) return _mm512_permute_ps(a, 0x4E);
  if constexpr (Distance == 4) return _mm512_shuffle_f32x4(a, a, 0xB1);
  if constexpr (Distance == 8) return _mm512_shuffle_f32x4(a, a, 0x4E);
#else
  if constexpr (Distance == 2) return _mm256_permute_ps(a, 0x4E);
  if constexpr (Distance == 4) return _mm256_permute2f128_ps(a, a, 1);
#endif
}

/// +1 in the lanes whose bit `Distance` is clear, -1 in the others.
template <int Distance>
static inline F lane_signs() {
  static constexpr auto signs = [] {
    struct {
      float lanes[kLanes];
    } s{};
    for (int i = 0; i < kLanes; ++i) s.lanes[i] = (i & Distance) == 0 ? 1.0f : -1.0f;
    return s;
  }();
  return load(signs.lanes);
}

/// The butterflies of distance 1 .. length / 2 within each of the vectors.
template <int Distance, int Vectors>
static inline void within(F (&v)[Vectors], int64_t length) {
  if constexpr (Distance < kLanes) {
    if (Distance >= length) return;
    const F signs = lane_signs<Distance>();
#pragma GCC unroll 16
    for (int i = 0; i < Vectors; ++i) v[i] = fma(v[i], signs, exchange<Distance>(v[i]));
    within<2 * Distance>(v, length);
  }
}

/// The butterflies of distance Half, 2 Half, ... between the vectors.
template <int Half = 1, int Vectors>
static inline void between(F (&v)[Vectors]) {
  if constexpr (Half < Vectors) {
#pragma GCC unroll 8
    for (int i = 0; i < Vectors / 2; ++i) {
      const int at = i / Half * 2 * Half + i % Half;
      const F a = v[at], b = v[at + Half];
      v[at] = add(a, b);
      v[at + Half] = sub(a, b);
    }
    between<2 * Half>(v);
  }
}

/// Phase 1: `Vectors` vectors at a time, x * before * scale to y. Only single vectors may be partial.
template <int Vectors>
static void local_pass(const HadamardRow& row, const float* x, float* y) {
  const F scale = set(row.scale);
  for (int64_t i = 0; i < row.n; i += Vectors * kLanes) {
    const int64_t left = Vectors == 1 ? row.n - i : kLanes;
    F v[Vectors];
#pragma GCC unroll 16
    for (int j = 0; j < Vectors; ++j) {
      v[j] = mul(load(x + i + j * kLanes, left), scale);
      if (row.before != nullptr) v[j] = mul(v[j], load(row.before + i + j * kLanes, left));
    }
    within<1>(v, row.segment);
    between(v);
#pragma GCC unroll 16
    for (int j = 0; j < Vectors; ++j) store(y + i + j * kLanes, v[j], left);
  }
}

/// Phase 2: the stages of distance d, 2 d, ..., Vectors / 2 * d over the whole row; d a multiple of kLanes.
template <int Vectors>
static void strided_pass(float* y, int64_t n, int64_t d) {
  for (int64_t start = 0; start < n; start += Vectors * d)
    for (int64_t i = start; i < start + d; i += kLanes) {
      F v[Vectors];
#pragma GCC unroll 16
      for (int j = 0; j < Vectors; ++j) v[j] = load(y + i + j * d);
      between(v);
#pragma GCC unroll 16
      for (int j = 0; j < Vectors; ++j) store(y + i + j * d, v[j]);
    }
}

static void butterflies(const HadamardRow& row, const float* x, float* y) {
  const int64_t vectors = row.segment / kLanes;  // 0 for short segments
  int64_t d = kLanes;
  if (vectors >= kGroup)
    local_pass<kGroup>(row, x, y), d *= kGroup;
  else if (vectors == 8)
    local_pass<8>(row, x, y), d *= 8;
  else if (vectors == 4)
    local_pass<4>(row, x, y), d *= 4;
  else if (vectors == 2)
    local_pass<2>(row, x, y), d *= 2;
  else
    local_pass<1>(row, x, y);
  while (d < row.segment) {
    const int64_t rest = row.segment / d;
    if (rest >= kRadix)
      strided_pass<kRadix>(y, row.n, d), d *= kRadix;
    else if (rest == 8)
      strided_pass<8>(y, row.n, d), d *= 8;
    else if (rest == 4)
      strided_pass<4>(y, row.n, d), d *= 4;
    else
      strided_pass<2>(y, row.n, d), d *= 2;
  }
}

/// out[r] = sum_c base[r][c] in[c], r < Order; in and out do not overlap. As many sums at a time as registers hold.
template <int Order>
static inline void base_product(const float* base, const F* in, F* out) {
  constexpr int kSums = Order + 3 <= kRegisters ? Order : Order / 2;
  static_assert(Order % kSums == 0);
  for (int r0 = 0; r0 < Order; r0 += kSums) {
    F sums[kSums];
#pragma GCC unroll 20
    for (int r = 0; r < kSums; ++r) sums[r] = mul(set(base[r0 + r]), in[0]);
    for (int c = 1; c < Order; ++c) {
      const float* column = base + c * Order + r0;
      const F value = in[c];
#pragma GCC unroll 20
      for (int r = 0; r < kSums; ++r) sums[r] = fma(set(column[r]), value, sums[r]);
    }
#pragma GCC unroll 20
    for (int r = 0; r < kSums; ++r) out[r0 + r] = sums[r];
  }
}

/// Phase 3 for a matrix base: one vector of each of the Order segments at a time.
template <int Order>
static void matrix_pass(const HadamardRow& row, float* y) {
  const int64_t segment = row.segment;
  for (int64_t block = 0; block < row.n; block += Order * segment)
    for (int64_t i = 0; i < segment; i += kLanes) {
      float* at = y + block + i;
      const int64_t lanes = segment - i;
      F in[Order], out[Order];
      for (int c = 0; c < Order; ++c) in[c] = load(at + c * segment, lanes);
      base_product<Order>(row.base, in, out);
      for (int r = 0; r < Order; ++r) store(at + r * segment, out[r], lanes);
    }
}

/// Phase 3 for a conference base: with p = u + v and m = u - v of segment pairs (u, v), the pair of outputs is
/// C p + m and C m - p.
template <int Half>
static void conference_pass(const HadamardRow& row, float* y) {
  const int64_t segment = row.segment;
  for (int64_t block = 0; block < row.n; block += 2 * Half * segment)
    for (int64_t i = 0; i < segment; i += kLanes) {
      float* at = y + block + i;
      const int64_t lanes = segment - i;
      F p[Half], m[Half], cp[Half], cm[Half];
      for (int c = 0; c < Half; ++c) {
        const F u = load(at + 2 * c * segment, lanes), v = load(at + (2 * c + 1) * segment, lanes);
        p[c] = add(u, v);
        m[c] = sub(u, v);
      }
      base_product<Half>(row.base, p, cp);
      base_product<Half>(row.base, m, cm);
      for (int r = 0; r < Half; ++r) {
        store(at + 2 * r * segment, add(cp[r], m[r]), lanes);
        store(at + (2 * r + 1) * segment, sub(cm[r], p[r]), lanes);
      }
    }
}

static void transform(const HadamardRow& row, const float* x, float* y) {
  butterflies(row, x, y);
  switch (row.order) {
    case 12:
      matrix_pass<12>(row, y);
      break;
    case 20:
      matrix_pass<20>(row, y);
      break;
    case 28:
      conference_pass<14>(row, y);
      break;
    case 36:
      conference_pass<18>(row, y);
      break;
    default:
      break;
  }
  if (row.after == nullptr) return;
  for (int64_t i = 0; i < row.n; i += kLanes)
    store(y + i, mul(load(y + i, row.n - i), load(row.after + i, row.n - i)), row.n - i);
}

/// Rows r .. r + Rows - 1, columns c .. c + Vectors * kLanes - 1 of out = L R, where L's entry (r, k) is at
/// l[r * l_row + k * l_step] and R and out have rows of `width`. The last vector may be partial.
template <int Rows, int Vectors>
static inline void product_tile(int64_t depth, const float* l, int64_t l_row, int64_t l_step, const float* r,
                                int64_t width, int64_t lanes, float* out) {
  F sums[Rows][Vectors];
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) sums[i][v] = zero();
  for (int64_t k = 0; k < depth; ++k) {
    F right[Vectors];
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) right[v] = load(r + k * width + v * kLanes, lanes - v * kLanes);
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i) {
      const F left = set(l[i * l_row + k * l_step]);
#pragma GCC unroll 4
      for (int v = 0; v < Vectors; ++v) sums[i][v] = fma(left, right[v], sums[i][v]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < Vectors; ++v) store(out + i * width + v * kLanes, sums[i][v], lanes - v * kLanes);
}

template <int Rows>
static inline void product_rows(int64_t depth, const float* l, int64_t l_row, int64_t l_step, const float* r,
                                int64_t width, float* out) {
  int64_t c = 0;
  for (; width - c > kLanes; c += 2 * kLanes)
    product_tile<Rows, 2>(depth, l, l_row, l_step, r + c, width, width - c, out + c);
  if (c < width) product_tile<Rows, 1>(depth, l, l_row, l_step, r + c, width, width - c, out + c);
}

/// out [rows, width] = L [rows, depth] R [depth, width]; out overlaps neither.
static void product(int64_t rows, int64_t depth, const float* l, int64_t l_row, int64_t l_step, const float* r,
                    int64_t width, float* out) {
  int64_t i = 0;
  for (; i + 4 <= rows; i += 4) product_rows<4>(depth, l + i * l_row, l_row, l_step, r, width, out + i * width);
  for (; i < rows; ++i) product_rows<1>(depth, l + i * l_row, l_row, l_step, r, width, out + i * width);
}

static void kronecker(int64_t a, int64_t b, const float* left, const float* right, const float* x, float* scratch,
                      float* y) {
  product(a, a, left, 1, a, x, b, scratch);   // left^T X
  product(a, b, scratch, b, 1, right, b, y);  // (left^T X) right
}

const HadamardKernel kHadamard = {transform, kronecker};

}  // namespace halftone::kernels::HALFTONE_ISA_NAMESPACE
