// Element by element, in double; see the header.
#include "numerics/reference/gemm.h"

#include <cstring>
#include <vector>

#include "numerics/formats/element_codec.h"
#include "numerics/half.h"

namespace halftone::reference {

namespace {

template <class T>
T read(const uint8_t* row, int64_t index) {
  T value;
  std::memcpy(&value, row + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

/// The stored code as the layouts define it; Int8 codes counted from 0 (code + 128), as their zero points are.
int unsigned_code(ElementType type, const uint8_t* row, int64_t k) {
  const int64_t chunk = k / kChunk, within = k % kChunk;
  switch (type) {
    case ElementType::Int8:
      return static_cast<int8_t>(row[k]) + 128;
    case ElementType::Int4:
      return row[chunk * 32 + within % 32] >> (within / 32 * 4) & 15;
    case ElementType::Int3: {
      const uint8_t* bytes = row + chunk * 24;
      return (bytes[within % 16] >> (within / 16 * 2) & 3) | (bytes[16 + within / 8] >> within % 8 & 1) << 2;
    }
    case ElementType::Int2:
      return row[chunk * 16 + within % 16] >> (within / 16 * 2) & 3;
    default:
      return 0;
  }
}

int64_t groups_of(const GemmWeights& w) { return (w.k + w.group - 1) / w.group; }

const uint8_t* row_of(const GemmWeights& w, int64_t n) {
  return static_cast<const uint8_t*>(w.codes) + n * row_bytes(w.type, w.k);
}

float scale_of(const GemmWeights& w, int64_t n, int64_t k) {
  const int64_t at = n * groups_of(w) + k / w.group;
  if (w.scale_codes != nullptr) return w.scales[w.scale_codes[at]];
  return w.scale_per_group ? w.scales[at] : w.scales[n];
}

double format_value(const GemmWeights& w, int64_t n, int64_t k) {
  const int64_t at = n * groups_of(w) + k / w.group;
  const uint8_t* row = row_of(w, n);
  // In bytes the sign is bit 7, however short the format.
  const uint32_t code = w.type == ElementType::Int8 ? (row[k] & 0x7fu) | (row[k] & 0x80u) >> (8 - w.format->bits)
                                                    : static_cast<uint32_t>(unsigned_code(w.type, row, k));
  const double zero = w.zeros != nullptr ? w.zeros[at] : 0;
  return (double{decode(*w.format, code)} - zero) * scale_of(w, n, k);
}

}  // namespace

int integer_value(const GemmWeights& w, int64_t n, int64_t k) {
  const int64_t at = n * groups_of(w) + k / w.group;
  const int symmetric = w.mins != nullptr ? 0 : symmetric_zero(w.type);
  const int zero = w.zeros != nullptr ? w.zeros[at] : w.type == ElementType::Int8 ? 128 : symmetric;
  const int factor = w.group_scales != nullptr ? w.group_scales[at] : 1;
  return (unsigned_code(w.type, row_of(w, n), k) - zero) * factor;
}

double weight_value(const GemmWeights& w, int64_t n, int64_t k) {
  const uint8_t* row = row_of(w, n);
  switch (w.type) {
    case ElementType::Float32:
      return read<float>(row, k);
    case ElementType::Float16:
      return f16_to_f32(read<uint16_t>(row, k));
    case ElementType::BFloat16:
      return bf16_to_f32(read<uint16_t>(row, k));
    default:
      break;
  }
  if (w.format != nullptr) return format_value(w, n, k);
  const double value = static_cast<double>(integer_value(w, n, k)) * scale_of(w, n, k);
  return w.mins != nullptr ? value + w.mins[n * groups_of(w) + k / w.group] : value;
}

void gemm(const float* x, int64_t x_stride, int64_t m, const GemmWeights& w, int64_t n0, int64_t n1, const float* bias,
          float* y, int64_t y_stride) {
  std::vector<double> row(static_cast<size_t>(w.k));
  for (int64_t n = n0; n < n1; ++n) {
    for (int64_t k = 0; k < w.k; ++k) row[static_cast<size_t>(k)] = weight_value(w, n, k);
    for (int64_t i = 0; i < m; ++i) {
      double sum = 0;
      for (int64_t k = 0; k < w.k; ++k) {
        sum += static_cast<double>(x[i * x_stride + k]) * row[static_cast<size_t>(k)];
      }
      y[i * y_stride + n] = static_cast<float>(bias != nullptr ? sum + bias[n] : sum);
    }
  }
}

}  // namespace halftone::reference
