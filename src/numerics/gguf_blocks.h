// The tensor types of GGUF files: ids, sizes, and each block byte by byte. These are layouts of files; storages that
// kernels read are in numerics/formats.h. Types follow the GGUF description (docs/gguf.md of ggml) and its block
// quantisation; MXFP4 follows the OCP Microscaling specification 1.0, section 5.
//
// All fields are little-endian. `d`, `m` and `dmin` are IEEE binary16. Elements of a block are consecutive along K.
// Differs from ggml in two values of MXFP4: the E8M0 scale 255 decodes to NaN, not to 2^128, and the E2M1 code 8 to -0,
// not to 0, both as OCP has it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace halftone {

/// Type ids as stored in a GGUF tensor info. Ids absent here (the IQ and ternary families, run-time types) are not
/// read.
enum class GgufType : uint32_t {
  F32 = 0,
  F16 = 1,
  Q4_0 = 2,
  Q4_1 = 3,
  Q5_0 = 6,
  Q5_1 = 7,
  Q8_0 = 8,
  Q2_K = 10,
  Q3_K = 11,
  Q4_K = 12,
  Q5_K = 13,
  Q6_K = 14,
  I8 = 24,
  I16 = 25,
  I32 = 26,
  I64 = 27,
  F64 = 28,
  BF16 = 30,
  MXFP4 = 39,
};

struct GgufTypeInfo {
  GgufType type;
  std::string_view name;
  int block_elements;
  int block_bytes;
};

// A group of 32 elements. Byte j of `qs` holds element j in its low nibble and element j + 16 in its high nibble.

/// x = d * (q - 8).                       |d d|qs 16 bytes|
struct Q4_0Block {
  uint16_t d;
  uint8_t qs[16];
};
/// x = d * q + m.                         |d d|m m|qs 16 bytes|
struct Q4_1Block {
  uint16_t d, m;
  uint8_t qs[16];
};
/// x = d * (q - 16); bit j of qh is bit 4 of element j.     |d d|qh 4 bytes|qs 16 bytes|
struct Q5_0Block {
  uint16_t d;
  uint8_t qh[4];
  uint8_t qs[16];
};
/// x = d * q + m; qh as in Q5_0.          |d d|m m|qh 4 bytes|qs 16 bytes|
struct Q5_1Block {
  uint16_t d, m;
  uint8_t qh[4];
  uint8_t qs[16];
};
/// x = d * q.                             |d d|qs 32 signed bytes|
struct Q8_0Block {
  uint16_t d;
  int8_t qs[32];
};
/// x = E2M1(q) * 2^(e - 127), E2M1 codes 0..7 = 0, .5, 1, 1.5, 2, 3, 4, 6 and bit 3 the sign.     |e|qs 16 bytes|
struct Mxfp4Block {
  uint8_t e;
  uint8_t qs[16];
};

// A group of 256 elements, in halves of 128. "Run" counts consecutive elements that share a scale.

