// The GEMM with f32 activations, written once for all vector ISAs.
//
// Every output owns kLanes lanes: lane l sums the products of the elements k = l mod kLanes in the order of k by fused
// multiply-add, and a fixed tree adds the lanes. A few tokens decode weights in registers, reading them from memory
// once; more tokens share a panel of weight rows decoded to f32 in scratch, with the same values, so the bits do not
// depend on M.
#pragma once

#include "kernels/cpu/gemm/decode-inl.h"
#include "kernels/cpu/unrolled-inl.h"

namespace halftone::kernels::HALFTONE_ISA_NAMESPACE {

inline constexpr int kTokens = 4;                       // rows of x in a block of outputs
inline constexpr int kRows = kRegisters == 32 ? 4 : 3;  // rows of w in one: the sums fill the registers

/// Tokens up to which decoding weights again for every four costs less than a panel.
template <Coding kCoding>
inline constexpr int64_t kDirectTokens = kLanes == 8 && kScaled<kCoding> ? 4 : 8;

/// A number as a type.
template <int kValue>
struct Constant {
  static constexpr int value = kValue;
};

/// Weight rows: row r of a block starts at base + r * stride bytes.
struct WeightRows {
  const uint8_t* base;
  int64_t stride;
};

/// Bytes of an element whose rows are asked for ahead of their use, 0 for the others: narrower codes are not bound by
/// memory, and f32 may be a panel.
template <Coding kCoding>
inline constexpr int kAskedBytes = kCoding == Coding::Float16 || kCoding == Coding::BFloat16 ? 2
                                   : kCoding == Coding::Int8 || kCoding == Coding::Float8    ? 1
                                                                                             : 0;

/// Asks for the elements [k, k + kUnit) of the next kCount rows: a few rows side by side are too short for the streams
/// that the hardware finds by itself.
template <Coding kCoding, int kUnit, int kCount>
[[gnu::always_inline]] static inline void ask_ahead(const WeightRows& rows, int64_t k) {
  constexpr int kBytes = kAskedBytes<kCoding> * kUnit;
  unrolled<kCount>([&](int r) HALFTONE_INLINE {
    unrolled<(kBytes + 63) / 64>([&](int line) HALFTONE_INLINE {
      _mm_prefetch((const char*)(rows.base + (kCount + r) * rows.stride + k * kAskedBytes<kCoding> + 64 * line),
                   _MM_HINT_T0);
    });
  });
}

template <int kCount>
[[gnu::always_inline]] static inline void sum_lanes(const F* acc, float* out) {
  unrolled<(kCount + 3) / 4>([&](int block) HALFTONE_INLINE {
    F four[4];
    float sums[4];
    unrolled<4>([&](int j) HALFTONE_INLINE { four[j] = acc[4 * block + j < kCount ? 4 * block + j : kCount - 1]; });
    sum4(four, sums);
    unrolled<4>([&](int j) HALFTONE_INLINE {
      if (4 * block + j < kCount) out[4 * block + j] = sums[j];
    });
  });
}

/// Outputs [m, m + MR) x [n, n + NR), the weights of row n at rows.base.
template <Coding kCoding, int kUnit, int MR, int NR>
static void block(const GemmTask& t, const WeightRows& rows, int64_t m, int64_t n) {
  F acc[MR * NR];
  unrolled<MR * NR>([&](int i) HALFTONE_INLINE { acc[i] = zero(); });
  const float* x = t.x + m * t.x_stride;
  const int64_t groups = kScaled<kCoding> ? t.groups : 1;
  const int64_t group = kScaled<kCoding> ? t.group : t.k;
  for (int64_t g = 0; g < groups; ++g) {
    Decoder<kCoding> decoders[NR];
    if constexpr (kScaled<kCoding>) {
      unrolled<NR>([&](int r) HALFTONE_INLINE { decoders[r] = Decoder<kCoding>(t, n + r, g); });
    }
    const auto step = [&](int64_t k, int i, int64_t left, auto unit) HALFTONE_INLINE {
      F values[MR];
      unrolled<MR>([&](int p) HALFTONE_INLINE { values[p] = load(x + p * t.x_stride + k + kLanes * i, left); });
      unrolled<NR>([&](int r) HALFTONE_INLINE {
        const F w = decoders[r].template get<decltype(unit)::value>(rows.base + r * rows.stride, k, i, left);
        unrolled<MR>([&](int p) HALFTONE_INLINE { acc[p * NR + r] = fma(values[p], w, acc[p * NR + r]); });
      });
    };
    const int64_t end = (g + 1) * group < t.k ? (g + 1) * group : t.k;
    int64_t k = g * group;
    for (; k + kUnit <= end; k += kUnit) {
      ask_ahead<kCoding, kUnit, NR>(rows, k);
      unrolled<kUnit / kLanes>([&](int i) HALFTONE_INLINE { step(k, i, kLanes, Constant<kUnit>{}); });
    }
    for (; k < end; k += kLanes) step(k, 0, end - k, Constant<kLanes>{});  // the end of a row
  }
  float sums[MR * NR];
  sum_lanes<MR * NR>(acc, sums);
  for (int p = 0; p < MR; ++p) {
    for (int r = 0; r < NR; ++r) {
      const float sum = sums[p * NR + r] * t.unit;
      t.y[(m + p) * t.y_stride + n + r] = t.bias != nullptr ? sum + t.bias[n + r] : sum;
    }
  }
}

/// Tokens [m0, m1) against NR rows, which stay in the first-level cache.
template <Coding kCoding, int kUnit, int NR>
static void block_tokens(const GemmTask& t, const WeightRows& rows, int64_t m0, int64_t m1, int64_t n) {
  int64_t m = m0;
  for (; m + kTokens <= m1; m += kTokens) block<kCoding, kUnit, kTokens, NR>(t, rows, m, n);
  for (; m + 2 <= m1; m += 2) block<kCoding, kUnit, 2, NR>(t, rows, m, n);
  for (; m < m1; ++m) block<kCoding, kUnit, 1, NR>(t, rows, m, n);
}

template <Coding kCoding, int kUnit>
static void rows_in_turn(const GemmTask& t, WeightRows rows, int64_t m0, int64_t m1, int64_t n0, int64_t n1) {
  int64_t n = n0;
  for (; n + kRows <= n1; n += kRows, rows.base += kRows * rows.stride) {
    block_tokens<kCoding, kUnit, kRows>(t, rows, m0, m1, n);
  }
  for (; n < n1; ++n, rows.base += rows.stride) block_tokens<kCoding, kUnit, 1>(t, rows, m0, m1, n);
}

template <Coding kCoding, int kUnit>
static void decode_rows(const GemmTask& t, int64_t n0, int64_t n1, float* panel) {
  const int64_t groups = kScaled<kCoding> ? t.groups : 1;
  const int64_t group = kScaled<kCoding> ? t.group : t.k;
  for (int64_t n = n0; n < n1; ++n, panel += t.panel_stride) {
    const uint8_t* row = t.codes + n * t.row_bytes;
    for (int64_t g = 0; g < groups; ++g) {
      Decoder<kCoding> decoder;
      if constexpr (kScaled<kCoding>) decoder = Decoder<kCoding>(t, n, g);
      const int64_t end = (g + 1) * group < t.k ? (g + 1) * group : t.k;
      int64_t k = g * group;
      for (; k + kUnit <= end; k += kUnit) {
        unrolled<kUnit / kLanes>([&](int i) HALFTONE_INLINE {
          store(panel + k + kLanes * i, decoder.template get<kUnit>(row, k, i, kLanes));
        });
      }
      for (; k < end; k += kLanes) store(panel + k, decoder.template get<kLanes>(row, k, 0, end - k));
    }
  }
}

/// A few tokens at a time against the whole panel, so that both stay in caches.
template <Coding kCoding, int kUnit>
static void panels(const GemmTask& t, int64_t m0, int64_t m1, int64_t n0, int64_t n1, float* panel) {
  for (int64_t n = n0; n < n1; n += t.panel_rows) {
    const int64_t end = n + t.panel_rows < n1 ? n + t.panel_rows : n1;
    decode_rows<kCoding, kUnit>(t, n, end, panel);
    const WeightRows rows = {reinterpret_cast<const uint8_t*>(panel), t.panel_stride * 4};
    for (int64_t m = m0; m < m1; m += kTokens) {
      rows_in_turn<Coding::Float32, 64>(t, rows, m, m + kTokens < m1 ? m + kTokens : m1, n, end);
    }
  }
}

template <Coding kCoding, int kUnit = 64>
static void range(const GemmTask& t, int64_t m0, int64_t m1, int64_t n0, int64_t n1, float* panel) {
  if (t.m > kDirectTokens<kCoding>) return panels<kCoding, kUnit>(t, m0, m1, n0, n1, panel);
  rows_in_turn<kCoding, kUnit>(t, {t.codes + n0 * t.row_bytes, t.row_bytes}, m0, m1, n0, n1);
}

template <Coding kCoding>
static void quantized_range(const GemmTask& t, int64_t m0, int64_t m1, int64_t n0, int64_t n1, float* panel) {
  if (t.groups == 1 || t.group % 64 == 0) return range<kCoding, 64>(t, m0, m1, n0, n1, panel);
  if (t.group % 32 == 0) return range<kCoding, 32>(t, m0, m1, n0, n1, panel);
  range<kCoding, 16>(t, m0, m1, n0, n1, panel);
}

void gemm(const GemmTask& t, int64_t m0, int64_t m1, int64_t n0, int64_t n1, float* panel) {
  switch (t.coding) {
    case Coding::Float32:
      return range<Coding::Float32>(t, m0, m1, n0, n1, panel);
    case Coding::Float16:
      return range<Coding::Float16>(t, m0, m1, n0, n1, panel);
    case Coding::BFloat16:
      return range<Coding::BFloat16>(t, m0, m1, n0, n1, panel);
    case Coding::Int8:
      return quantized_range<Coding::Int8>(t, m0, m1, n0, n1, panel);
    case Coding::Int4:
      return quantized_range<Coding::Int4>(t, m0, m1, n0, n1, panel);
    case Coding::Int3:
      return quantized_range<Coding::Int3>(t, m0, m1, n0, n1, panel);
    case Coding::Int2:
      return quantized_range<Coding::Int2>(t, m0, m1, n0, n1, panel);
    case Coding::Listed4:
      return quantized_range<Coding::Listed4>(t, m0, m1, n0, n1, panel);
    case Coding::Listed2:
      return quantized_range<Coding::Listed2>(t, m0, m1, n0, n1, panel);
    case Coding::Float8:
      return quantized_range<Coding::Float8>(t, m0, m1, n0, n1, panel);
  }
}

}  // namespace halftone::kernels::HALFTONE_ISA_NAMESPACE
