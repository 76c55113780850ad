// Schemes from options, and the rounding of embedding and head; see compress_options.h.
#include "plugin/compress_options.h"

#include "base/error.h"

namespace halftone {
namespace {

ElementType element_of_bits(const std::string& bits) {
  for (const auto type : {ElementType::Int8, ElementType::Int4, ElementType::Int2})
    if (std::to_string(bits_of(type)) == bits) return type;
  throw InvalidArgument("option bits = '{}' is not 8, 4 or 2", bits);
}

Storage to_format(ExecContext& exec, const Storage& storage, const std::string& format) {
  const at::Tensor values = dequantize(storage);
  const QuantScheme by_row{.element = ElementType::Int8, .granularity = Granularity::Row};
  if (format == "int8") return quantize_nearest(exec, values, by_row);
  if (format == "int8_group32") return quantize_nearest(exec, values, {.element = ElementType::Int8, .group = 32});
  if (format == "int4") return quantize_nearest(exec, values, {.element = ElementType::Int4, .group = 32});
  return make_dense(values, parse_element_type(format));
}

}  // namespace

QuantScheme WeightOptions::scheme(int64_t columns) const {
  return {.element = element_of_bits(bits),
          .granularity = parse_granularity(granularity),
          .group = fit_group_size ? fitting_group(columns, group_size) : group_size,
          .zero_points = !symmetric};
}

void OutsideOptions::apply(ExecContext& exec, nn::Decoder& model) const {
  const bool tied = model.tied();
  model.set_embedding(to_format(exec, *model.embedding(), head));
  if (!tied) model.lm_head().set_weight(to_format(exec, model.lm_head().weight(), head), model.lm_head().activations());
  model.set_kv_format(nn::parse_kv_format(kv));
}

}  // namespace halftone