/// Runs of 16: x = d * (s & 15) * q - dmin * (s >> 4). In half h, bits 2p, 2p+1 of qs[32h + l] hold element
/// 128h + 32p + l, l = 0..31.             |scales 16 bytes|qs 64 bytes|d d|dmin dmin|
struct Q2_KBlock {
  uint8_t scales[16];
  uint8_t qs[64];
  uint16_t d, dmin;
};
/// Runs of 16: x = d * (s - 32) * q. Low two bits of q as in Q2_K; q is 4 less unless bit 4h + p of hmask[l] is set.
/// Scales have 6 bits: low nibbles in scales[0..7] (run j < 8 low, run j - 8 high), upper two bits of run j in bits
/// 2(j / 4) of scales[8 + j % 4].         |hmask 32 bytes|qs 64 bytes|scales 12 bytes|d d|
struct Q3_KBlock {
  uint8_t hmask[32];
  uint8_t qs[64];
  uint8_t scales[12];
  uint16_t d;
};
/// Runs of 32: x = d * s * q - dmin * m. Runs 2i (low nibbles) and 2i + 1 (high nibbles) share qs[32i .. 32i + 31].
/// (s, m) of run j < 4: the low 6 bits of scales[j], scales[j + 4]. Of run j >= 4: the low and high nibble of
/// scales[j + 4], above them the top two bits of scales[j - 4], scales[j].     |d d|dmin dmin|scales 12 bytes|qs 128
/// bytes|
struct Q4_KBlock {
  uint16_t d, dmin;
  uint8_t scales[12];
  uint8_t qs[128];
};
/// As Q4_K; bit j of qh[l] is bit 4 of element l of run j.     |d d|dmin dmin|scales 12 bytes|qh 32 bytes|qs 128 bytes|
struct Q5_KBlock {
  uint16_t d, dmin;
  uint8_t scales[12];
  uint8_t qh[32];
  uint8_t qs[128];
};
/// Runs of 16: x = d * s * (q - 32). In half h, element 128h + 32p + l has its low nibble in ql[64h + 32(p % 2) + l]
/// (low for p < 2, high otherwise) and bits 4, 5 in bits 2p, 2p+1 of qh[32h + l].
///                                        |ql 128 bytes|qh 64 bytes|scales 16 signed bytes|d d|
struct Q6_KBlock {
  uint8_t ql[128];
  uint8_t qh[64];
  int8_t scales[16];
  uint16_t d;
};

static_assert(sizeof(Q4_0Block) == 18 && sizeof(Q4_1Block) == 20 && sizeof(Q5_0Block) == 22 && sizeof(Q5_1Block) == 24);
static_assert(sizeof(Q8_0Block) == 34 && sizeof(Mxfp4Block) == 17 && sizeof(Q2_KBlock) == 84);
static_assert(sizeof(Q3_KBlock) == 110 && sizeof(Q4_KBlock) == 144 && sizeof(Q5_KBlock) == 176);
static_assert(sizeof(Q6_KBlock) == 210);

inline constexpr std::array kGgufTypes = {
    GgufTypeInfo{GgufType::F32, "F32", 1, 4},
    GgufTypeInfo{GgufType::F16, "F16", 1, 2},
    GgufTypeInfo{GgufType::Q4_0, "Q4_0", 32, sizeof(Q4_0Block)},
    GgufTypeInfo{GgufType::Q4_1, "Q4_1", 32, sizeof(Q4_1Block)},
    GgufTypeInfo{GgufType::Q5_0, "Q5_0", 32, sizeof(Q5_0Block)},
    GgufTypeInfo{GgufType::Q5_1, "Q5_1", 32, sizeof(Q5_1Block)},
    GgufTypeInfo{GgufType::Q8_0, "Q8_0", 32, sizeof(Q8_0Block)},
    GgufTypeInfo{GgufType::Q2_K, "Q2_K", 256, sizeof(Q2_KBlock)},
    GgufTypeInfo{GgufType::Q3_K, "Q3_K", 256, sizeof(Q3_KBlock)},
    GgufTypeInfo{GgufType::Q4_K, "Q4_K", 256, sizeof(Q4_KBlock)},
    GgufTypeInfo{GgufType::Q5_K, "Q5_K", 256, sizeof(Q5_KBlock)},
    GgufTypeInfo{GgufType::Q6_K, "Q6_K", 256, sizeof(Q6_KBlock)},
    GgufTypeInfo{GgufType::I8, "I8", 1, 1},
    GgufTypeInfo{GgufType::I16, "I16", 1, 2},
    GgufTypeInfo{GgufType::I32, "I32", 1, 4},
    GgufTypeInfo{GgufType::I64, "I64", 1, 8},
    GgufTypeInfo{GgufType::F64, "F64", 1, 8},
    GgufTypeInfo{GgufType::BF16, "BF16", 1, 2},
    GgufTypeInfo{GgufType::MXFP4, "MXFP4", 32, sizeof(Mxfp4Block)},
};

