// The packed GEMM on AMX for 3 to 8 tokens, where each unit of weights has scales: a batch of sequences that decode
// together.
//
// A tile register of sums costs the same to store whether it is full or not, and that store is the dearest step. So the
// 16 rows of a left operand hold several units of K, one below the other, each beside zeros where the others have
// their elements: 8 tokens x 2 units, or 4 tokens x 4 units in two products. Weights become signed bytes a few units
// ahead of their product, and floats are folded a few units behind, all in one loop along the weights, so that memory,
// matrix and vector units work at the same time. Same arithmetic in the same order as every other entry.
//
// A microbenchmark by hand on Emerald Rapids, for a unit of 16 rows and 8 tokens: 20 ns stacked and 32 ns not, the
// expanding of weights apart.
#define HALFTONE_ISA_NAMESPACE amx
#include "kernels/cpu/amx-inl.h"
#include "kernels/cpu/packed_gemm/dot-inl.h"
#include "kernels/cpu/packed_gemm/packed_task.h"

namespace halftone::kernels::amx {

namespace {

constexpr int64_t kTileBytes = 1024;
constexpr int kStepUnits = 4;  // units of a step: two products of 64 elements
constexpr int64_t kStepBytes = kStepUnits * 512;
// In steps: weights are expanded so far ahead of the fold, products issued so far ahead.
constexpr int kExpandAhead = 3, kProductAhead = 1;
constexpr int kRing = 4;
constexpr int64_t kAskBytes = 4096;  // codes are asked for so far ahead of their use
static_assert(kExpandAhead < kRing);

/// How far a loop over tiles and, inside a tile, steps has come.
struct Cursor {
  int64_t tile, step, steps;
  void advance() {
    if (++step == steps) step = 0, ++tile;
  }
};

struct Rings {
  uint8_t* weights;  // [kRing][kStepBytes]
  int32_t* sums;     // [kRing][2][16][16]
};

/// The activations, the same for all weights.
struct Arranged {
  int8_t* x;      // [steps][2] left operands
  float* scales;  // [steps * kStepUnits][8]
};

int64_t steps_of(const PackedTask& t) { return (t.units + kStepUnits - 1) / kStepUnits; }

Arranged arranged_at(const PackedTask& t, void* memory) {
  auto* x = static_cast<int8_t*>(memory);
  return {x, reinterpret_cast<float*>(x + steps_of(t) * 2 * kTileBytes)};
}

/// The left operands of all steps. With kRows = 8, product j of a step has units 2j and 2j + 1 in rows 0 .. 7 and
/// 8 .. 15; with 4, rows 4i .. 4i+3 have unit i, of which product j takes i = 2j and 2j + 1.
template <int kRows>
void arrange(const PackedTask& t, const Arranged& a) {
  const int64_t steps = steps_of(t);
  __builtin_memset(a.x, 0, static_cast<size_t>(steps * 2 * kTileBytes));
  __builtin_memset(a.scales, 0, static_cast<size_t>(steps * kStepUnits * 8) * sizeof(float));
  for (int64_t u = 0; u < t.units; ++u) {
    const int64_t product = u / 2, half = u % 2;
    const int64_t row = kRows == 8 ? half * 8 : u % kStepUnits * 4;
    for (int r = 0; r < t.m; ++r) {
      const int8_t* from = t.x + r * t.x_stride + u * 32;
      __builtin_memcpy(a.x + product * kTileBytes + (row + r) * 64 + half * 32, from, 32);
      a.scales[u * 8 + r] = t.x_scales[r * t.units + u];
    }
  }
}

/// A step's units as signed bytes; units past the last keep what they hold, and meet zeros.
template <ElementType kType>
[[gnu::always_inline]] inline void expand(const PackedTask& t, const Cursor& c, uint8_t* ring) {
  const I zero = _mm512_set1_epi8(static_cast<char>(t.zero));
  const int64_t u0 = c.step * kStepUnits;
  const uint8_t* unit = t.codes + (c.tile * t.units + u0) * t.unit_bytes;
  uint8_t* out = ring + (c.tile * c.steps + c.step) % kRing * kStepBytes;
  for (int64_t i = 0; i < kStepUnits && u0 + i < t.units; ++i, unit += t.unit_bytes, out += 512) {
    for (int64_t line = 0; line < t.unit_bytes; line += 64) _mm_prefetch(unit + kAskBytes + line, _MM_HINT_T0);
    const UnitCodes w = unpack<kType>(unit);
    unrolled<kUnitQuads>([&](int q)
                             HALFTONE_INLINE { _mm512_store_si512(out + 64 * q, _mm512_sub_epi8(w.q[q], zero)); });
  }
}

template <int kRows>
[[gnu::always_inline]] inline void multiply(const Arranged& a, const Rings& s, const Cursor& c) {
  const int64_t slot = (c.tile * c.steps + c.step) % kRing;
  const uint8_t* w = s.weights + slot * kStepBytes;
  const int8_t* x = a.x + c.step * 2 * kTileBytes;
  int32_t* sums = s.sums + slot * 512;
  tile_zero<0>();
  tile_load<4>(x, 64);
  tile_load<6>(w, 64);
  tile_dot<0, 4, 6>();
  tile_load<5>(x + kTileBytes, 64);
  tile_load<7>(w + kTileBytes, 64);
  if constexpr (kRows == 8) {
    tile_zero<1>();
    tile_dot<1, 5, 7>();
    tile_store<1>(sums + 256, 64);
  } else {
    tile_dot<0, 5, 7>();
  }
  tile_store<0>(sums, 64);
}

template <int kRows>
[[gnu::always_inline]] inline void fold(const PackedTask& t, const Arranged& a, const Rings& s, const Cursor& c,
                                        F* real) {
  const int64_t u0 = c.step * kStepUnits;
  const int32_t* sums = s.sums + (c.tile * c.steps + c.step) % kRing * 512;
  const uint16_t* scales = t.scales + c.tile * t.groups * 16;
  for (int64_t i = 0; i < kStepUnits && u0 + i < t.units; ++i) {
    const int64_t group = t.group_units == 1 ? u0 + i : (u0 + i) / t.group_units;
    const F scale = load_half(scales + group * 16);
    const float* x_scales = a.scales + (u0 + i) * 8;
    const int32_t* of_unit = sums + i * kRows * 16;
    unrolled<kRows>([&](int r) HALFTONE_INLINE {
      real[r] = fma(to_float(_mm512_load_si512(of_unit + 16 * r)), mul(scale, set(x_scales[r])), real[r]);
    });
  }
}

void write(const PackedTask& t, int64_t tile, const F* real) {
  const int64_t n = tile * 16, left = t.n - n;
  for (int r = 0; r < t.m; ++r) {
    const F y = t.bias != nullptr ? add(real[r], load(t.bias + n, left)) : real[r];
    store(t.y + r * t.y_stride + n, y, left);
  }
}

template <ElementType kType, int kRows>
void run(const PackedTask& t, int64_t tile0, int64_t tile1, const Arranged& a, const Rings& s) {
  const int64_t steps = steps_of(t), total = (tile1 - tile0) * steps;
  Cursor expanding = {tile0, 0, steps}, multiplying = expanding, folding = expanding;
  F real[kRows];
  unrolled<kRows>([&](int r) HALFTONE_INLINE { real[r] = zero(); });
  for (int64_t i = -kExpandAhead; i < total; ++i) {
    if (i + kExpandAhead < total) expand<kType>(t, expanding, s.weights), expanding.advance();
    if (i + kProductAhead >= 0 && i + kProductAhead < total) multiply<kRows>(a, s, multiplying), multiplying.advance();
    if (i < 0) continue;
    fold<kRows>(t, a, s, folding, real);
    if (folding.step + 1 == steps) {
      write(t, folding.tile, real);
      unrolled<kRows>([&](int r) HALFTONE_INLINE { real[r] = zero(); });
    }
    folding.advance();
  }
}

using Run = void (*)(const PackedTask& t, int64_t tile0, int64_t tile1, const Arranged& a, const Rings& s);

template <ElementType kType>
Run run_of(const PackedTask& t) {
  return t.m <= 4 ? run<kType, 4> : run<kType, 8>;
}

}  // namespace

void arrange_few_tokens(const PackedTask& t, void* arranged) {
  const Arranged a = arranged_at(t, arranged);
  t.m <= 4 ? arrange<4>(t, a) : arrange<8>(t, a);
}

void few_tokens(const PackedTask& t, int64_t tile0, int64_t tile1, void* arranged, void* rings) {
  TileConfig config;
  for (int i = 0; i < 8; ++i) config.set(i, 16, 64);
  config.load();
  auto* weights = static_cast<uint8_t*>(rings);
  const Rings s = {weights, reinterpret_cast<int32_t*>(weights + kRing * kStepBytes)};
  static_assert(kRing * (kStepBytes + 2048) == kFewTokensRingBytes);
  const Run run = t.weight == ElementType::Int8   ? run_of<ElementType::Int8>(t)
                  : t.weight == ElementType::Int4 ? run_of<ElementType::Int4>(t)
                                                  : run_of<ElementType::Int2>(t);
  run(t, tile0, tile1, arranged_at(t, arranged), s);
  tile_release();
}

}  // namespace halftone::kernels::amx
