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
  bool unit_scales;  ///< activations have a scale every 32 inputs
  int64_t units;
  int64_t groups;       ///< 1 where a row has one scale
  int64_t group_units;  ///< units of a group, `units` where a row has one scale; 1 for groups of half a unit
  bool half_units;      ///< groups of 16 elements, with `super` only
  const uint8_t* codes;
  int64_t unit_bytes;
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
};

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
extern const QuantizeActivationRow kQuantizeActivation;
}  // namespace avx512
namespace amx {
void packed_gemm(const PackedTask& task, int64_t m0, int64_t m1, int64_t tile0, int64_t tile1, void* scratch);
/// For up to 8 tokens with unit scales and symmetric weights with group scales: the activations are arranged once,
/// then weight tiles [tile0, tile1) meet them; `rings` is the calling thread's own.
void arrange_few_tokens(const PackedTask& task, void* arranged);
void few_tokens(const PackedTask& task, int64_t tile0, int64_t tile1, void* arranged, void* rings);
}  // namespace amx

/// Scratch that the AMX range needs: the signed codes of two tiles of weights, and a ring of tiles of sums.
constexpr int64_t kAmxRingBytes = 8192;
constexpr int64_t amx_scratch_bytes(int64_t units) { return 2 * (units + units % 2) * 512 + kAmxRingBytes; }
/// Scratch of amx::few_tokens: a thread's rings of weights and sums; left operands of two products and scales for every
/// 4 units.
constexpr int64_t kFewTokensRingBytes = 16384;
constexpr int64_t few_tokens_arranged_bytes(int64_t units) { return (units + 3) / 4 * (2048 + 128); }

}  // namespace halftone::kernels
