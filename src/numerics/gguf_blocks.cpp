// Decoders of GGUF blocks: integers first, a function a type, then floats in the operation order of ggml's reference
// code, one function for all; see gguf_blocks.h. Subtracting dmin * min is adding its negative, bit for bit. Every
// block is copied to a local first: blocks in a file have no alignment. Loops have fixed counts and no branches, so
// that the compiler vectorises them.
#include "numerics/gguf_blocks.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "base/error.h"
#include "numerics/half.h"

namespace halftone {
namespace {

constexpr uint16_t kHalfSign = 0x8000;

void unpack_nibbles(const uint8_t (&qs)[16], int zero, int8_t* codes) {
  for (int j = 0; j < 16; ++j) codes[j] = static_cast<int8_t>((qs[j] & 15) - zero);
  for (int j = 0; j < 16; ++j) codes[j + 16] = static_cast<int8_t>((qs[j] >> 4) - zero);
}

void unpack_five_bits(const uint8_t (&qh)[4], const uint8_t (&qs)[16], int zero, int8_t* codes) {
  const uint32_t high = qh[0] | uint32_t{qh[1]} << 8 | uint32_t{qh[2]} << 16 | uint32_t{qh[3]} << 24;
  for (int j = 0; j < 16; ++j) codes[j] = static_cast<int8_t>(((qs[j] & 15) | (high >> j & 1) << 4) - zero);
  for (int j = 0; j < 16; ++j) codes[j + 16] = static_cast<int8_t>(((qs[j] >> 4) | (high >> (j + 16) & 1) << 4) - zero);
}

void unpack(const Q4_0Block& b, BlockIntegers& out) { unpack_nibbles(b.qs, 8, out.codes); }

void unpack(const Q4_1Block& b, BlockIntegers& out) {
  out.m = b.m;
  unpack_nibbles(b.qs, 0, out.codes);
}

void unpack(const Q5_0Block& b, BlockIntegers& out) { unpack_five_bits(b.qh, b.qs, 16, out.codes); }

void unpack(const Q5_1Block& b, BlockIntegers& out) {
  out.m = b.m;
  unpack_five_bits(b.qh, b.qs, 0, out.codes);
}

void unpack(const Q8_0Block& b, BlockIntegers& out) { std::memcpy(out.codes, b.qs, sizeof b.qs); }

void unpack(const Q2_KBlock& b, BlockIntegers& out) {
  out.m = b.dmin ^ kHalfSign;
  for (int run = 0; run < 16; ++run) {
    out.scales[run] = static_cast<int8_t>(b.scales[run] & 15);
    out.mins[run] = static_cast<int8_t>(b.scales[run] >> 4);
    const uint8_t* qs = b.qs + run / 8 * 32 + run % 2 * 16;
    const int shift = run % 8 / 2 * 2;
    for (int l = 0; l < 16; ++l) out.codes[run * 16 + l] = static_cast<int8_t>(qs[l] >> shift & 3);
  }
}

void unpack(const Q3_KBlock& b, BlockIntegers& out) {
  for (int run = 0; run < 16; ++run) {
    const int low = b.scales[run % 8] >> (run / 8 * 4) & 15;
    const int high = b.scales[8 + run % 4] >> (run / 4 * 2) & 3;
    out.scales[run] = static_cast<int8_t>((low | high << 4) - 32);
    const uint8_t* qs = b.qs + run / 8 * 32 + run % 2 * 16;
    const uint8_t* hmask = b.hmask + run % 2 * 16;
    const int shift = run % 8 / 2 * 2;
    for (int l = 0; l < 16; ++l)
      out.codes[run * 16 + l] = static_cast<int8_t>((qs[l] >> shift & 3) - ((hmask[l] >> (run / 2) & 1) ^ 1) * 4);
  }
}

/// The six-bit scales and minimums of Q4_K and Q5_K.
template <class Block>
void unpack_k_scales(const Block& b, BlockIntegers& out) {
  const uint8_t* s = b.scales;
  for (int j = 0; j < 8; ++j) {
    out.scales[j] = static_cast<int8_t>(j < 4 ? s[j] & 63 : (s[j + 4] & 15) | s[j - 4] >> 6 << 4);
    out.mins[j] = static_cast<int8_t>(j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | s[j] >> 6 << 4);
  }
  out.m = b.dmin ^ kHalfSign;
}

void unpack(const Q4_KBlock& b, BlockIntegers& out) {
  unpack_k_scales(b, out);
  for (int run = 0; run < 8; ++run) {
    const uint8_t* qs = b.qs + run / 2 * 32;
    const int shift = run % 2 * 4;
    for (int l = 0; l < 32; ++l) out.codes[run * 32 + l] = static_cast<int8_t>(qs[l] >> shift & 15);
  }
}

void unpack(const Q5_KBlock& b, BlockIntegers& out) {
  unpack_k_scales(b, out);
  for (int run = 0; run < 8; ++run) {
    const uint8_t* qs = b.qs + run / 2 * 32;
    const int shift = run % 2 * 4;
    for (int l = 0; l < 32; ++l)
      out.codes[run * 32 + l] = static_cast<int8_t>((qs[l] >> shift & 15) | (b.qh[l] >> run & 1) << 4);
  }
}

void unpack(const Q6_KBlock& b, BlockIntegers& out) {
  for (int run = 0; run < 16; ++run) {
    out.scales[run] = b.scales[run];
    const int part = run % 8 / 2;
    const uint8_t* ql = b.ql + run / 8 * 64 + part % 2 * 32 + run % 2 * 16;
    const uint8_t* qh = b.qh + run / 8 * 32 + run % 2 * 16;
    const int low_shift = part / 2 * 4, high_shift = part * 2;
    for (int l = 0; l < 16; ++l)
      out.codes[run * 16 + l] = static_cast<int8_t>(((ql[l] >> low_shift & 15) | (qh[l] >> high_shift & 3) << 4) - 32);
  }
}

template <GgufType kType, class Block>
void decode_block(const Block& b, float* out) {
  constexpr AffineType kInfo = *find_affine_type(kType);
  BlockIntegers block;
  block.scales[0] = block.mins[0] = 1;
  unpack(b, block);
  const float d = f16_to_f32(b.d), m = f16_to_f32(block.m);
  for (int run = 0; run < kInfo.elements / kInfo.run; ++run) {
    const float scale = d * static_cast<float>(block.scales[run]), least = m * static_cast<float>(block.mins[run]);
    for (int l = run * kInfo.run; l < (run + 1) * kInfo.run; ++l) {
      out[l] = scale * static_cast<float>(block.codes[l]);
      if constexpr (kInfo.minimums) out[l] += least;
    }
  }
}

template <GgufType kType>
void decode_block(const Mxfp4Block& b, float* out) {
  constexpr float kE2m1[16] = {0.f,  .5f,  1.f,  1.5f,  2.f,  3.f,  4.f,  6.f,
                               -0.f, -.5f, -1.f, -1.5f, -2.f, -3.f, -4.f, -6.f};
  const float scale = b.e == 255 ? std::numeric_limits<float>::quiet_NaN() : std::ldexp(1.0f, b.e - 127);
  for (int j = 0; j < 16; ++j) out[j] = scale * kE2m1[b.qs[j] & 15];
  for (int j = 0; j < 16; ++j) out[j + 16] = scale * kE2m1[b.qs[j] >> 4];
}

template <class Block>
void unpack_at(const std::byte* src, BlockIntegers& out) {
  Block block;
  std::memcpy(&block, src, sizeof block);
  out.d = block.d, out.m = 0;
  std::fill_n(out.scales, std::size(out.scales), int8_t{1});
  std::fill_n(out.mins, std::size(out.mins), int8_t{1});
  unpack(block, out);
}

template <GgufType kType, class Block>
void decode_all(const std::byte* src, int64_t elements, float* out) {
  constexpr int kElements = find_gguf_type(static_cast<uint32_t>(kType))->block_elements;
  for (int64_t i = 0; i < elements; i += kElements, src += sizeof(Block)) {
    Block block;
    std::memcpy(&block, src, sizeof block);
    decode_block<kType>(block, out + i);
  }
}

template <class Stored, class Convert>
void convert_all(const std::byte* src, int64_t elements, float* out, Convert convert) {
  for (int64_t i = 0; i < elements; ++i) {
    Stored value;
    std::memcpy(&value, src + i * static_cast<int64_t>(sizeof value), sizeof value);
    out[i] = convert(value);
  }
}

template <class Stored>
void cast_all(const std::byte* src, int64_t elements, float* out) {
  convert_all<Stored>(src, elements, out, [](Stored value) { return static_cast<float>(value); });
}

void check_whole_blocks(GgufType type, int64_t elements) {
  const GgufTypeInfo* info = find_gguf_type(static_cast<uint32_t>(type));
  if (info == nullptr)
    throw Unsupported("GGUF tensor type id {} is not one that halftone reads", static_cast<uint32_t>(type));
  if (elements < 0 || elements % info->block_elements != 0)
    throw InvalidArgument("{} elements are not whole {} blocks: pass a multiple of {}", elements, info->name,
                          info->block_elements);
}

[[noreturn]] void throw_bad_block(GgufType type, int64_t first, float value) {
  throw NumericError(
      "cannot encode elements {}..{} as {}: largest magnitude {}, which is not finite or needs a scale "
      "beyond binary16; store the tensor as F32 or BF16",
      first, first + 31, to_string(type), value);
}

/// The value of largest magnitude with its sign, the first of equals; NaN when the block has one.
float extreme_of(const float* x, int count) {
  float extreme = 0;
  for (int j = 0; j < count; ++j) {
    if (std::isnan(x[j])) return x[j];
    if (std::fabs(x[j]) > std::fabs(extreme)) extreme = x[j];
  }
  return extreme;
}

/// The scale as stored, and 1 / scale before it was rounded (0 for a block of zeros), which ggml quantises with.
struct StoredScale {
  uint16_t stored;
  float inverse;
};

StoredScale store_scale(GgufType type, float extreme, float divisor, int64_t first) {
  const float d = extreme / divisor;
  const uint16_t stored = f32_to_f16(d);
  if (!std::isfinite(f16_to_f32(stored))) throw_bad_block(type, first, extreme);
  const float inverse = d != 0 ? 1.0f / d : 0.0f;
  // A block of float32 subnormals has a scale whose inverse overflows; it is zeros in binary16.
  return {stored, std::isfinite(inverse) ? inverse : 0.0f};
}

void encode_q4_0(const float* src, int64_t elements, std::byte* out) {
  for (int64_t i = 0; i < elements; i += 32, out += sizeof(Q4_0Block)) {
    const auto [stored, inverse] = store_scale(GgufType::Q4_0, extreme_of(src + i, 32), -8.0f, i);
    const auto code = [&](float x) { return std::min(15, static_cast<int>(x * inverse + 8.5f)); };
    Q4_0Block block;
    block.d = stored;
    for (int j = 0; j < 16; ++j) block.qs[j] = static_cast<uint8_t>(code(src[i + j]) | code(src[i + j + 16]) << 4);
    std::memcpy(out, &block, sizeof block);
  }
}

void encode_q8_0(const float* src, int64_t elements, std::byte* out) {
  for (int64_t i = 0; i < elements; i += 32, out += sizeof(Q8_0Block)) {
    const auto [stored, inverse] = store_scale(GgufType::Q8_0, std::fabs(extreme_of(src + i, 32)), 127.0f, i);
    Q8_0Block block;
    block.d = stored;
    for (int j = 0; j < 32; ++j) block.qs[j] = static_cast<int8_t>(std::round(src[i + j] * inverse));
    std::memcpy(out, &block, sizeof block);
  }
}

template <class Convert>
void encode_halves(const float* src, int64_t elements, std::byte* out, Convert convert) {
  for (int64_t i = 0; i < elements; ++i) {
    const uint16_t value = convert(src[i]);
    std::memcpy(out + i * 2, &value, 2);
  }
}

}  // namespace

GgufType parse_gguf_type(std::string_view name) {
  std::string accepted;
  for (const GgufTypeInfo& info : kGgufTypes) {
    if (info.name == name) return info.type;
    accepted += accepted.empty() ? "" : ", ";
    accepted += info.name;
  }
  throw InvalidArgument("unknown GGUF tensor type '{}'; accepted: {}", name, accepted);
}

void decode_blocks(GgufType type, const std::byte* src, int64_t elements, float* out) {
  check_whole_blocks(type, elements);
  switch (type) {
    case GgufType::F32:
      return cast_all<float>(src, elements, out);
    case GgufType::F16:
      return convert_all<uint16_t>(src, elements, out, [](uint16_t v) { return f16_to_f32(v); });
    case GgufType::BF16:
      return convert_all<uint16_t>(src, elements, out, [](uint16_t v) { return bf16_to_f32(v); });
    case GgufType::F64:
      return cast_all<double>(src, elements, out);
    case GgufType::I8:
      return cast_all<int8_t>(src, elements, out);
    case GgufType::I16:
      return cast_all<int16_t>(src, elements, out);
    case GgufType::I32:
      return cast_all<int32_t>(src, elements, out);
    case GgufType::I64:
      return cast_all<int64_t>(src, elements, out);
    case GgufType::Q4_0:
      return decode_all<GgufType::Q4_0, Q4_0Block>(src, elements, out);
    case GgufType::Q4_1:
      return decode_all<GgufType::Q4_1, Q4_1Block>(src, elements, out);
    case GgufType::Q5_0:
      return decode_all<GgufType::Q5_0, Q5_0Block>(src, elements, out);
    case GgufType::Q5_1:
      return decode_all<GgufType::Q5_1, Q5_1Block>(src, elements, out);
    case GgufType::Q8_0:
      return decode_all<GgufType::Q8_0, Q8_0Block>(src, elements, out);
    case GgufType::MXFP4:
      return decode_all<GgufType::MXFP4, Mxfp4Block>(src, elements, out);
    case GgufType::Q2_K:
      return decode_all<GgufType::Q2_K, Q2_KBlock>(src, elements, out);
    case GgufType::Q3_K:
      return decode_all<GgufType::Q3_K, Q3_KBlock>(src, elements, out);
    case GgufType::Q4_K:
      return decode_all<GgufType::Q4_K, Q4_KBlock>(src, elements, out);
    case GgufType::Q5_K:
      return decode_all<GgufType::Q5_K, Q5_KBlock>(src, elements, out);
    case GgufType::Q6_K:
      return decode_all<GgufType::Q6_K, Q6_KBlock>(src, elements, out);
  }
}

void unpack_block(GgufType type, const std::byte* src, BlockIntegers& out) {
  switch (type) {
    case GgufType::Q4_0:
      return unpack_at<Q4_0Block>(src, out);
    case GgufType::Q4_1:
      return unpack_at<Q4_1Block>(src, out);
    case GgufType::Q5_0:
      return unpack_at<Q5_0Block>(src, out);
    case GgufType::Q5_1:
      return unpack_at<Q5_1Block>(src, out);
    case GgufType::Q8_0:
      return unpack_at<Q8_0Block>(src, out);
    case GgufType::Q2_K:
      return unpack_at<Q2_KBlock>(src, out);
    case GgufType::Q3_K:
      return unpack_at<Q3_KBlock>(src, out);
    case GgufType::Q4_K:
      return unpack_at<Q4_KBlock>(src, out);
    case GgufType::Q5_K:
      return unpack_at<Q5_KBlock>(src, out);
    case GgufType::Q6_K:
      return unpack_at<Q6_KBlock>(src, out);
    default:
      throw Unsupported("{} blocks are not integer codes with scales", to_string(type));
  }
}

void encode_blocks(GgufType type, const float* src, int64_t elements, std::byte* out) {
  check_whole_blocks(type, elements);
  switch (type) {
    case GgufType::F32:
      if (elements > 0) std::memcpy(out, src, static_cast<size_t>(elements) * 4);
      return;
    case GgufType::F16:
      return encode_halves(src, elements, out, [](float v) { return f32_to_f16(v); });
    case GgufType::BF16:
      return encode_halves(src, elements, out, [](float v) { return f32_to_bf16(v); });
    case GgufType::Q4_0:
      return encode_q4_0(src, elements, out);
    case GgufType::Q8_0:
      return encode_q8_0(src, elements, out);
    default:
      throw Unsupported("cannot encode {}; write F32, F16, BF16, Q4_0 or Q8_0", to_string(type));
  }
}

}  // namespace halftone