/// The row of `type`, or nullptr for an id that we do not read.
constexpr const GgufTypeInfo* find_gguf_type(uint32_t id) {
  for (const GgufTypeInfo& info : kGgufTypes)
    if (static_cast<uint32_t>(info.type) == id) return &info;
  return nullptr;
}

/// Bytes of `elements` elements; `elements` must be a multiple of the type's block.
constexpr int64_t gguf_bytes(GgufType type, int64_t elements) {
  const GgufTypeInfo* info = find_gguf_type(static_cast<uint32_t>(type));
  return elements / info->block_elements * info->block_bytes;
}

/// "Q4_0" and so on.
constexpr std::string_view to_string(GgufType type) {
  const GgufTypeInfo* info = find_gguf_type(static_cast<uint32_t>(type));
  return info == nullptr ? "unknown" : info->name;
}

/// Inverse of to_string; throws InvalidArgument naming the accepted values.
GgufType parse_gguf_type(std::string_view name);

/// Decodes `elements` values of any type in kGgufTypes.
/// src  gguf_bytes(type, elements) bytes, any alignment;  out  [elements] f32.
/// Each value is the formula above in float32 arithmetic, left to right, so it has the bits of ggml's scalar code;
/// wider types (I32, I64, F64) round to nearest. Throws InvalidArgument when `elements` is negative or not whole
/// blocks.
void decode_blocks(GgufType type, const std::byte* src, int64_t elements, float* out);

/// A type whose values are codes with scales: value = code * (d * scale), and with minimums + m * min, the scale and
/// the minimum exact in f32 and each a run's own.
struct AffineType {
  GgufType type;
  int elements;   ///< of a block
  int run;        ///< elements that share a scale
  bool minimums;  ///< codes count from 0, else around it
};

inline constexpr std::array kAffineTypes = {
    AffineType{GgufType::Q4_0, 32, 32, false},  AffineType{GgufType::Q4_1, 32, 32, true},
    AffineType{GgufType::Q5_0, 32, 32, false},  AffineType{GgufType::Q5_1, 32, 32, true},
    AffineType{GgufType::Q8_0, 32, 32, false},  AffineType{GgufType::Q2_K, 256, 16, true},
    AffineType{GgufType::Q3_K, 256, 16, false}, AffineType{GgufType::Q4_K, 256, 32, true},
    AffineType{GgufType::Q5_K, 256, 32, true},  AffineType{GgufType::Q6_K, 256, 16, false},
};

/// The row of `type`, or nullptr for another one.
constexpr const AffineType* find_affine_type(GgufType type) {
  for (const AffineType& info : kAffineTypes)
    if (info.type == type) return &info;
  return nullptr;
}

/// The integers of a block of an affine type.
struct BlockIntegers {
  uint16_t d = 0, m = 0;        ///< binary16; m is 0 without minimums, and minus dmin for k-quants
  int8_t codes[256] = {};       ///< a block's `elements`
  int8_t scales[16], mins[16];  ///< one a run; 1 where the type has only d and m
};

/// Takes the block at `src`, of any alignment, apart. Throws Unsupported for a type that is not affine.
void unpack_block(GgufType type, const std::byte* src, BlockIntegers& out);

/// Encodes with ggml's reference rules: Q4_0 (d = -extreme/8, q = floor(x/d + 8.5) capped at 15), Q8_0 (d = max|x|/127,
/// halves away from zero), F16 and BF16 (nearest even), F32. K-quants need a search and are not written.
/// src  [elements] f32;  out  gguf_bytes(type, elements) bytes.
/// Throws Unsupported for other types, InvalidArgument for partial blocks, NumericError when a Q4_0 or Q8_0 block holds
/// a NaN or infinity or its scale exceeds binary16.
void encode_blocks(GgufType type, const float* src, int64_t elements, std::byte* out);

}  // namespace halftone
