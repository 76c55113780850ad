// The packed GEMM with bf16 activations on AMX: 32 tokens x 32 weight rows at a time, four tiles of f32 sums.
//
// The weights of two tiles and a part of K become bf16 in scratch once, in the order that the instruction wants, and
// meet a chunk of tokens there; sums wait in y between parts of K. Activations lie in tiles already, so that all reads
// of the inner loop run through memory in order.
#define HALFTONE_ISA_NAMESPACE amx
#include "kernels/cpu/amx-inl.h"
#include "kernels/cpu/packed_bf16/packed_bf16_task.h"
#include "kernels/cpu/packed_gemm/dot-inl.h"

namespace halftone::kernels::amx {

namespace {

constexpr int64_t kTile = 1024;                    // bytes of a tile register
constexpr int64_t kChunkBytes = int64_t{1} << 20;  // of activations, to stay in the second-level cache
// Tile registers: sums of token tile i and weight tile j are 2 i + j.
constexpr int kX = 4, kW = 6;

void configure() {
  TileConfig config;
  for (int i = 0; i < 8; ++i) config.set(i, 16, 64);
  config.load();
}

/// Words a0 b0 a1 b1 ... of a and b as bf16: a line of a right operand.
[[gnu::always_inline]] inline I pair_line(F a, F b, I order) {
  return _mm512_permutexvar_epi16(order, (I)_mm512_cvtne2ps_pbh(b, a));
}

I pair_order() {
  alignas(64) uint16_t order[32];
  for (int i = 0; i < 32; ++i) order[i] = static_cast<uint16_t>(i / 2 + i % 2 * 16);
  return _mm512_load_si512(order);
}

/// A weight is code * scale + offset.
struct GroupValues {
  F scale, offset;
};

GroupValues values_of(const PackedTask& t, int64_t tile, int64_t u) {
  const int64_t g = t.group_units == 1 ? u : u / t.group_units, at = (tile * t.groups + g) * 16;
  const auto halves = [&](const uint16_t* values, const uint8_t* factors) {
    if (!t.super) return load_half(values + at);
    const F half = load_half(values + (tile * t.super_groups + g / t.groups_per_super) * 16);
    return mul(half, to_float(load_signed_bytes(factors + at, 16)));
  };
  F scale = t.grouped ? halves(t.scales, t.group_scales) : load(t.row_scales + tile * 16);
  if (t.two_level) scale = mul(scale, to_float(load_bytes(t.group_scales + at)));
  const F zero = t.zeros != nullptr ? to_float(load_bytes(t.zeros + at)) : set(static_cast<float>(t.zero));
  return {scale, fnma(zero, scale, t.mins != nullptr ? halves(t.mins, t.group_mins) : set(0.0f))};
}

/// A unit of four-bit codes. A code's bits under the exponent of 16 read as the float 16 + code.
[[gnu::always_inline]] inline void expand_int4(const uint8_t* unit, const GroupValues& v, I order, uint8_t* out) {
  const I mask = set_int(0x780000), sixteen = set_int(0x41800000);
  const F offset = fnma(set(16.0f), v.scale, v.offset);
  unrolled<4>([&](int i) HALFTONE_INLINE {
    const I line = _mm512_loadu_si512(unit + 64 * i);
    const auto value = [&](int nibble) HALFTONE_INLINE {
      const I placed = nibble < 5 ? shift_left(line, 19 - 4 * nibble) : shift_right(line, 4 * nibble - 19);
      return fma(as_float(_mm512_ternarylogic_epi32(placed, mask, sixteen, 0xEA)), v.scale, offset);
    };
    _mm512_store_si512(out + 128 * i, pair_line(value(0), value(2), order));
    _mm512_store_si512(out + 128 * i + 64, pair_line(value(4), value(6), order));
    _mm512_store_si512(out + 512 + 128 * i, pair_line(value(1), value(3), order));
    _mm512_store_si512(out + 512 + 128 * i + 64, pair_line(value(5), value(7), order));
  });
}

/// Units [u0, u1) of a weight tile as bf16, 1024 bytes each.
template <ElementType kType>
void expand(const PackedTask& t, int64_t tile, int64_t u0, int64_t u1, uint8_t* out) {
  const I order = pair_order();
  for (int64_t u = u0; u < u1; ++u, out += kTile) {
    const GroupValues v = values_of(t, tile, u);
    const uint8_t* unit = t.codes + (tile * t.units + u) * t.unit_bytes;
    if constexpr (kType == ElementType::Int4) {
      expand_int4(unit, v, order, out);
      continue;
    }
    const UnitCodes w = unpack<kType>(unit);
    unrolled<kUnitQuads>([&](int i) HALFTONE_INLINE {
      const auto value = [&](int byte) HALFTONE_INLINE {
        return fma(to_float(bit_and(shift_right(w.q[i], 8 * byte), set_int(255))), v.scale, v.offset);
      };
      _mm512_store_si512(out + 128 * i, pair_line(value(0), value(1), order));
      _mm512_store_si512(out + 128 * i + 64, pair_line(value(2), value(3), order));
    });
  }
}

void expand(const PackedTask& t, int64_t tile, int64_t u0, int64_t u1, uint8_t* out) {
  if (t.weight == ElementType::Int8) return expand<ElementType::Int8>(t, tile, u0, u1, out);
  if (t.weight == ElementType::Int4) return expand<ElementType::Int4>(t, tile, u0, u1, out);
  if (t.weight == ElementType::Int3) return expand<ElementType::Int3>(t, tile, u0, u1, out);
  expand<ElementType::Int2>(t, tile, u0, u1, out);
}

/// Where a tile of sums lives between parts of K: in y, or in scratch at y's edges.
struct Sums {
  float* at;
  int64_t stride;  // bytes
};

/// What the sums of a block begin with.
enum class Begin { Zero, Bias, Memory };

template <int kSum>
[[gnu::always_inline]] inline void begin_sums(Begin begin, const Sums& sums, const float* bias) {
  if (begin == Begin::Zero) return tile_zero<kSum>();
  if (begin == Begin::Bias) return tile_load<kSum>(bias, 0);  // the same line for every token
  tile_load<kSum>(sums.at, sums.stride);
}

struct Block {
  const uint8_t* x[2];  ///< a token tile each
  const uint8_t* w[2];
  int64_t units;
  Sums sums[4];
  const float* bias[2];
};

template <bool kTwoTiles>
void multiply(const Block& b, Begin begin) {
  begin_sums<0>(begin, b.sums[0], b.bias[0]);
  begin_sums<2>(begin, b.sums[2], b.bias[0]);
  if constexpr (kTwoTiles) begin_sums<1>(begin, b.sums[1], b.bias[1]);
  if constexpr (kTwoTiles) begin_sums<3>(begin, b.sums[3], b.bias[1]);
  for (int64_t u = 0; u < b.units; ++u) {
    tile_load<kX>(b.x[0] + u * kTile, 64);
    tile_load<kW>(b.w[0] + u * kTile, 64);
    tile_dot_bf16<0, kX, kW>();
    tile_load<kX + 1>(b.x[1] + u * kTile, 64);
    tile_dot_bf16<2, kX + 1, kW>();
    if constexpr (kTwoTiles) {
      tile_load<kW + 1>(b.w[1] + u * kTile, 64);
      tile_dot_bf16<1, kX, kW + 1>();
      tile_dot_bf16<3, kX + 1, kW + 1>();
    }
  }
  tile_store<0>(b.sums[0].at, b.sums[0].stride);
  tile_store<2>(b.sums[2].at, b.sums[2].stride);
  if constexpr (kTwoTiles) tile_store<1>(b.sums[1].at, b.sums[1].stride);
  if constexpr (kTwoTiles) tile_store<3>(b.sums[3].at, b.sums[3].stride);
}

/// Moves the part of a tile of sums that lies inside y between scratch and y.
void copy_edge(const PackedTask& t, int64_t m, int64_t tile, float* scratch, bool into_y) {
  const int64_t left = t.n - tile * 16;
  for (int64_t r = 0; r < 16 && m + r < t.m; ++r) {
    float* y = t.y + (m + r) * t.y_stride + tile * 16;
    into_y ? store(y, load(scratch + 16 * r), left) : store(scratch + 16 * r, load(y, left));
  }
}

/// One pair of token tiles against one or two weight tiles, over the units [u0, u1) expanded at w.
void run_block(const PackedBf16Task& task, int64_t pair, int64_t tile, int tiles, int64_t u0, int64_t u1, uint8_t* w,
               float* edges) {
  const PackedTask& t = task.packed;
  Block b{.units = u1 - u0};
  alignas(64) float bias[2][16];
  bool edge[4] = {};
  for (int j = 0; j < tiles; ++j) {
    b.w[j] = w + j * kBf16PartUnits * kTile;
    if (t.bias != nullptr) store(bias[j], load(t.bias + (tile + j) * 16, t.n - (tile + j) * 16));
    b.bias[j] = bias[j];
  }
  const Begin begin = u0 > 0 || task.accumulate ? Begin::Memory : t.bias != nullptr ? Begin::Bias : Begin::Zero;
  for (int i = 0; i < 2; ++i) {
    const int64_t m = pair * 32 + 16 * i;
    b.x[i] = reinterpret_cast<const uint8_t*>(task.x) + ((2 * pair + i) * t.units + u0) * kTile;
    for (int j = 0; j < tiles; ++j) {
      const int s = 2 * i + j;
      edge[s] = m + 16 > t.m || (tile + j + 1) * 16 > t.n;
      b.sums[s] = edge[s] ? Sums{edges + 256 * s, 64} : Sums{t.y + m * t.y_stride + (tile + j) * 16, t.y_stride * 4};
      if (edge[s] && begin == Begin::Memory) copy_edge(t, m, tile + j, b.sums[s].at, false);
    }
  }
  tiles > 1 ? multiply<true>(b, begin) : multiply<false>(b, begin);
  for (int s = 0; s < 4; ++s)
    if (edge[s]) copy_edge(t, pair * 32 + s / 2 * 16, tile + s % 2, b.sums[s].at, true);
}

}  // namespace

void packed_bf16(const PackedBf16Task& task, int64_t pair0, int64_t pair1, int64_t tile0, int64_t tile1,
                 void* scratch) {
  const PackedTask& t = task.packed;
  auto* w = static_cast<uint8_t*>(scratch);
  auto* edges = reinterpret_cast<float*>(w + 2 * kBf16PartUnits * kTile);
  const int64_t fitting = kChunkBytes / (t.units * 2 * kTile), chunk = fitting < 1 ? 1 : fitting;
  configure();
  for (int64_t begin = pair0; begin < pair1; begin += chunk) {
    const int64_t end = begin + chunk < pair1 ? begin + chunk : pair1;
    for (int64_t tile = tile0; tile < tile1; tile += 2) {
      const int tiles = tile + 1 < tile1 ? 2 : 1;
      for (int64_t u0 = 0; u0 < t.units; u0 += kBf16PartUnits) {
        const int64_t u1 = u0 + kBf16PartUnits < t.units ? u0 + kBf16PartUnits : t.units;
        for (int j = 0; j < tiles; ++j) expand(t, tile + j, u0, u1, w + j * kBf16PartUnits * kTile);
        for (int64_t pair = begin; pair < end; ++pair) run_block(task, pair, tile, tiles, u0, u1, w, edges);
      }
    }
  }
  tile_release();
}

void round_tile(const float* x, int64_t x_stride, int64_t rows, int64_t k, int64_t tile, uint16_t* y) {
  const int64_t units = (k + 31) / 32;
  y += tile * units * 512;
  for (int64_t r = 0; r < 16; ++r) {
    const int64_t row = tile * 16 + r, length = row < rows ? k : 0;
    const float* from = x + (row < rows ? row * x_stride : 0);
    for (int64_t u = 0; u < units; ++u) {
      const int64_t left = length - u * 32;
      const F a = load(from + u * 32, left), b = load(from + u * 32 + 16, left - 16);
      _mm512_store_si512(y + u * 512 + r * 32, (I)_mm512_cvtne2ps_pbh(b, a));
    }
  }
}

}  // namespace halftone::kernels::amx
