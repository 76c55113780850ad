// What the per-ISA translation units of the packed GEMM see: plain data and function pointers, nothing whose code the
// linker could merge between instruction sets.
#pragma once

#include <cstdint>

#include "numerics/formats.h"

namespace halftone::kernels {

/// A packed GEMM with all defaults resolved; see kernels/api/packed_gemm.h for the arrays.
struct PackedTask {
  int64_t m, n, k;
  ElementType weight;
  bool grouped;      ///< a scale a group: f16, or with `super` i8 times an f16 of its super-group
  bool super;        ///< f16 scales of kSuperGroup elements
  bool two_level;    ///< u8 scale a group, f32 scale a row
  bool byte_scales;  ///< a scale a group of one byte: E4M3, or with `power_scales` E8M0
  bool power_scales;
  bool unit_scales;  ///< activations have a scale every 32 inputs
  int64_t units;
  int64_t groups;       ///< 1 where a row has one scale
  int64_t group_units;  ///< units of a group, `units` where a row has one scale; 1 for groups of half a unit
  bool half_units;      ///< groups of 16 elements, with `super` or `byte_scales` only
  const uint8_t* codes;
  int64_t unit_bytes;  ///< not for Ternary, whose units share lines
  int64_t tile_bytes;
  const int8_t* values;  ///< [16] that Int4 codes index, or null; then row_scales multiply group scales too
  const uint16_t* scales;
  const float* row_scales;
  const uint8_t* group_scales;
  const uint16_t* mins;  ///< or null: none
  const uint8_t* group_mins;
  int64_t super_groups;      ///< of a row
  int64_t groups_per_super;  ///< 8 or 16
  const uint8_t* zeros;      ///< or null: `zero` for all
  int zero;
  const int8_t* x;
  int64_t x_stride;
  const float* x_scales;
  const int32_t* x_sums;
  const float* bias;
  float* y;
  int64_t y_stride;
  bool accumulate;
};

inline constexpr int64_t kMaxFewTokens = 8;

/// Tokens [m0, m1) against the weight tiles [tile0, tile1); `scratch` is the calling thread's own, 64-byte aligned.
using PackedRange = void (*)(const PackedTask& task, int64_t m0, int64_t m1, int64_t tile0, int64_t tile1,
                             void* scratch);

/// One row or unit of 32: codes, its scale, sums of units; false where x holds a NaN or an infinity (codes 0, scale
/// NaN).
struct QuantizeActivationRow {
  bool (*by_row)(const float* x, int64_t k, int8_t* codes, int64_t code_stride, float* scales, int32_t* sums);
  bool (*by_unit)(const float* x, int64_t k, int8_t* codes, int64_t code_stride, float* scales, int32_t* sums);
};

namespace avx2 {
void packed_gemm(const PackedTask& task, int64_t m0, int64_t m1, int64_t tile0, int64_t tile1, void* scratch);
extern const QuantizeActivationRow kQuantizeActivation;
}  // namespace avx2
namespace avx512 {
void packed_gemm(const PackedTask& task, int64_t m0, int64_t m1, int64_t tile0, int64_t tile1, void* scratch);
/// For up to kMaxFewTokens with unit scales and symmetric weights with f16 group scales, tiles [tile0, tile1).
/// `scratch` is the calling thread's own; activations are arranged there first unless `arranged`.
void few_tokens(const PackedTask& task, int64_t tile0, int64_t tile1, void* scratch, bool arranged);
extern const QuantizeActivationRow kQuantizeActivation;
}  // namespace avx512
namespace avx512_vbmi {  // ternary weights only
void packed_gemm(const PackedTask& task, int64_t m0, int64_t m1, int64_t tile0, int64_t tile1, void* scratch);
}  // namespace avx512_vbmi
namespace amx {
void packed_gemm(const PackedTask& task, int64_t m0, int64_t m1, int64_t tile0, int64_t tile1, void* scratch);
}  // namespace amx

/// Scratch that the AMX range needs: the signed codes of two tiles of weights, and a ring of tiles of sums.
constexpr int64_t kAmxRingBytes = 8192;
constexpr int64_t amx_scratch_bytes(int64_t units) { return 2 * (units + units % 2) * 512 + kAmxRingBytes; }
/// Scratch of avx512::few_tokens: codes, what sums start with, and scales.
constexpr int64_t few_tokens_bytes(int64_t units) { return units * kMaxFewTokens * (32 + 4 + 4); }

}  // namespace halftone::kernels
