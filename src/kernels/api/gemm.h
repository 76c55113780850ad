// y[m, n] = sum_k x[m, k] * w[n, k] + bias[n] with f32 activations, for every weight storage of the library;
// packed_gemm.h has the one with int8 activations.
//
// Promise of every entry: an output depends on its own row of x and row of w alone, summed in an order fixed by K and
// the entry: the same bits come out for any M, any number of threads and any position in the batch (prefill equals
// decode).
#pragma once

#include <cstdint>
#include <string>

#include "kernels/api/table.h"
#include "numerics/formats.h"
#include "numerics/formats/element_format.h"

namespace halftone::kernels {

/// How the scales of a weight matrix are laid out.
enum class ScaleLayout : uint8_t {
  None,        ///< floating-point weights
  Row,         ///< scales [N, 1] f32
  Group,       ///< scales [N, ceil(K/group)] f32: value = (code - zero) * scale
  TwoLevel,    ///< row scales [N, 1] f32 times integer group scales [N, ceil(K/group)] u8 (QoQ, arXiv:2405.04532
               ///< section 4.1)
  SuperGroup,  ///< packed_gemm.h only: an f16 scale every 256 elements times an integer scale a group
};

std::string_view to_string(ScaleLayout layout);

/// What is multiplied: the printable key by which entries are chosen.
struct GemmProblem {
  int64_t m = 1;
  int64_t n = 0;
  int64_t k = 0;
  ElementType weight = ElementType::Float32;
  ScaleLayout scales = ScaleLayout::None;
  int64_t group = 0;         ///< elements along K that share a scale; the last group may be short; 0 without groups
  bool zero_points = false;  ///< asymmetric codes
  bool minimums = false;     ///< Group only, no zero points: value = code * scale + minimum; Int8 codes signed
  /// What codes in the layout of `weight` (Int2, Int4 or Int8) are worth, where they are no plain integers; of
  /// element_format.h, with Row or Group scales and no minimums: value = (decode(code) - zero) * scale. Int2 and Int4
  /// layouts take formats of up to 2 and 4 bits, Int8 floats of 5 to 8 bits with the sign in bit 7.
  const ElementFormat* format = nullptr;
  bool scale_codes = false;  ///< Group scales are bytes that index a table
};

std::string to_string(const GemmProblem& problem);

/// Weights in the layouts of numerics/formats.h. Rows follow each other without gaps.
struct WeightView {
  const void* codes = nullptr;            ///< [N, row_bytes(weight, K)]
  const float* scales = nullptr;          ///< [N, 1] or [N, groups]; null for ScaleLayout::None
  const uint8_t* group_scales = nullptr;  ///< [N, groups], 1..16, TwoLevel only
  const uint8_t* zeros = nullptr;         ///< [N, groups] codes that mean zero; null when symmetric
  const float* mins = nullptr;            ///< [N, groups] with minimums, else null
  const uint8_t* scale_codes = nullptr;   ///< [N, groups] with scale_codes: the scale is scales[code], scales [256]
};

struct ActivationView {
  const float* values = nullptr;  ///< [M, K], rows `stride` apart
  int64_t stride = 0;
};

struct GemmArgs {
  ActivationView x;
  WeightView w;
  const float* bias = nullptr;  ///< [N] or null
  float* y = nullptr;           ///< [M, N], rows `y_stride` apart
  int64_t y_stride = 0;
};

/// Every GEMM entry of this build, best first, the double reference last.
KernelTable<GemmProblem, GemmArgs> gemm_table();

/// Runs the first entry that supports `problem`. Throws InvalidArgument for sizes below 1 or a missing pointer.
void gemm(ExecContext& context, const GemmProblem& problem, const GemmArgs& args);

}  // namespace halftone::kernels
