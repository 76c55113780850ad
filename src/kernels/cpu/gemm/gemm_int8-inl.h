// GEMM with int8 activations, written once for all vector ISAs; included after gemm_float-inl.h.
//
// Weights become int8 values (code - zero) * factor, exactly; products sum in int32 lanes. With one f32 scale a row the
// sum stays an integer to the end, so any order gives the same bits. With one a group, the lanes of each group are
// converted and scaled into 16 (or 8) float lanes in the order of the groups, which a fixed tree adds.

namespace halftone::kernels::HALFTONE_GEMM_ISA {

template <class Step>
inline typename Step::Offsets offsets(const GemmTask& t, int64_t n, int64_t g) {
  return {t.weight == ElementType::Int8 ? 0 : zero_code(t, n, g), t.two_level ? t.group_scales[n * t.groups + g] : 1};
}

template <class Step, int kCount, class Vector, class Number>
[[gnu::always_inline]] inline void sum_steps(const Vector* acc, Number* out) {
  unrolled<(kCount + 3) / 4>([&](int block) HALFTONE_INLINE {
    Vector four[4];
    Number sums[4];
    unrolled<4>([&](int j) HALFTONE_INLINE { four[j] = acc[4 * block + j < kCount ? 4 * block + j : kCount - 1]; });
    Step::sum4(four, sums);
    unrolled<4>([&](int j) HALFTONE_INLINE {
      if (4 * block + j < kCount) out[4 * block + j] = sums[j];
    });
  });
}

/// Outputs [m, m + MR) x [n, n + NR). kReady: the rows hold int8 values already, padded to whole steps.
template <class Step, ElementType kType, bool kReady, bool kGrouped, bool kFactor, int MR, int NR>
inline void int8_block(const GemmTask& t, const WeightRows& rows, int64_t m, int64_t n) {
  constexpr ElementType kStored = kReady ? ElementType::Int8 : kType;
  constexpr bool kByGroup = kGrouped || (kFactor && !kReady);  // else a row is one run of steps
  const int64_t groups = kByGroup ? t.groups : 1;
  const int64_t group = kByGroup ? t.group : t.k;
  const int8_t* x = t.x_codes + m * t.x_code_stride;
  typename Step::Sum acc[MR * NR], shift[NR];
  typename Step::Real real[MR * NR];
  const auto clear = [&]() HALFTONE_INLINE {
    unrolled<MR * NR>([&](int i) HALFTONE_INLINE { acc[i] = Step::zero(); });
    unrolled<NR>([&](int r) HALFTONE_INLINE { shift[r] = Step::zero(); });
  };
  clear();
  if constexpr (kGrouped) unrolled<MR * NR>([&](int i) HALFTONE_INLINE { real[i] = Step::real_zero(); });
  for (int64_t g = 0; g < groups; ++g) {
    const int64_t end = (g + 1) * group < t.k ? (g + 1) * group : t.k;
    typename Step::Offsets runs[NR];
    if constexpr (!kReady) unrolled<NR>([&](int r) HALFTONE_INLINE { runs[r] = offsets<Step>(t, n + r, g); });
    const auto step = [&](int64_t k, int64_t left) HALFTONE_INLINE {
      typename Step::W w[NR];
      unrolled<NR>([&](int r) HALFTONE_INLINE {
        w[r] = Step::template get < kStored, kFactor && !kReady > (rows.base + r * rows.stride, k, left, runs[r]);
        shift[r] = Step::bias(shift[r], w[r]);
      });
      unrolled<MR>([&](int p) HALFTONE_INLINE {
        const typename Step::X value = Step::load_x(x + p * t.x_code_stride + k);
        unrolled<NR>([&](int r) HALFTONE_INLINE { acc[p * NR + r] = Step::dot(acc[p * NR + r], value, w[r]); });
      });
    };
    int64_t k = g * group;
    for (; k + Step::kStep <= end; k += Step::kStep) step(k, Step::kStep);
    if (k < end) step(k, kReady ? Step::kStep : end - k);
    if constexpr (kGrouped) {
      unrolled<MR * NR>([&](int i) HALFTONE_INLINE {
        const float scale = t.scales[(n + i % NR) * t.groups + g];
        real[i] = Step::fold(Step::subtract(acc[i], shift[i % NR]), scale, real[i]);
      });
      clear();
    }
  }
  float sums[MR * NR];
  if constexpr (kGrouped) {
    sum_steps<Step, MR * NR>(real, sums);
  } else {
    int32_t whole[MR * NR];
    unrolled<MR * NR>([&](int i) HALFTONE_INLINE { acc[i] = Step::subtract(acc[i], shift[i % NR]); });
    sum_steps<Step, MR * NR>(acc, whole);
    for (int i = 0; i < MR * NR; ++i) sums[i] = static_cast<float>(whole[i]);
  }
  for (int p = 0; p < MR; ++p) {
    for (int r = 0; r < NR; ++r) {
      const float scale = kGrouped ? t.x_scales[m + p] : t.x_scales[m + p] * t.scales[n + r];
      const float value = sums[p * NR + r] * scale;
      t.y[(m + p) * t.y_stride + n + r] = t.bias != nullptr ? value + t.bias[n + r] : value;
    }
  }
}

template <class Step, ElementType kType, bool kReady, bool kGrouped, bool kFactor, int MR>
inline void int8_rows(const GemmTask& t, WeightRows rows, int64_t m, int64_t n0, int64_t n1) {
  constexpr int NR = kGrouped && MR > 1 ? kGroupedRows : kRows;
  int64_t n = n0;
  for (; n + NR <= n1; n += NR, rows.base += NR * rows.stride) {
    int8_block<Step, kType, kReady, kGrouped, kFactor, MR, NR>(t, rows, m, n);
  }
  for (; n < n1; ++n, rows.base += rows.stride) {
    int8_block<Step, kType, kReady, kGrouped, kFactor, MR, 1>(t, rows, m, n);
  }
}

/// All tokens [m0, m1) against rows of int8 values.
template <class Step, bool kReady, bool kGrouped>
inline void int8_tokens(const GemmTask& t, const WeightRows& rows, int64_t m0, int64_t m1, int64_t n0, int64_t n1) {
  constexpr ElementType kType = ElementType::Int8;
  int64_t m = m0;
  for (; m + kTokens <= m1; m += kTokens) int8_rows<Step, kType, kReady, kGrouped, false, kTokens>(t, rows, m, n0, n1);
  if constexpr (kTokens > 2) {
    for (; m + 2 <= m1; m += 2) int8_rows<Step, kType, kReady, kGrouped, false, 2>(t, rows, m, n0, n1);
  }
  for (; m < m1; ++m) int8_rows<Step, kType, kReady, kGrouped, false, 1>(t, rows, m, n0, n1);
}

template <class Step, ElementType kType, bool kFactor>
inline void expand_rows(const GemmTask& t, int64_t n0, int64_t n1, int8_t* panel) {
  for (int64_t n = n0; n < n1; ++n, panel += t.panel_stride) {
    const uint8_t* row = t.codes + n * t.row_bytes;
    for (int64_t g = 0; g < t.groups; ++g) {
      const typename Step::Offsets o = offsets<Step>(t, n, g);
      const int64_t end = (g + 1) * t.group < t.k ? (g + 1) * t.group : t.k;
      for (int64_t k = g * t.group; k < end; k += Step::kStep) {
        Step::store(Step::template get<kType, kFactor>(row, k, Step::kStep, o), panel + k);
      }
    }
  }
}

template <class Step, ElementType kType, bool kGrouped, bool kFactor>
inline void int8_range(const GemmTask& t, int64_t m0, int64_t m1, int64_t n0, int64_t n1, int8_t* scratch) {
  if (m1 - m0 == 1) {
    const WeightRows rows = {t.codes + n0 * t.row_bytes, t.row_bytes};
    return int8_rows<Step, kType, false, kGrouped, kFactor, 1>(t, rows, m0, n0, n1);
  }
  for (int64_t n = n0; n < n1; n += t.panel_rows) {
    const int64_t end = n + t.panel_rows < n1 ? n + t.panel_rows : n1;
    if constexpr (kType == ElementType::Int8) {
      int8_tokens<Step, false, kGrouped>(t, {t.codes + n * t.row_bytes, t.row_bytes}, m0, m1, n, end);
    } else {
      expand_rows<Step, kType, kFactor>(t, n, end, scratch);
      int8_tokens<Step, true, kGrouped>(t, {reinterpret_cast<const uint8_t*>(scratch), t.panel_stride}, m0, m1, n, end);
    }
  }
}

template <ElementType kType>
inline void int8_layouts(const GemmTask& t, int64_t m0, int64_t m1, int64_t n0, int64_t n1, int8_t* scratch) {
  const bool wide = t.group % WideStep::kStep == 0;
  if constexpr (kType == ElementType::Int4) {
    if (t.two_level && wide) return int8_range<WideStep, kType, false, true>(t, m0, m1, n0, n1, scratch);
    if (t.two_level) return int8_range<Step32, kType, false, true>(t, m0, m1, n0, n1, scratch);
  }
  if (!t.grouped) return int8_range<WideStep, kType, false, false>(t, m0, m1, n0, n1, scratch);
  if (wide) return int8_range<WideStep, kType, true, false>(t, m0, m1, n0, n1, scratch);
  int8_range<Step32, kType, true, false>(t, m0, m1, n0, n1, scratch);
}

void gemm_int8(const GemmTask& t, int64_t m0, int64_t m1, int64_t n0, int64_t n1, void* memory) {
  int8_t* scratch = static_cast<int8_t*>(memory);
  switch (t.weight) {
    case ElementType::Int8:
      return int8_layouts<ElementType::Int8>(t, m0, m1, n0, n1, scratch);
    case ElementType::Int4:
      return int8_layouts<ElementType::Int4>(t, m0, m1, n0, n1, scratch);
    case ElementType::Int2:
      return int8_layouts<ElementType::Int2>(t, m0, m1, n0, n1, scratch);
    default:
      return;  // the table sends floating-point weights elsewhere
  }
}

}  // namespace halftone::kernels::HALFTONE_GEMM_ISA
