// GEMM with f32 activations, written once for all vector ISAs; included after the ISA's vectors-inl.h, with
// HALFTONE_GEMM_ISA naming its namespace.
//
// Every output owns 16 lanes: lane l sums the products of the elements k = l mod 16 in the order of k by fused
// multiply-add, and a fixed tree adds the lanes. One token decodes weights in registers; more tokens share a panel of
// weight rows decoded to f32 in scratch, with the same values, so the bits do not depend on M.

namespace halftone::kernels::HALFTONE_GEMM_ISA {

/// body(0), ..., body(kCount - 1), unrolled in the front end: g++ 12 unrolls loops over an array of accumulators too
/// late to keep them all in registers.
template <int kCount, class Body>
[[gnu::always_inline]] inline void unrolled(const Body& body) {
  if constexpr (kCount > 0) {
    unrolled<kCount - 1>(body);
    body(kCount - 1);
  }
}
#define HALFTONE_INLINE __attribute__((always_inline))

/// Weight rows: row r of a block starts at base + r * stride bytes.
struct WeightRows {
  const uint8_t* base;
  int64_t stride;
};

constexpr bool is_integer(ElementType type) {
  return type == ElementType::Int8 || type == ElementType::Int4 || type == ElementType::Int2;
}

inline int zero_code(const GemmTask& t, int64_t n, int64_t g) {
  return t.zeros != nullptr ? t.zeros[n * t.groups + g] : t.default_zero;
}

inline Affine affine(const GemmTask& t, int64_t n, int64_t g) {
  const int biased = t.weight == ElementType::Int8 ? 128 : 0;  // zero points of Int8 count from code -128
  return {static_cast<float>(zero_code(t, n, g) - biased),
          t.two_level ? static_cast<float>(t.group_scales[n * t.groups + g]) : 1.0f,
          t.grouped ? t.scales[n * t.groups + g] : t.scales[n]};
}

template <int kCount>
[[gnu::always_inline]] inline void sum_lanes(const F32x16* acc, float* out) {
  unrolled<(kCount + 3) / 4>([&](int block) HALFTONE_INLINE {
    F32x16 four[4];
    float sums[4];
    unrolled<4>([&](int j) HALFTONE_INLINE { four[j] = acc[4 * block + j < kCount ? 4 * block + j : kCount - 1]; });
    sum4(four, sums);
    unrolled<4>([&](int j) HALFTONE_INLINE {
      if (4 * block + j < kCount) out[4 * block + j] = sums[j];
    });
  });
}

/// Outputs [m, m + MR) x [n, n + NR), the weights of row n at rows.base.
template <ElementType kType, int kUnit, int MR, int NR>
inline void float_block(const GemmTask& t, const WeightRows& rows, int64_t m, int64_t n) {
  F32x16 acc[MR * NR];
  unrolled<MR * NR>([&](int i) HALFTONE_INLINE { acc[i] = F32x16::zero(); });
  const float* x = t.x + m * t.x_stride;
  const int64_t groups = is_integer(kType) ? t.groups : 1;
  const int64_t group = is_integer(kType) ? t.group : t.k;
  for (int64_t g = 0; g < groups; ++g) {
    Decoder<kType> decoders[NR];
    if constexpr (is_integer(kType)) {
      unrolled<NR>([&](int r) HALFTONE_INLINE { decoders[r] = Decoder<kType>(affine(t, n + r, g)); });
    }
    const int64_t end = (g + 1) * group < t.k ? (g + 1) * group : t.k;
    int64_t k = g * group;
    for (; k + kUnit <= end; k += kUnit) {
      unrolled<kUnit / 16>([&](int i) HALFTONE_INLINE {
        F32x16 w[NR];
        unrolled<NR>([&](int r) HALFTONE_INLINE {
          w[r] = decoders[r].template get<kUnit>(rows.base + r * rows.stride, k, i, 16);
        });
        unrolled<MR>([&](int p) HALFTONE_INLINE {
          const F32x16 value = F32x16::load(x + p * t.x_stride + k + 16 * i);
          unrolled<NR>([&](int r) HALFTONE_INLINE { acc[p * NR + r] = fma(value, w[r], acc[p * NR + r]); });
        });
      });
    }
    for (; k < end; k += 16) {  // the end of the last group: zeros stand in past K
      const int64_t left = end - k;
      unrolled<NR>([&](int r) HALFTONE_INLINE {
        F32x16 w = decoders[r].template get<16>(rows.base + r * rows.stride, k, 0, left);
        if (left < 16) w = w.keep(left);
        unrolled<MR>([&](int p) HALFTONE_INLINE {
          const float* at = x + p * t.x_stride + k;
          acc[p * NR + r] = fma(left < 16 ? F32x16::load_partial(at, left) : F32x16::load(at), w, acc[p * NR + r]);
        });
      });
    }
  }
  float sums[MR * NR];
  sum_lanes<MR * NR>(acc, sums);
  for (int p = 0; p < MR; ++p) {
    for (int r = 0; r < NR; ++r) {
      const float sum = sums[p * NR + r];
      t.y[(m + p) * t.y_stride + n + r] = t.bias != nullptr ? sum + t.bias[n + r] : sum;
    }
  }
}

template <ElementType kType, int kUnit, int MR>
inline void float_rows(const GemmTask& t, WeightRows rows, int64_t m, int64_t n0, int64_t n1) {
  int64_t n = n0;
  for (; n + kRows <= n1; n += kRows, rows.base += kRows * rows.stride) {
    float_block<kType, kUnit, MR, kRows>(t, rows, m, n);
  }
  for (; n < n1; ++n, rows.base += rows.stride) float_block<kType, kUnit, MR, 1>(t, rows, m, n);
}

/// All tokens [m0, m1) against f32 rows, a few tokens at a time so that they stay in the first-level cache.
inline void float_tokens(const GemmTask& t, const WeightRows& rows, int64_t m0, int64_t m1, int64_t n0, int64_t n1) {
  int64_t m = m0;
  for (; m + kTokens <= m1; m += kTokens) float_rows<ElementType::Float32, 64, kTokens>(t, rows, m, n0, n1);
  if constexpr (kTokens > 2) {
    for (; m + 2 <= m1; m += 2) float_rows<ElementType::Float32, 64, 2>(t, rows, m, n0, n1);
  }
  for (; m < m1; ++m) float_rows<ElementType::Float32, 64, 1>(t, rows, m, n0, n1);
}

template <ElementType kType>
inline void decode_rows(const GemmTask& t, int64_t n0, int64_t n1, float* panel) {
  const int64_t groups = is_integer(kType) ? t.groups : 1;
  const int64_t group = is_integer(kType) ? t.group : t.k;
  for (int64_t n = n0; n < n1; ++n, panel += t.panel_stride) {
    const uint8_t* row = t.codes + n * t.row_bytes;
    for (int64_t g = 0; g < groups; ++g) {
      Decoder<kType> decoder;
      if constexpr (is_integer(kType)) decoder = Decoder<kType>(affine(t, n, g));
      const int64_t end = (g + 1) * group < t.k ? (g + 1) * group : t.k;
      int64_t k = g * group;
      for (; k + 16 <= end; k += 16) decoder.template get<16>(row, k, 0, 16).store(panel + k);
      if (k < end) decoder.template get<16>(row, k, 0, end - k).keep(end - k).store(panel + k);
    }
  }
}

template <ElementType kType, int kUnit>
inline void float_range(const GemmTask& t, int64_t m0, int64_t m1, int64_t n0, int64_t n1, float* scratch) {
  if (m1 - m0 == 1) {
    return float_rows<kType, kUnit, 1>(t, {t.codes + n0 * t.row_bytes, t.row_bytes}, m0, n0, n1);
  }
  const int64_t step = t.panel_rows;
  for (int64_t n = n0; n < n1; n += step) {
    const int64_t end = n + step < n1 ? n + step : n1;
    if constexpr (kType == ElementType::Float32) {
      float_tokens(t, {t.codes + n * t.row_bytes, t.row_bytes}, m0, m1, n, end);
    } else {
      decode_rows<kType>(t, n, end, scratch);
      float_tokens(t, {reinterpret_cast<const uint8_t*>(scratch), t.panel_stride * 4}, m0, m1, n, end);
    }
  }
}

template <ElementType kType>
inline void quantized_range(const GemmTask& t, int64_t m0, int64_t m1, int64_t n0, int64_t n1, float* scratch) {
  if (t.groups == 1 || t.group % 64 == 0) return float_range<kType, 64>(t, m0, m1, n0, n1, scratch);
  if (t.group % 32 == 0) return float_range<kType, 32>(t, m0, m1, n0, n1, scratch);
  float_range<kType, 16>(t, m0, m1, n0, n1, scratch);
}

void gemm_float(const GemmTask& t, int64_t m0, int64_t m1, int64_t n0, int64_t n1, void* memory) {
  float* scratch = static_cast<float*>(memory);
  switch (t.weight) {
    case ElementType::Float32:
      return float_range<ElementType::Float32, 64>(t, m0, m1, n0, n1, scratch);
    case ElementType::Float16:
      return float_range<ElementType::Float16, 64>(t, m0, m1, n0, n1, scratch);
    case ElementType::BFloat16:
      return float_range<ElementType::BFloat16, 64>(t, m0, m1, n0, n1, scratch);
    case ElementType::Int8:
      return quantized_range<ElementType::Int8>(t, m0, m1, n0, n1, scratch);
    case ElementType::Int4:
      return quantized_range<ElementType::Int4>(t, m0, m1, n0, n1, scratch);
    case ElementType::Int2:
      return quantized_range<ElementType::Int2>(t, m0, m1, n0, n1, scratch);
  }
}

}  // namespace halftone::kernels::HALFTONE_GEMM_ISA
