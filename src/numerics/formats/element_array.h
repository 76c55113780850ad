// Whole arrays of codes: encode, decode, dense bit packing, and the facts of a format that scales are made from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "numerics/formats/element_codec.h"
#include "numerics/formats/rounding_source.h"

namespace halftone {

/// Codes of `values`, one for each format.dimension numbers; element i draws the bits of (0, i) of `source`.
/// Throws InvalidArgument when the sizes do not fit, and Unsupported for a rounding other than nearest-even with a
/// format whose codes stand for several numbers.
void encode_into(const ElementFormat& format, std::span<const float> values, std::span<uint32_t> codes,
                 const RoundingSource& source = RoundingSource(), Overflow overflow = Overflow::Saturate);
/// Values of `codes`, format.dimension numbers for each; throws InvalidArgument when the sizes do not fit.
void decode_into(const ElementFormat& format, std::span<const uint32_t> codes, std::span<float> values);
/// Throws Unsupported as encode_into does.
void require_rounding(const ElementFormat& format, Rounding rounding);

/// Bytes of `count` codes of `bits` bits without gaps.
constexpr int64_t packed_bytes(int bits, int64_t count) { return (count * bits + 7) / 8; }
/// Codes as one little-endian stream of bits: code i takes bits i * bits and up, so that the low nibble of a byte holds
/// the even one of two FP4 codes, and 4 FP6 codes take 3 bytes. The last byte's unused bits are 0.
/// Throws InvalidArgument when `packed` has not packed_bytes(bits, codes.size()) bytes or bits is not 1 .. 32.
void pack_bits(int bits, std::span<const uint32_t> codes, std::span<uint8_t> packed);
/// Inverse of pack_bits.
void unpack_bits(int bits, std::span<const uint8_t> packed, std::span<uint32_t> codes);

/// Largest and lowest finite value that encoding produces (over all components of a codebook).
float largest_value(const ElementFormat& format);
float lowest_value(const ElementFormat& format);
/// Smallest positive value with a full mantissa, and smallest positive value; 0 where there is no such thing.
float smallest_normal(const ElementFormat& format);
float smallest_positive(const ElementFormat& format);
/// Whether a code stands for 0, in all components.
bool has_zero(const ElementFormat& format);
/// The magnitude reached with either sign: the smaller of largest and -lowest, or the larger where only one sign
/// exists. What a scale maps the largest magnitude of a block to.
float symmetric_limit(const ElementFormat& format);

}  // namespace halftone
