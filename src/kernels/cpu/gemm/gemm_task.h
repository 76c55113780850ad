// What the per-ISA translation units of the GEMM see: plain data and function pointers, nothing whose code the linker
// could merge between instruction sets.
#pragma once

#include <cstdint>

#include "numerics/formats.h"

namespace halftone::kernels {

/// How weights become floats: the layouts of ElementType, with codes that are integers, that index 4 or 16 listed
/// values, or that are floats of 8 bits.
enum class Coding : uint8_t { Float32, Float16, BFloat16, Int8, Int4, Int3, Int2, Listed4, Listed2, Float8 };

/// A GEMM with all defaults resolved: strides in elements of the pointed-to type,
/// `groups` = 1 where a row has one
/// scale.
struct GemmTask {
  int64_t m, n, k;
  Coding coding;
  bool grouped;    ///< one f32 scale a group
  bool two_level;  ///< one f32 scale a row, one integer scale a group
  int64_t group, groups;
  const uint8_t* codes;
  int64_t row_bytes;
  const float* scales;          ///< [n, groups] when grouped, else [n]
  const uint8_t* group_scales;  ///< [n, groups] when two_level
  const uint8_t* zeros;         ///< [n, groups] or null
  const float* mins;            ///< [n, groups] or null
  const uint8_t* scale_codes;   ///< [n, groups] indices into `scales`, or null
  float values[16];             ///< Listed4, and Listed2 four times over: what the codes are worth
  int float_shift;              ///< Float8: from the magnitude of a code to the bits of an f16 that is worth
  float unit;                   ///< what sums are multiplied with: for Float8 that power of two, else 1
  int default_zero;             ///< the code that means zero when `zeros` is null; Int8 codes counted from 0 (+128)
  const float* x;
  int64_t x_stride;
  const float* bias;
  float* y;
  int64_t y_stride;
  int64_t panel_rows;    ///< weight rows that a panel holds in decoded form, a multiple of 12: whole blocks of any ISA
  int64_t panel_stride;  ///< floats between two of them
};

/// Outputs [m0, m1) x [n0, n1) of a task; `panel` is the calling thread's own, 64-byte aligned.
using GemmRange = void (*)(const GemmTask& task, int64_t m0, int64_t m1, int64_t n0, int64_t n1, float* panel);

namespace avx2 {
void gemm(const GemmTask& task, int64_t m0, int64_t m1, int64_t n0, int64_t n1, float* panel);
}
namespace avx512 {
void gemm(const GemmTask& task, int64_t m0, int64_t m1, int64_t n0, int64_t n1, float* panel);
}

}  // namespace halftone::kernels
