// The QoQ recipe; see qoq.h.
#include "methods/compress/qoq/qoq.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "nn/transforms.h"
#include "plugin/catalogue.h"
#include "plugin/compress_helpers.h"

namespace halftone {
namespace {

constexpr const char* kName = "qoq";

/// Channels by falling value; equal ones keep their order.
std::vector<int64_t> falling_order(const std::vector<float>& values) {
  std::vector<int64_t> order(values.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return values[a] > values[b]; });
  return order;
}

}  // namespace

CalibrationNeeds Qoq::needs() const {
  return {.input_gram = options_.gptq,
          .input_absmax = options_.reorder || options_.smooth_down,
          .key_absmax = options_.smooth_attention};
}

void Qoq::prepare(CompressContext& context) {
  if (!options_.rotate) return;
  // Seed 0 of a rotation means "no random signs", which leaves a constant offset of the embeddings in one channel.
  nn::rotate_residual(context.model, context.seed + 1);
  for (auto& block : context.model.blocks()) nn::rotate_value_heads(context.model.config(), block);
}

void Qoq::smooth_keys(CompressContext& context, int64_t block, const BlockStatistics& statistics) const {
  const auto& config = context.model.config();
  nn::DecoderBlock& b = context.model.blocks().at(block);
  if (!statistics.key_absmax.defined())
    throw InvalidArgument(
        "{} needs calibration, but no key maxima were collected for block {}; give it a calibration "
        "text, or set smooth_attention=false",
        kName, block);
  std::vector<float> keys = to_vector(statistics.key_absmax);
  const int64_t dim = config.head_dim;
  if (b.k_norm.defined())  // the factors go into a norm that all heads share
    for (size_t i = dim; i < keys.size(); ++i) keys[i % dim] = std::max(keys[i % dim], keys[i]);
  if (b.k_norm.defined())
    for (size_t i = dim; i < keys.size(); ++i) keys[i] = keys[i % dim];
  const auto rotary = 2 * static_cast<int64_t>(config.layers[block].inverse_frequency.size());
  max_over_rope_pairs(keys, dim, rotary, config.rope_style);
  const std::vector<float> ones(keys.size(), 1.0f);
  nn::smooth_attention(config, b, smoothing_factors(keys, ones, options_.attention_alpha, 0));
}

at::Tensor Qoq::transform_down(CompressContext& context, nn::DecoderBlock& b, const BlockStatistics& statistics) const {
  if (!any_selected(context, {&b.down_proj})) return {};
  const std::string& site = b.down_proj.site();
  at::Tensor gram = options_.gptq ? require_gram(statistics, site, kName) : at::Tensor();
  if (!options_.reorder && !options_.smooth_down) return gram;
  std::vector<float> absmax = to_vector(require_absmax(statistics, site, kName));
  if (options_.reorder) {
    const std::vector<int64_t> order = falling_order(absmax);
    nn::permute_ffn(b, order);
    std::sort(absmax.begin(), absmax.end(), std::greater<>());
    if (gram.defined()) gram = permuted_gram(gram, order);
  }
  if (options_.smooth_down) {
    const auto factors =
        smoothing_factors(absmax, column_absmax({&b.down_proj}), options_.down_alpha, options_.down_beta);
    nn::smooth_down_input(b, factors);
    if (gram.defined()) gram = scaled_gram(gram, factors);
  }
  return gram;
}

void Qoq::compress_block(CompressContext& context, int64_t block, const BlockStatistics& statistics) {
  nn::DecoderBlock& b = context.model.blocks().at(block);
  if (options_.smooth_attention) smooth_keys(context, block, statistics);
  const at::Tensor down_gram = transform_down(context, b, statistics);
  const GptqOptions solver{.damping = options_.damping};
  compress_linears(context, block, nn::ActivationFormat::Int8PerToken, [&](const nn::Linear& linear) -> Storage {
    const QuantScheme scheme{.element = ElementType::Int4,
                             .granularity = Granularity::TwoLevel,
                             .group = fitting_group(linear.inputs(), options_.group_size),
                             .zero_points = true};
    if (!options_.gptq) return quantize_nearest(context.exec, linear.dense_weight(), scheme);
    const at::Tensor& gram = &linear == &b.down_proj ? down_gram : require_gram(statistics, linear.site(), kName);
    return quantize_gptq(context.exec, linear.dense_weight(), gram, scheme, solver);
  });
}

void Qoq::finish(CompressContext& context) { options_.outside.apply(context.exec, context.model); }

void register_qoq(Catalogue& catalogue) {
  catalogue.add_compress_pass<Qoq>(
      {.name = "qoq",
       .title = "QoQ: 4-bit weights, 8-bit activations, 4-bit KV cache",
       .question = Question::FewerBits,
       .paper =
           "Lin, Tang, Yang, Zhang, Xiao, Gan, Han, QServe: W4A8KV4 Quantization and System Co-design for Efficient "
           "LLM Serving, arXiv:2405.04532",
       .summary =
           "Rotates, reorders and smooths the model so that 4-bit weights, int8 activations and a 4-bit KV cache "
           "lose little, then rounds by GPTQ. Weights keep an int8 scale a row and small integer scales a group, "
           "so that the inner product runs in int8 throughout."});
}

}  // namespace halftone
