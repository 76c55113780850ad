// Arrays of codes and the facts of formats; see element_array.h.
#include "numerics/formats/element_array.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace halftone {
namespace {

void require_sizes(const ElementFormat& format, size_t values, size_t codes) {
  if (values != codes * static_cast<size_t>(format.dimension))
    throw InvalidArgument("{} values do not match {} codes of {}; a code stands for {} of them", values, codes,
                          format.name, format.dimension);
}

void require_packed(int bits, size_t codes, size_t bytes) {
  if (bits < 1 || bits > 32) throw InvalidArgument("codes of {} bits cannot be packed; 1 to 32 can", bits);
  const int64_t wanted = packed_bytes(bits, static_cast<int64_t>(codes));
  if (static_cast<int64_t>(bytes) != wanted)
    throw InvalidArgument("{} codes of {} bits take {} bytes, got room for {}", codes, bits, wanted, bytes);
}

/// Calls visit(value) for every value that encoding produces; for integers and floats their extremes are enough.
template <class Visit>
void visit_codebook(const ElementFormat& format, Visit visit) {
  const uint32_t size = format.kind == ElementKind::Phase ? 4 : format.codebook_size;
  for (uint32_t code = 0; code < size; ++code)
    for (int i = 0; i < format.dimension; ++i) visit(decode(format, code, i));
}

bool lists_values(const ElementFormat& format) {
  return format.kind == ElementKind::Codebook || format.kind == ElementKind::Phase;
}

}  // namespace

void require_rounding(const ElementFormat& format, Rounding rounding) {
  if (format.dimension > 1 && rounding != Rounding::NearestEven)
    throw Unsupported("rounding {} has no meaning for {}, whose codes stand for {} numbers; use nearest-even",
                      to_string(rounding), format.name, format.dimension);
}

void encode_into(const ElementFormat& format, std::span<const float> values, std::span<uint32_t> codes,
                 const RoundingSource& source, Overflow overflow) {
  require_sizes(format, values.size(), codes.size());
  require_rounding(format, source.rounding());
  const int64_t count = static_cast<int64_t>(codes.size());
  for (int64_t i = 0; i < count; ++i)
    codes[i] = format.dimension > 1 ? encode_vector(format, &values[i * format.dimension])
                                    : encode(format, values[i], source.rounding(), source.bits(0, i, count), overflow);
}

void decode_into(const ElementFormat& format, std::span<const uint32_t> codes, std::span<float> values) {
  require_sizes(format, values.size(), codes.size());
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = decode(format, codes[i / format.dimension], static_cast<int>(i % format.dimension));
}

void pack_bits(int bits, std::span<const uint32_t> codes, std::span<uint8_t> packed) {
  require_packed(bits, codes.size(), packed.size());
  uint64_t waiting = 0;  // bits not yet written, at most 7 + 32
  int count = 0;
  size_t next = 0;
  for (const uint32_t code : codes) {
    waiting |= (code & ((uint64_t{1} << bits) - 1)) << count;
    for (count += bits; count >= 8; count -= 8, waiting >>= 8) packed[next++] = static_cast<uint8_t>(waiting);
  }
  if (count > 0) packed[next] = static_cast<uint8_t>(waiting);
}

void unpack_bits(int bits, std::span<const uint8_t> packed, std::span<uint32_t> codes) {
  require_packed(bits, codes.size(), packed.size());
  uint64_t waiting = 0;
  int count = 0;
  size_t next = 0;
  for (uint32_t& code : codes) {
    for (; count < bits; count += 8) waiting |= uint64_t{packed[next++]} << count;
    code = static_cast<uint32_t>(waiting & ((uint64_t{1} << bits) - 1));
    waiting >>= bits;
    count -= bits;
  }
}

float largest_value(const ElementFormat& format) {
  if (format.kind == ElementKind::Integer) return static_cast<float>(format.max_integer);
  if (!lists_values(format)) return decode(format, element_codec::largest_code(format));
  float largest = -INFINITY;
  visit_codebook(format, [&](float value) { largest = std::max(largest, value); });
  return largest;
}

float lowest_value(const ElementFormat& format) {
  if (format.kind == ElementKind::Integer) return static_cast<float>(format.min_integer);
  if (format.kind == ElementKind::PowerOfTwo) return smallest_positive(format);
  if (!lists_values(format)) return -largest_value(format);
  float lowest = INFINITY;
  visit_codebook(format, [&](float value) { lowest = std::min(lowest, value); });
  return lowest;
}

float smallest_normal(const ElementFormat& format) {
  if (format.is_float()) return decode(format, uint32_t{1} << format.mantissa_bits);
  return format.kind == ElementKind::PowerOfTwo ? decode(format, 0) : 0;
}

float smallest_positive(const ElementFormat& format) {
  if (format.is_float()) return decode(format, 1);
  if (format.kind == ElementKind::PowerOfTwo) return decode(format, 0);
  if (format.kind == ElementKind::Integer) return 1;
  float smallest = INFINITY;
  visit_codebook(format, [&](float value) { smallest = value > 0 ? std::min(smallest, value) : smallest; });
  return std::isinf(smallest) ? 0 : smallest;
}

bool has_zero(const ElementFormat& format) {
  if (!lists_values(format)) return format.kind != ElementKind::PowerOfTwo;
  const uint32_t size = format.kind == ElementKind::Phase ? 0 : format.codebook_size;
  for (uint32_t code = 0; code < size; ++code) {
    int zeros = 0;
    for (int i = 0; i < format.dimension; ++i) zeros += decode(format, code, i) == 0 ? 1 : 0;
    if (zeros == format.dimension) return true;
  }
  return false;
}

float symmetric_limit(const ElementFormat& format) {
  const float largest = largest_value(format), lowest = lowest_value(format);
  return largest > 0 && lowest < 0 ? std::min(largest, -lowest) : std::max(std::abs(largest), std::abs(lowest));
}

}  // namespace halftone
