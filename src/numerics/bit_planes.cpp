// Bit by bit; see bit_planes.h.
#include "numerics/bit_planes.h"

#include <algorithm>

#include "base/error.h"

namespace halftone {

void pack_bit_planes(const BitPlanes& planes, const uint8_t* codes, uint64_t* words) {
  if (planes.bits < 1 || planes.bits > 8) throw InvalidArgument("bit planes have 1 to 8 bits, not {}", planes.bits);
  std::fill_n(words, planes.size(), uint64_t{0});
  for (int64_t row = 0; row < planes.rows; ++row)
    for (int64_t i = 0; i < planes.k; ++i) {
      const int code = codes[row * planes.k + i];
      if (code >> planes.bits != 0)
        throw InvalidArgument("code {} of row {}, element {} does not fit {} bits; clamp codes to 0..{}", code, row, i,
                              planes.bits, (1 << planes.bits) - 1);
      for (int plane = 0; plane < planes.bits; ++plane)
        words[planes.index(row, i / kPlaneCodes, plane)] |= static_cast<uint64_t>(code >> plane & 1) << i % kPlaneCodes;
    }
}

void unpack_bit_planes(const BitPlanes& planes, const uint64_t* words, uint8_t* codes) {
  for (int64_t row = 0; row < planes.rows; ++row)
    for (int64_t i = 0; i < planes.k; ++i) {
      int code = 0;
      for (int plane = 0; plane < planes.bits; ++plane)
        code |= static_cast<int>(words[planes.index(row, i / kPlaneCodes, plane)] >> i % kPlaneCodes & 1) << plane;
      codes[row * planes.k + i] = static_cast<uint8_t>(code);
    }
}

void sum_codes(int64_t rows, int64_t k, int64_t group, const uint8_t* codes, int32_t* sums) {
  const int64_t step = group > 0 ? group : k;
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t begin = 0; begin < k; begin += step) {
      int32_t sum = 0;
      for (int64_t i = begin; i < std::min(k, begin + step); ++i) sum += codes[row * k + i];
      *sums++ = sum;
    }
}

}  // namespace halftone
