// y[m, n] = sum_k x[m, k] * w[n, k] + bias[n] in integers: quantised weights interleaved for dot-product and matrix
// instructions (numerics/interleaved.h), activations in int8 with one scale a token or one every 32 inputs.
//
// With c the stored codes, a the activations' codes and G the elements that share both scales:
//   y = sum_G s_w[n, G] * s_x[m, G] * ( sum_{k in G} c a - zero[n, G] * sum_{k in G} a )
// or, with minimums instead of zero points (value = c * s_w + min),
//   y = sum_G s_x[m, G] * ( s_w[n, G] * sum_{k in G} c a + min[n, G] * sum_{k in G} a )
// Sums of integers are exact int32. Every entry does the same float arithmetic in the order of K, so all instruction
// sets give the same bits, for any M, thread count and position in the batch:
//   fold of a unit   y = fma(sum * s_w, s_x, y); with minimums y = fma(fma(sum, s_w, min * sum_a), s_x, y)
//   fold of a group  (a scale a token) y = fma(sum, s_w, y), after y = fma(min, sum_a, y); times s_x at the end
// Listed codes stand for c = values[code], so that E2M1 runs in integers as its doubled values; the half is in the row
// scales, which multiply at the end, as does a tensor's scale above scales of one byte (NVFP4).
// Where neither scale changes along K the whole sum is exact. ggml rounds min's s_x * sum_a to f16 for Q4_1 and Q5_1
// (its Q8_1 blocks); here the sum stays exact.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "kernels/api/elementwise.h"
#include "kernels/api/gemm.h"
#include "kernels/api/table.h"
#include "numerics/formats/element_format.h"
#include "numerics/interleaved.h"

namespace halftone::kernels {

/// What shares a scale of the activations.
enum class ActivationScales : uint8_t {
  Row,   ///< a token: scale = max|x| / 127
  Unit,  ///< 32 inputs, the scale rounded to f16: exactly ggml's Q8_0 blocks
};

std::string_view to_string(ActivationScales scales);

struct PackedGemmProblem {
  int64_t m = 1;
  int64_t n = 0;
  int64_t k = 0;
  ElementType weight = ElementType::Int4;   ///< Int8, Int4, Int3, Int2; Ternary: symmetric, Row or Group
  ScaleLayout scales = ScaleLayout::Group;  ///< Row, Group, SuperGroup, or TwoLevel (not Int8)
  int64_t group = 32;        ///< a multiple of 32 (the last may be short); 16 or 32 with SuperGroup; 0 with Row
  bool zero_points = false;  ///< else the zero code is 128, 8, 4 or 2; with SuperGroup never
  bool minimums = false;  ///< Group and SuperGroup without zero points: the zero code is 0 (Int8: 128), and a minimum
                          ///< is added
  bool listed = false;    ///< Int4 codes index 16 values; Row or Group, neither zero points nor minimums
  const ElementFormat* scale_format = nullptr;  ///< listed, Group: scales are bytes, kE8m0 or kE4m3 (groups of 16 too)
  ActivationScales activations = ActivationScales::Row;
};

std::string to_string(const PackedGemmProblem& problem);

/// Interleaved weights; codes 64-byte aligned.
struct PackedWeightView {
  const uint8_t* codes = nullptr;     ///< interleaved_bytes(weight, N, K)
  const uint16_t* scales = nullptr;   ///< f16 [tiles][groups][16] for Group, [tiles][super-groups][16] for SuperGroup
  const float* row_scales = nullptr;  ///< [tiles * 16], Row, TwoLevel and all listed codes
  /// [tiles][groups][16]. TwoLevel: unsigned, code * scale < 256, and code - zero, times it, fits int8. SuperGroup: i8.
  /// With a scale_format: its codes.
  const uint8_t* group_scales = nullptr;
  const uint8_t* zeros = nullptr;       ///< [tiles][groups][16] codes that mean zero; null when symmetric
  const uint16_t* mins = nullptr;       ///< f16, as `scales`; with minimums only
  const uint8_t* group_mins = nullptr;  ///< i8 [tiles][groups][16], SuperGroup with minimums only
  const int8_t* values = nullptr;       ///< [16] in -16 .. 15, what listed codes stand for
};

inline constexpr int kLeastListed = -16, kMostListed = 15;

/// int8 activations, as quantize_activations makes them: codes in -127..127.
struct PackedActivationView {
  const int8_t* codes = nullptr;  ///< [M, code_stride], zero past K
  int64_t code_stride = 0;        ///< a multiple of 64, >= K
  const float* scales = nullptr;  ///< [M] for Row, [M, units] for Unit
  const int32_t* sums = nullptr;  ///< [M, units] sums of a unit's codes
};

struct PackedGemmArgs {
  PackedActivationView x;
  PackedWeightView w;
  const float* bias = nullptr;  ///< [N] or null
  float* y = nullptr;           ///< [M, N], rows `y_stride` apart
  int64_t y_stride = 0;
  bool accumulate = false;  ///< y += the product and its bias, rounded to f32 before
};

/// Every entry of this build, best first, the double reference last.
KernelTable<PackedGemmProblem, PackedGemmArgs> packed_gemm_table();

/// Runs the first entry that supports `problem`. Throws InvalidArgument for malformed problems or missing pointers.
void packed_gemm(ExecContext& context, const PackedGemmProblem& problem, const PackedGemmArgs& args);

/// x -> int8 codes: code = x * (127 / max|x|) rounded half to even over the row or unit; an all-zero one has codes and
/// scale 0. Unit scales are rounded to f16 (and kept below its largest value) after the codes were made, as ggml does.
///
/// What stands before the product may be done on the way, with the bits of its own kernel: the RMSNorm of x, or
/// act(x) * up.
struct QuantizeActivationsProblem {
  int64_t rows = 0;
  int64_t k = 0;
  ActivationScales scales = ActivationScales::Row;
  bool norm = false;
  std::optional<GatedActivation> gated = std::nullopt;  ///< not together with `norm`
};
struct QuantizeActivationsArgs {
  const float* x = nullptr;  ///< [rows, k], rows `x_stride` apart
  int64_t x_stride = 0;
  const float* norm_weight = nullptr;  ///< [k], or null for ones; with `norm` only
  float epsilon = 0;                   ///< with `norm` only
  const float* up = nullptr;           ///< [rows, k], rows `x_stride` apart; with `gated` only
  int8_t* codes = nullptr;             ///< [rows, code_stride]; set to 0 past k
  int64_t code_stride = 0;             ///< a multiple of 64, >= k
  float* scales = nullptr;             ///< [rows], or [rows, units]
  int32_t* sums = nullptr;             ///< [rows, units]
};
std::string to_string(const QuantizeActivationsProblem& problem);
KernelTable<QuantizeActivationsProblem, QuantizeActivationsArgs> quantize_activations_table();
/// A NaN or infinity in what is quantised throws NumericError naming the row.
void quantize_activations(ExecContext& context, const QuantizeActivationsProblem& problem,
                          const QuantizeActivationsArgs& args);

}  // namespace halftone::kernels
