// Microscaling blocks in memory: a scale byte followed by the codes of its elements. MX as in OCP Microscaling 1.0
// (32 elements, E8M0 scale), NVFP4 (16 elements, E4M3 scale times an f32 of the tensor). OCP leaves the arrangement in
// memory open; ours is one little-endian stream of bits (pack_bits), so that the low nibble of a byte is the even
// element of two, as torch's float4_e2m1fn_x2 has it. GGUF's MXFP4 (gguf_blocks.h) keeps elements j and j + 16 together
// instead.
//
//   MxBlock<8>   |scale|32 bytes: one code each|                       33 bytes, 8.25 bits an element
//   MxBlock<6>   |scale|24 bytes: codes 0-3 in the first three, ...|   25 bytes, 6.25
//   MxBlock<4>   |scale|16 bytes: byte j holds elements 2j, 2j + 1|    17 bytes, 4.25
//   Nvfp4Block   |scale| 8 bytes: byte j holds elements 2j, 2j + 1|     9 bytes, 4.5 (and 32 bits a tensor)
//
//   value = element(code) * 2^(scale - 127)         value = e2m1(code) * fl(e4m3(scale) * tensor scale)
//
// A scale of 0xff makes all of an MX block NaN. Rows are blocked one by one; a short last block is filled with code 0.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "numerics/formats/quantized_matrix.h"

namespace halftone {

template <int kBits>
struct MxBlock {
  static constexpr int kElements = 32;
  static constexpr int kCodeBits = kBits;
  uint8_t scale;
  uint8_t codes[kElements * kBits / 8];
};
static_assert(sizeof(MxBlock<8>) == 33 && sizeof(MxBlock<6>) == 25 && sizeof(MxBlock<4>) == 17);

struct Nvfp4Block {
  static constexpr int kElements = 16;
  static constexpr int kCodeBits = 4;
  uint8_t scale;
  uint8_t codes[8];
};
static_assert(sizeof(Nvfp4Block) == 9);

/// The formats that have a name of their own.
struct MicroFormat {
  const char* name;
  ElementFormat element;
  const char* scale;  ///< of kScaleFormats
  int block;
  ScaleRule rule;  ///< the publisher's; ScaleRule::TruncationFree is TetraJet's
};
inline constexpr auto kMicroFormats = std::to_array<MicroFormat>({
    {"mxfp8_e4m3", kE4m3, "e8m0", 32, ScaleRule::OcpFloor},
    {"mxfp8_e5m2", kE5m2, "e8m0", 32, ScaleRule::OcpFloor},
    {"mxfp6_e3m2", kE3m2, "e8m0", 32, ScaleRule::OcpFloor},
    {"mxfp6_e2m3", kE2m3, "e8m0", 32, ScaleRule::OcpFloor},
    {"mxfp4", kE2m1, "e8m0", 32, ScaleRule::OcpFloor},
    {"nvfp4", kE2m1, "e4m3_f32", 16, ScaleRule::AbsMax},
});

/// The micro format of that name, or nullptr.
const MicroFormat* lookup_micro_format(std::string_view name);
/// The same as a matrix format, with its publisher's rule; throws InvalidArgument naming every micro format.
MatrixFormat micro_matrix_format(std::string_view name);
/// ... and with `rule` instead.
MatrixFormat micro_matrix_format(std::string_view name, ScaleRule rule);

/// Blocks of a matrix, row by row: [rows, ceil(columns / Block::kElements)]. The matrix's granularity must be groups of
/// Block::kElements, its codes Block::kCodeBits wide and its inner scales one byte; throws InvalidArgument otherwise.
/// Instances: MxBlock<8>, MxBlock<6>, MxBlock<4>, Nvfp4Block.
template <class Block>
std::vector<Block> to_micro_blocks(const QuantizedMatrix& matrix);
/// Inverse; `outer` as in QuantizedMatrix (the tensor's scale for NVFP4, as the bits of its f32).
template <class Block>
QuantizedMatrix from_micro_blocks(const MatrixFormat& format, int64_t rows, int64_t columns,
                                  std::span<const Block> blocks, std::vector<uint32_t> outer = {});

}  // namespace halftone
