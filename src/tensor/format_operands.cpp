// What the GEMMs read of formats; see format_storage.h.
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>

#include <cmath>

#include "base/error.h"
#include "numerics/formats/element_codec.h"
#include "numerics/packing.h"
#include "tensor/format_storage.h"

namespace halftone {
namespace {

constexpr int64_t kKernelGroup = 16;  // groups that kernels take are multiples of it

/// How kernels read codes of a format, which outlives this.
struct KernelCodes {
  ElementType layout;
  const ElementFormat* format = nullptr;  ///< null for integers in bytes
};

std::optional<KernelCodes> kernel_codes(const ElementFormat& element) {
  if (element.dimension > 1 || element.bits > 8) return std::nullopt;
  if (element.bits <= 2) return KernelCodes{ElementType::Int2, &element};
  if (element.bits <= 4) return KernelCodes{ElementType::Int4, &element};
  if (element.is_float()) return KernelCodes{ElementType::Int8, &element};
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

/// A step of which all values of a format are multiples between kernels::kLeastListed and kMostListed; 0: none.
float listed_step(const ElementFormat& element) {
  for (const float step : {1.0f, 0.5f, 0.25f, 0.125f}) {
    bool fits = true;
    for (uint32_t code = 0; code < 1u << element.bits; ++code) {
      const float units = decode(element, code) / step;
      fits = fits && units == std::nearbyint(units) && units >= kernels::kLeastListed && units <= kernels::kMostListed;
    }
    if (fits) return step;
  }
  return 0;
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
  return kernel_operands(storage, find_element_format(storage.format.element.name));
}

std::optional<FormatOperands> kernel_operands(const FormatStorage& storage, const ElementFormat& element) {
  FormatReader reader(storage);
  const auto codes = kernel_codes(element);
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

std::string why_not_listed(const FormatStorage& storage) {
  const ElementFormat& element = storage.format.element;
  const auto codes = kernel_codes(element);
  if (!codes || codes->layout != ElementType::Int4 || element.is_unsigned_integer() || listed_step(element) == 0)
    return fmt::format("{} codes are no small multiples of one step in 3 or 4 bits", element.name);
  const ScaleGrid grid(storage.format.layout, storage.rows, storage.columns);
  const int64_t group = grid.block_columns();
  if (grid.grid_columns() == 1) return {};
  const ScaleFormat& scale = storage.format.scale;
  const bool coded = keeps_scale_codes(storage.format, true);
  if (!coded && (scale.two_level() || scale.inner.name != std::string_view(kF16.name)))
    return fmt::format("{} scales are none of f16, e8m0 and e4m3", scale.name);
  if (group == kKernelGroup && coded && scale.inner.is_float()) return {};
  if (group % kUnitLength != 0) return fmt::format("groups of {} elements are no multiple of {}", group, kUnitLength);
  return {};
}

kernels::PackedGemmProblem listed_problem(const FormatStorage& storage) {
  if (const std::string why = why_not_listed(storage); !why.empty())
    throw Unsupported("int8 activations do not fit {} weights: {}; use f32 activations", describe(storage), why);
  const ScaleGrid grid(storage.format.layout, storage.rows, storage.columns);
  const bool grouped = grid.grid_columns() > 1;
  kernels::PackedGemmProblem problem = {.n = storage.rows,
                                        .k = storage.columns,
                                        .weight = ElementType::Int4,
                                        .scales = grouped ? kernels::ScaleLayout::Group : kernels::ScaleLayout::Row,
                                        .group = grouped ? grid.block_columns() : 0,
                                        .listed = true};
  if (keeps_scale_codes(storage.format, grouped))
    problem.scale_format = storage.format.scale.inner.is_float() ? &kE4m3 : &kE8m0;
  return problem;
}

ListedOperands listed_operands(const FormatStorage& storage) {
  const kernels::PackedGemmProblem problem = listed_problem(storage);
  const FormatOperands from = kernel_operands(storage).value();
  const ElementFormat& element = storage.format.element;
  const ScaleFormat& scale = storage.format.scale;
  const float step = listed_step(element);
  const uint32_t mask = (1u << element.bits) - 1;
  ListedOperands to{.values = at::empty({16}, at::kChar), .codes = from.codes};
  for (uint32_t i = 0; i < 16; ++i)
    to.values.data_ptr<int8_t>()[i] = static_cast<int8_t>(decode(element, i & mask) / step);
  if (problem.group == 0) {
    to.row_scales = from.scales * step;
    return to;
  }
  const bool coded = problem.scale_format != nullptr;
  const float outer = coded && scale.two_level() ? decode(scale.outer, FormatReader(storage).outer_code(0)) : 1.0f;
  to.row_scales = at::full({storage.rows, 1}, outer * step, at::kFloat);
  to.scales = coded ? from.scale_codes : from.scales.to(at::kHalf);
  return to;
}

}  // namespace halftone
