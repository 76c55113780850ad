// Codes of one row to bytes and back, in the layouts of formats.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "numerics/formats.h"

namespace halftone {

/// Packs `codes` (one byte a code: signed for Int8, else unsigned) into row_bytes(type, codes.size()) bytes.
void pack_codes(ElementType type, std::span<const uint8_t> codes, uint8_t* packed);
/// Inverse of pack_codes for a row of codes.size() elements.
void unpack_codes(ElementType type, const uint8_t* packed, std::span<uint8_t> codes);

}  // namespace halftone
