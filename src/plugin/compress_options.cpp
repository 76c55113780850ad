// Schemes from options, and the rounding of embedding and head; see compress_options.h.
#include "plugin/compress_options.h"

#include "base/error.h"
#include "base/hash.h"
#include "numerics/formats/element_array.h"
#include "tensor/codebook_storage.h"
#include "tensor/format_storage.h"
#include "tensor/packed_weight.h"

namespace halftone {
namespace {

ElementType element_of_bits(const std::string& bits) {
  for (const auto type : {ElementType::Int8, ElementType::Int4, ElementType::Int3, ElementType::Int2})
    if (std::to_string(bits_of(type)) == bits) return type;
  throw InvalidArgument("option bits = '{}' is not 8, 4, 3 or 2", bits);
}

bool is_dense(const std::string& format) { return format == "f16" || format == "bf16" || format == "f32"; }

Storage to_format(ExecContext& exec, const Storage& storage, const std::string& format) {
  const at::Tensor values = dequantize(storage);
  const QuantScheme by_row{.element = ElementType::Int8, .granularity = Granularity::Row};
  if (format == "int8") return quantize_nearest(exec, values, by_row);
  if (format == "int8_group32") return quantize_nearest(exec, values, {.element = ElementType::Int8, .group = 32});
  if (format == "int4") return quantize_nearest(exec, values, {.element = ElementType::Int4, .group = 32});
  if (is_dense(format)) return make_dense(values, parse_element_type(format));
  if (names_codebook(format)) return quantize_to_codebook(exec, values, parse_codebook_spec(format));
  return quantize_to_format(exec, values, parse_weight_format(format));
}

void check_any_format(const std::string& text) {
  if (!names_codebook(text)) {
    parse_weight_format(text);
    return;
  }
  try {
    parse_codebook_spec(text);
  } catch (const IoError& problem) {  // a value of the option, so its error names the option
    throw InvalidArgument("{}", problem.what());
  }
}

bool all_int8(const std::vector<nn::DecoderBlock>& blocks) {
  for (const auto& block : blocks)
    for (const auto* linear : block.linears())
      if (linear->activations() == nn::ActivationFormat::Float32) return false;
  return true;
}

}  // namespace

std::string any_format_forms() { return weight_format_forms() + " | " + codebook_forms(); }

QuantScheme WeightOptions::scheme(int64_t columns) const {
  return {.element = element_of_bits(bits),
          .granularity = parse_granularity(granularity),
          .group = fit_group_size ? fitting_group(columns, group_size) : group_size,
          .zero_points = !symmetric};
}

void FormatOptions::check_format(const std::string& text) {
  if (text != "bits") check_any_format(text);
}

void FormatOptions::check_beside(const WeightOptions& weights, std::string_view method) {
  const WeightOptions defaults;
  if (!chosen()) {
    if (rounding != FormatOptions{}.rounding)
      throw InvalidArgument("{}: option rounding = '{}' needs a format; set format, or leave rounding out", method,
                            rounding);
    return;
  }
  const std::pair<const char*, bool> changed[] = {{"bits", weights.bits != defaults.bits},
                                                  {"granularity", weights.granularity != defaults.granularity},
                                                  {"group_size", weights.group_size != defaults.group_size},
                                                  {"fit_group_size", weights.fit_group_size != defaults.fit_group_size},
                                                  {"symmetric", weights.symmetric != defaults.symmetric},
                                                  {"clip_steps", weights.clip_steps != defaults.clip_steps},
                                                  {"clip_shrink", weights.clip_shrink != defaults.clip_shrink}};
  for (const auto& [name, set] : changed)
    if (set)
      throw InvalidArgument("{}: format = '{}' already says what option {} says; leave {} out", method, format, name,
                            name);
  if (names_codebook(format)) codebook_ = std::make_shared<const CodebookSpec>(parse_codebook_spec(format));
  const Rounding chosen_rounding = parse_rounding(rounding);
  if (codebook_ == nullptr)
    require_rounding(parse_weight_format(format).element, chosen_rounding);
  else if (codebook_->dimension > 1 && chosen_rounding != Rounding::NearestEven)
    throw Unsupported(
        "{}: option rounding = '{}' has no meaning for '{}', whose codes stand for {} numbers; leave it out", method,
        rounding, format, codebook_->dimension);
}

Storage FormatOptions::quantize(ExecContext& exec, const nn::Linear& linear, uint64_t seed) const {
  const RandomKey key{.seed = seed, .tensor = static_cast<uint32_t>(hash_bytes(linear.site()))};
  const RoundingSource source(parse_rounding(rounding), key);
  if (codebook_ != nullptr) {
    RandomKey finding = key;
    finding.role = 1;  // independent of the rounding's bits
    return quantize_to_codebook(exec, linear.dense_weight(), *codebook_, finding, source);
  }
  return quantize_to_format(exec, linear.dense_weight(), parse_weight_format(format), source);
}

void OutsideOptions::check_head(const std::string& text) {
  if (!is_dense(text) && text != "int8" && text != "int8_group32" && text != "int4") check_any_format(text);
}

void OutsideOptions::apply(ExecContext& exec, nn::Decoder& model) const {
  const bool tied = model.tied();
  nn::Linear& lm_head = model.lm_head();
  lm_head.set_weight(lm_head.shared_weight());  // with f32 inputs any format will do
  model.set_embedding(to_format(exec, *model.embedding(), head));
  if (!tied) lm_head.set_weight(to_format(exec, lm_head.weight(), head));
  if (all_int8(model.blocks()) && why_not_packed(lm_head.weight()).empty())
    lm_head.set_weight(lm_head.shared_weight(), nn::ActivationFormat::Int8PerGroup);
  model.set_kv_format(nn::parse_kv_format(kv));
}

}  // namespace halftone
