// What the GEMM reads of formats; see format_storage.h.
#include <ATen/ops/empty.h>

#include "numerics/formats/element_codec.h"
#include "numerics/packing.h"
#include "tensor/format_storage.h"

namespace halftone {
namespace {

constexpr int64_t kKernelGroup = 16;  // groups that kernels take are multiples of it

/// How kernels read codes of a format.
struct KernelCodes {
  ElementType layout;
  const ElementFormat* format = nullptr;  ///< null for integers in bytes
};

std::optional<KernelCodes> kernel_codes(const ElementFormat& element) {
  if (element.dimension > 1 || element.bits > 8) return std::nullopt;
  const ElementFormat* known = lookup_element_format(element.name);
  if (element.bits <= 2) return KernelCodes{ElementType::Int2, known};
  if (element.bits <= 4) return KernelCodes{ElementType::Int4, known};
  if (element.is_float()) return KernelCodes{ElementType::Int8, known};
  if (element.kind == ElementKind::Integer) return KernelCodes{ElementType::Int8};
  return std::nullopt;
}

/// The byte that kernels have for a code; pack_codes narrows it to 4 and 2 bits.
uint8_t kernel_code(const ElementFormat& element, const KernelCodes& codes, uint32_t code) {
  if (codes.layout != ElementType::Int8) return static_cast<uint8_t>(code);
  if (codes.format != nullptr) {  // the sign goes to bit 7
    const uint32_t sign = code >> (element.bits - 1);
    return static_cast<uint8_t>(sign << 7 | (code & ((1u << (element.bits - 1)) - 1)));
  }
  const int value = static_cast<int>(decode(element, code));
  return static_cast<uint8_t>(element.is_unsigned_integer() ? value - 128 : value);
}

at::Tensor laid_out(const FormatStorage& storage, const KernelCodes& to, FormatReader& reader) {
  const ElementFormat& element = storage.format.element;
  if (element.is_float() && element.bits == 8) return storage.codes;  // the same bytes
  const int64_t bytes = row_bytes(to.layout, storage.columns);
  at::Tensor out = at::empty({storage.rows, bytes}, at::kByte);
  std::vector<uint8_t> by_code, row(static_cast<size_t>(storage.columns));
  for (uint32_t code = 0; code < 1u << element.bits; ++code) by_code.push_back(kernel_code(element, to, code));
  for (int64_t n = 0; n < storage.rows; ++n) {
    const std::span<const uint32_t> codes = reader.codes(n);
    for (size_t k = 0; k < row.size(); ++k) row[k] = by_code[codes[k]];
    pack_codes(to.layout, row, out.data_ptr<uint8_t>() + n * bytes);
  }
  return out;
}

/// Scales of one byte under nothing or under one outer scale: as they are stored, with their values in a table.
bool keeps_scale_codes(const MatrixFormat& format, bool grouped) {
  return grouped && format.scale.inner.bits == 8 && format.scale.sharing != OuterSharing::BlockRow;
}

at::Tensor scale_table(const FormatStorage& storage, FormatReader& reader) {
  const ScaleFormat& scale = storage.format.scale;
  at::Tensor table = at::empty({256}, at::kFloat);
  for (uint32_t code = 0; code < 256; ++code)
    table.data_ptr<float>()[code] = scale_value(scale, code, reader.outer_code(0));
  return table;
}

}  // namespace

std::optional<FormatOperands> kernel_operands(const FormatStorage& storage) {
  FormatReader reader(storage);
  const auto codes = kernel_codes(storage.format.element);
  const int64_t groups = reader.grid().grid_columns(), group = reader.grid().block_columns();
  const bool grouped = groups > 1;
  if (!codes || (grouped && group % kKernelGroup != 0)) return std::nullopt;
  const bool zeros = storage.format.element.is_unsigned_integer(), coded = keeps_scale_codes(storage.format, grouped);
  FormatOperands operands{.problem = {.n = storage.rows,
                                      .k = storage.columns,
                                      .weight = codes->layout,
                                      .scales = grouped ? kernels::ScaleLayout::Group : kernels::ScaleLayout::Row,
                                      .group = grouped ? group : 0,
                                      .zero_points = zeros,
                                      .format = codes->format,
                                      .scale_codes = coded}};
  operands.codes = laid_out(storage, *codes, reader);
  operands.scales = coded ? scale_table(storage, reader) : at::empty({storage.rows, groups}, at::kFloat);
  if (coded) operands.scale_codes = at::empty({storage.rows, groups}, at::kByte);
  if (zeros) operands.zeros = at::empty({storage.rows, groups}, at::kByte);
  const auto as_bytes = [](std::span<const uint32_t> from, at::Tensor& to, int64_t row) {
    std::copy(from.begin(), from.end(), to.data_ptr<uint8_t>() + row * to.size(1));
  };
  for (int64_t row = 0; row < storage.rows; ++row) {
    if (coded) {
      as_bytes(reader.scale_codes(row), operands.scale_codes, row);
    } else {
      const std::span<const float> values = reader.scales(row);
      std::copy(values.begin(), values.end(), operands.scales.data_ptr<float>() + row * groups);
    }
    if (zeros) as_bytes(reader.zeros(row), operands.zeros, row);
  }
  return operands;
}

}  // namespace halftone
