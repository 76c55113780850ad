// The packed GEMM with AMX: tiles of 16 tokens x 16 weight rows x 32 or 64 elements (Intel SDM, TDPBSSD).
//
// The codes of one weight tile become signed bytes in scratch once (code - zero, times the group's factor with
// two-level scales), in the order that the instruction wants, and meet all tokens there. Where the whole row has one
// scale, sums stay in the tile registers along K; otherwise a tile of int32 sums is stored at every fold and added to
// 16 vectors of floats with the arithmetic of packed_gemm-inl.h: the same bits as every other entry.
#define HALFTONE_ISA_NAMESPACE amx
#include "kernels/cpu/amx-inl.h"
#include "kernels/cpu/packed_gemm/dot-inl.h"
#include "kernels/cpu/packed_gemm/packed_task.h"

namespace halftone::kernels::amx {

namespace {

constexpr int kTokens = 16;           // rows of a tile register
constexpr int64_t kTokenChunk = 256;  // activations that stay in the second-level cache while weight tiles pass
constexpr int64_t kSignedUnit = 512;  // bytes of a unit of 16 rows as signed bytes
constexpr int kSumsSize = 256;        // int32 sums of a tile register
// Folds follow this many units behind the matrix instructions, so that loads do not wait for stored tiles. Measured on
// Emerald Rapids: 1 and 2 are equal, 4 costs 6 % and 12 costs 20 %.
constexpr int kDistance = 2;
constexpr int kRing = 8;
static_assert(kRing * kSumsSize * 4 <= kAmxRingBytes);

// Tile registers: two of sums, one of activations, one of weights. Few, so that many are left for renaming: see
// packed_bf16_amx.cpp.
constexpr int kSums = 0, kX = 2, kW = 3;

/// `depth`: elements of K that one instruction multiplies, 32 or 64; `tokens`: rows of the activations, up to 16.
void configure(int tokens, int depth) {
  TileConfig config;
  config.set(kSums, tokens, 64);
  config.set(kSums + 1, tokens, 64);
  config.set(kX, tokens, depth);
  config.set(kW, depth / 4, 64);
  config.load();
}

/// (code - zero) * factor of a tile as bytes, unit after unit, with a unit of zeros after an odd number.
template <ElementType kType>
void expand(const PackedTask& t, int64_t tile, int8_t* out) {
  const uint8_t* codes = t.codes + tile * t.tile_bytes;
  for (int64_t u = 0; u < t.units; ++u) {
    const int64_t at = (tile * t.groups + u / t.group_units) * 16;
    // One byte a row, repeated for its four elements of a line.
    const auto spread = [](const uint8_t* bytes) { return _mm512_mullo_epi32(load_bytes(bytes), set_int(0x01010101)); };
    const I zero = t.zeros != nullptr ? spread(t.zeros + at) : _mm512_set1_epi8(static_cast<char>(t.zero));
    if constexpr (kType != ElementType::Ternary) ask_unit<kType>(codes + u * kUnitBytes<kType>);
    UnitCodes w = unpack_unit<kType>(codes, u);
    if (kType == ElementType::Int4 && t.values != nullptr) look_up_values(w, listed_values(t.values));
    if (t.two_level) {
      // Below 256 as products (QoQ, arXiv:2405.04532 section 5.2), so 16-bit multiplication never carries.
      const I factor = load_bytes(t.group_scales + at);
      const I factors = _mm512_or_si512(factor, _mm512_slli_epi32(factor, 16));
      const I offset = _mm512_mullo_epi16(_mm512_and_si512(zero, _mm512_set1_epi16(255)), factors);
      const I offsets = _mm512_or_si512(_mm512_and_si512(offset, _mm512_set1_epi16(255)), _mm512_slli_epi16(offset, 8));
      unrolled<kUnitQuads>(
          [&](int i) HALFTONE_INLINE { w.q[i] = _mm512_sub_epi8(_mm512_mullo_epi16(w.q[i], factors), offsets); });
    } else {
      unrolled<kUnitQuads>([&](int i) HALFTONE_INLINE { w.q[i] = _mm512_sub_epi8(w.q[i], zero); });
    }
    unrolled<kUnitQuads>([&](int i) HALFTONE_INLINE { _mm512_store_si512(out + 64 * i, w.q[i]); });
    out += kSignedUnit;
  }
  if (t.units % 2 != 0) unrolled<8>([&](int i) HALFTONE_INLINE { _mm512_store_si512(out + 64 * i, set_int(0)); });
}

void expand(const PackedTask& t, int64_t tile, int8_t* out) {
  if (t.weight == ElementType::Int8) return expand<ElementType::Int8>(t, tile, out);
  if (t.weight == ElementType::Int4) return expand<ElementType::Int4>(t, tile, out);
  if (t.weight == ElementType::Int3) return expand<ElementType::Int3>(t, tile, out);
  if (t.weight == ElementType::Int2) return expand<ElementType::Int2>(t, tile, out);
  expand<ElementType::Ternary>(t, tile, out);
}

/// y = value * scale + bias for `count` tokens from m on; the scales of lane_block.
void write(const PackedTask& t, int64_t m, int count, int64_t tile, const F* values) {
  const int64_t n = tile * 16, left = t.n - n;
  for (int r = 0; r < count; ++r) {
    F scale = t.unit_scales ? set(1.0f) : set(t.x_scales[m + r]);
    if (!t.grouped || t.values != nullptr) scale = mul(load(t.row_scales + n), scale);
    F y = mul(values[r], scale);
    if (t.bias != nullptr) y = add(y, load(t.bias + n, left));
    float* to = t.y + (m + r) * t.y_stride + n;
    store(to, t.accumulate ? add(load(to, left), y) : y, left);
  }
}

void write_sums(const PackedTask& t, int64_t m, int count, int64_t tile, const int32_t* sums) {
  F values[kTokens];
  unrolled<kTokens>([&](int r) HALFTONE_INLINE { values[r] = to_float(_mm512_load_si512(sums + 16 * r)); });
  write(t, m, count, tile, values);
}

/// A place in the output: `count` tokens from m on, at most 16, and `tiles` weight tiles, 1 or 2.
struct Block {
  int64_t m;
  int count;
  int64_t tile;
  int tiles;
  const int8_t* w;      ///< their signed codes
  int64_t tile_stride;  ///< bytes from one tile's to the next
};

/// Sums along all of K in the tile registers; 64 elements an instruction.
template <bool kTwoTiles>
void whole_block(const PackedTask& t, const Block& b, int32_t* sums) {
  tile_zero<kSums>();
  if constexpr (kTwoTiles) tile_zero<kSums + 1>();
  const int8_t* x = t.x + b.m * t.x_stride;
  for (int64_t u = 0; u < t.units; u += 2) {
    tile_load<kX>(x + u * 32, t.x_stride);
    tile_load<kW>(b.w + u * kSignedUnit, 64);
    tile_dot<kSums, kX, kW>();
    if constexpr (kTwoTiles) {
      tile_load<kW>(b.w + b.tile_stride + u * kSignedUnit, 64);
      tile_dot<kSums + 1, kX, kW>();
    }
  }
  tile_store<kSums>(sums, 64);
  if constexpr (kTwoTiles) tile_store<kSums + 1>(sums + kSumsSize, 64);
  write_sums(t, b.m, b.count, b.tile, sums);
  if constexpr (kTwoTiles) write_sums(t, b.m, b.count, b.tile + 1, sums + kSumsSize);
}

/// The integer sums of fold number `fold`, `step` units, of up to 16 tokens and 16 rows, to memory.
[[gnu::always_inline]] inline void sum_fold(const PackedTask& t, const int8_t* x, const int8_t* w, int64_t fold,
                                            int64_t step, int32_t* ring) {
  const int64_t begin = fold * step, end = begin + step < t.units ? begin + step : t.units;
  tile_zero<kSums>();
  for (int64_t u = begin; u < end; ++u) {
    tile_load<kX>(x + u * 32, t.x_stride);
    tile_load<kW>(w + u * kSignedUnit, 64);
    tile_dot<kSums, kX, kW>();
  }
  tile_store<kSums>(ring + fold % kRing * kSumsSize, 64);
}

/// f16 numbers of a tile's rows in group g, times i8 factors where there are super-groups, or `factors` alone where
/// they are scales of one byte: exact.
inline F group_floats(const PackedTask& t, const uint16_t* halves, const uint8_t* factors, int64_t tile, int64_t g) {
  const int64_t at = (tile * t.groups + g) * 16;
  if (t.byte_scales) return t.power_scales ? byte_scales<true>(factors + at) : byte_scales<false>(factors + at);
  if (!t.super) return load_half(halves + at);
  const F half = load_half(halves + (tile * t.super_groups + g / t.groups_per_super) * 16);
  return mul(half, to_float(load_signed_bytes(factors + at, kLanes)));
}

/// Folds every `step` units, kDistance folds behind the matrix instructions. One tile of tokens, one of weights.
template <bool kGrouped, bool kUnitScales, bool kMinimums = false>
void folded_block(const PackedTask& t, const Block& b, int32_t* ring) {
  const int64_t step = kUnitScales ? 1 : t.group_units, folds = (t.units + step - 1) / step;
  const int8_t* x = t.x + b.m * t.x_stride;
  F real[kTokens];
  unrolled<kTokens>([&](int r) HALFTONE_INLINE { real[r] = zero(); });
  const float* x_scales[kTokens];  // tokens past the last repeat it: their sums are never written
  for (int r = 0; r < kTokens; ++r) x_scales[r] = t.x_scales + (b.m + (r < b.count ? r : b.count - 1)) * t.units;
  const auto input_sum = [&](int r, int64_t u) HALFTONE_INLINE {
    const int32_t* sums = t.x_sums + (b.m + (r < b.count ? r : b.count - 1)) * t.units;
    int32_t sum = 0;
    for (int64_t i = u; i < u + step && i < t.units; ++i) sum += sums[i];
    return sum;
  };
  const auto issue = [&](int64_t fold) HALFTONE_INLINE { sum_fold(t, x, b.w, fold, step, ring); };
  for (int64_t fold = 0; fold < kDistance && fold < folds; ++fold) issue(fold);
  for (int64_t fold = 0; fold < folds; ++fold) {
    if (fold + kDistance < folds) issue(fold + kDistance);
    const int32_t* sums = ring + fold % kRing * kSumsSize;
    const int64_t u = fold * step;
    const int64_t g = u / t.group_units;
    const F scale = kGrouped ? group_floats(t, t.scales, t.group_scales, b.tile, g) : set(1.0f);
    F minimum = zero();
    if constexpr (kMinimums) minimum = group_floats(t, t.mins, t.group_mins, b.tile, g);
    unrolled<kTokens>([&](int r) HALFTONE_INLINE {
      const F value = to_float(_mm512_load_si512(sums + 16 * r));
      if constexpr (kMinimums) {
        const F total = to_float(set_int(input_sum(r, u)));
        if constexpr (kUnitScales) {
          real[r] = fma(fma(value, scale, mul(minimum, total)), set(x_scales[r][u]), real[r]);
          return;
        }
        real[r] = fma(minimum, total, real[r]);
      }
      if constexpr (kUnitScales)
        real[r] = fma(kGrouped ? mul(value, scale) : value, set(x_scales[r][u]), real[r]);
      else
        real[r] = fma(value, scale, real[r]);
    });
  }
  write(t, b.m, b.count, b.tile, real);
}

using BlockFunction = void (*)(const PackedTask& t, const Block& b, int32_t* sums);

BlockFunction folding(const PackedTask& t) {
  if (!t.grouped) return folded_block<false, true>;
  if (t.mins != nullptr) return t.unit_scales ? folded_block<true, true, true> : folded_block<true, false, true>;
  return t.unit_scales ? folded_block<true, true> : folded_block<true, false>;
}

void run_block(const PackedTask& t, const Block& b, bool folded, int32_t* sums) {
  if (!folded) return b.tiles > 1 ? whole_block<true>(t, b, sums) : whole_block<false>(t, b, sums);
  const BlockFunction fold = folding(t);
  for (int i = 0; i < b.tiles; ++i)
    fold(t, {b.m, b.count, b.tile + i, 1, b.w + i * b.tile_stride, b.tile_stride}, sums);
}

/// Tokens [m0, m1) in blocks of `tokens`, which the configuration fits, against all tiles.
void run_tokens(const PackedTask& t, int64_t m0, int64_t m1, int tokens, int64_t tile0, int64_t tile1, bool folded,
                void* scratch) {
  auto* w = static_cast<int8_t*>(scratch);
  const int64_t tile_stride = (t.units + t.units % 2) * kSignedUnit;
  auto* sums = reinterpret_cast<int32_t*>(w + 2 * tile_stride);
  for (int64_t begin = m0; begin < m1; begin += kTokenChunk) {
    const int64_t end = begin + kTokenChunk < m1 ? begin + kTokenChunk : m1;
    for (int64_t tile = tile0; tile < tile1; tile += 2) {
      const int tiles = tile + 1 < tile1 ? 2 : 1;
      for (int i = 0; i < tiles; ++i) expand(t, tile + i, w + i * tile_stride);
      for (int64_t m = begin; m < end; m += tokens)
        run_block(t, {m, tokens, tile, tiles, w, tile_stride}, folded, sums);
    }
  }
}

}  // namespace

void packed_gemm(const PackedTask& t, int64_t m0, int64_t m1, int64_t tile0, int64_t tile1, void* scratch) {
  const bool folded = t.unit_scales || t.grouped;
  const int depth = folded ? 32 : 64;
  const int64_t tail = m1 - (m1 - m0) % kTokens;  // where the last, partly filled block begins
  if (tail > m0) {
    configure(kTokens, depth);
    run_tokens(t, m0, tail, kTokens, tile0, tile1, folded, scratch);
  }
  if (const int count = static_cast<int>(m1 - tail); count > 0) {
    configure(count, depth);
    run_tokens(t, tail, m1, count, tile0, tile1, folded, scratch);
  }
  tile_release();
}

}  // namespace halftone::kernels::amx
