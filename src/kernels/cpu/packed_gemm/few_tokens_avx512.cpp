// The packed GEMM on AVX-512 for 3 to 8 tokens, where each unit of weights has scales: a batch of sequences that decode
// together.
//
// All of its time goes to the two ports of 512-bit instructions: 64 VPDPBUSD for a unit of 16 rows and 8 tokens, and
// whatever stands around them. So activations are copied once a call, by each thread for itself, to lie as they are
// read: one pointer, and broadcasts that are part of the instruction. Sums start at the bits of kMagic less what the
// zero point takes off, which makes them floats without a conversion: kMagic + sum is exact as an f32, and so is
// kMagic * s_w of an f16 scale, hence fma(kMagic + sum, s_w, -kMagic * s_w) is sum * s_w rounded once. The arithmetic
// is that of every other entry, bit for bit.
#define HALFTONE_ISA_NAMESPACE avx512
#include "kernels/cpu/packed_gemm/dot-inl.h"
#include "kernels/cpu/packed_gemm/packed_task.h"

namespace halftone::kernels::avx512 {

namespace {

constexpr float kMagic = 12582912;          // 1.5 * 2^23; |sum| < 2^21
constexpr int32_t kMagicBits = 0x4b400000;  // adding an integer to them adds it to the number

/// The activations of up to kRows tokens, unit after unit; zero past the last token.
struct Arranged {
  int8_t* x;        // [units][kRows][32]
  int32_t* starts;  // [units][kMaxFewTokens], what sums begin with
  float* scales;    // [units][kMaxFewTokens]
};

Arranged arranged_at(const PackedTask& t, void* memory) {
  auto* starts = static_cast<int32_t*>(memory);
  auto* scales = reinterpret_cast<float*>(starts + t.units * kMaxFewTokens);
  return {reinterpret_cast<int8_t*>(scales + t.units * kMaxFewTokens), starts, scales};
}

template <int kRows>
void arrange(const PackedTask& t, const Arranged& a) {
  for (int r = 0; r < kRows; ++r) {
    int8_t* to = a.x + r * 32;
    const int8_t* from = t.x + r * t.x_stride;
    for (int64_t u = 0; u < t.units; ++u, to += kRows * 32) {
      const int64_t at = u * kMaxFewTokens + r;
      if (r < t.m) {
        __builtin_memcpy(to, from + u * 32, 32);
        a.starts[at] = kMagicBits - t.zero * t.x_sums[r * t.units + u];
        a.scales[at] = t.x_scales[r * t.units + u];
      } else {
        __builtin_memset(to, 0, 32);
        a.starts[at] = kMagicBits;
        a.scales[at] = 0;
      }
    }
  }
}

/// sum + four products a lane, w unsigned. Assembly: g++ 12 knows no broadcast inside this instruction. Volatile, so
/// that what asks for weights stays where it is written.
[[gnu::always_inline]] inline I dot(I sum, I w, const int8_t* x) {
  using Word [[gnu::may_alias]] = int32_t;
  __asm__ volatile("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(w), "m"(*reinterpret_cast<const Word*>(x)));
  return sum;
}

/// ask_unit(), a line at a time between the products: all at once they take every buffer for lines that are on their
/// way. With eight-bit codes 9.7 ms for 10.2.
template <ElementType kType>
[[gnu::always_inline]] inline void ask_quad(const uint8_t* unit, int q) {
  constexpr int kLines = kUnitBytes<kType> / kLine;
  for (int line = q * kLines / kUnitQuads; line < (q + 1) * kLines / kUnitQuads; ++line) {
    const uint8_t* const at = unit + kLine * line;
    __asm__ volatile("prefetcht0 %0\n\tprefetcht1 %1" : : "m"(at[kAskNear]), "m"(at[kAskFar]));
  }
}

/// The finished sums of a tile's 16 rows, bias added, for all tokens.
template <int kRows>
[[gnu::always_inline]] inline void write_tile(const PackedTask& t, int64_t tile, const F* real) {
  const int64_t n = tile * 16, left = t.n - n;
  const F bias = t.bias != nullptr ? load(t.bias + n, left) : zero();
  unrolled<kRows>([&](int r) HALFTONE_INLINE {  // in a loop the sums would have to live in memory
    if (r >= t.m) return;
    const F y = t.bias != nullptr ? add(real[r], bias) : real[r];
    float* to = t.y + r * t.y_stride + n;
    store(to, t.accumulate ? add(load(to, left), y) : y, left);
  });
}

template <ElementType kType, int kRows>
void run_tile(const PackedTask& t, int64_t tile, const Arranged& a) {
  const uint8_t* unit = t.codes + tile * t.units * t.unit_bytes;
  const uint16_t* scales = t.scales + tile * t.groups * 16;
  const int8_t* x = a.x;
  F real[kRows];
  unrolled<kRows>([&](int r) HALFTONE_INLINE { real[r] = zero(); });
  int64_t in_group = 0;
  for (int64_t u = 0; u < t.units; ++u, x += kRows * 32, unit += kUnitBytes<kType>) {
    const F scale = load_half(scales), less = mul(scale, set(-kMagic));
    if (++in_group == t.group_units) in_group = 0, scales += 16;
    const UnitCodes w = unpack<kType>(unit);
    I sums[kRows];
    unrolled<kRows>([&](int r) HALFTONE_INLINE { sums[r] = set_int(a.starts[u * kMaxFewTokens + r]); });
    unrolled<kUnitQuads>([&](int q) HALFTONE_INLINE {
      ask_quad<kType>(unit, q);
      unrolled<kRows>([&](int r) HALFTONE_INLINE { sums[r] = dot(sums[r], w.q[q], x + r * 32 + q * 4); });
    });
    unrolled<kRows>([&](int r) HALFTONE_INLINE {
      real[r] = fma(fma(as_float(sums[r]), scale, less), set(a.scales[u * kMaxFewTokens + r]), real[r]);
    });
  }
  write_tile<kRows>(t, tile, real);
}

template <int kRows>
void run(const PackedTask& t, int64_t tile0, int64_t tile1, const Arranged& a, bool arranged) {
  if (!arranged) arrange<kRows>(t, a);
  const auto tiles = [&](auto run_one) {
    for (int64_t tile = tile0; tile < tile1; ++tile) run_one(t, tile, a);
  };
  if (t.weight == ElementType::Int8) return tiles(run_tile<ElementType::Int8, kRows>);
  if (t.weight == ElementType::Int4) return tiles(run_tile<ElementType::Int4, kRows>);
  if (t.weight == ElementType::Int3) return tiles(run_tile<ElementType::Int3, kRows>);
  tiles(run_tile<ElementType::Int2, kRows>);
}

}  // namespace

void few_tokens(const PackedTask& t, int64_t tile0, int64_t tile1, void* scratch, bool arranged) {
  const Arranged a = arranged_at(t, scratch);
  if (t.m <= 4) return run<4>(t, tile0, tile1, a, arranged);
  if (t.m <= 6) return run<6>(t, tile0, tile1, a, arranged);
  run<8>(t, tile0, tile1, a, arranged);
}

}  // namespace halftone::kernels::avx512
