// Smoothing, then int8 weights and activations; see smoothquant.h.
#include "methods/compress/smoothquant/smoothquant.h"

#include "nn/transforms.h"
#include "plugin/catalogue.h"
#include "plugin/compress_helpers.h"

namespace halftone {
namespace {

std::vector<float> absmax_of(const BlockStatistics& statistics, const nn::Linear& linear) {
  return to_vector(require_absmax(statistics, linear.site(), "smoothquant"));
}

}  // namespace

void SmoothQuant::smooth(CompressContext& context, nn::DecoderBlock& b, const BlockStatistics& statistics) const {
  const auto factors = [&](const std::vector<float>& inputs, const std::vector<float>& weights) {
    return smoothing_factors(inputs, weights, options_.alpha, 1 - options_.alpha);
  };
  // Inputs after a norm come first: smoothing down_proj's input scales rows of up_proj, whose column maxima count here.
  if (any_selected(context, {&b.q_proj, &b.k_proj, &b.v_proj}))
    nn::smooth_attention_input(
        b, factors(absmax_of(statistics, b.q_proj), column_absmax({&b.q_proj, &b.k_proj, &b.v_proj})));
  if (any_selected(context, {&b.gate_proj, &b.up_proj}))
    nn::smooth_ffn_input(b, factors(absmax_of(statistics, b.gate_proj), column_absmax({&b.gate_proj, &b.up_proj})));
  if (options_.smooth_output && any_selected(context, {&b.o_proj})) {
    const auto& config = context.model.config();
    nn::smooth_output_input(config, b,
                            factors(max_over_query_groups(config, absmax_of(statistics, b.o_proj)),
                                    max_over_query_groups(config, column_absmax({&b.o_proj}))));
  }
  if (options_.smooth_down && any_selected(context, {&b.down_proj}))
    nn::smooth_down_input(b, factors(absmax_of(statistics, b.down_proj), column_absmax({&b.down_proj})));
}

void SmoothQuant::compress_block(CompressContext& context, int64_t block, const BlockStatistics& statistics) {
  smooth(context, context.model.blocks().at(block), statistics);
  const QuantScheme by_row{.element = ElementType::Int8, .granularity = Granularity::Row};
  compress_linears(context, block, nn::ActivationFormat::Int8PerToken, [&](const nn::Linear& linear) -> Storage {
    return quantize_nearest(context.exec, linear.dense_weight(), by_row);
  });
}

void SmoothQuant::finish(CompressContext& context) { options_.outside.apply(context.exec, context.model); }

void register_smoothquant(Catalogue& catalogue) {
  catalogue.add_compress_pass<SmoothQuant>(
      {.name = "smoothquant",
       .title = "SmoothQuant: 8-bit weights and activations",
       .question = Question::FewerBits,
       .paper =
           "Xiao, Lin, Seznec, Wu, Demouth, Han, SmoothQuant: Accurate and Efficient Post-Training Quantization for "
           "Large Language Models, arXiv:2211.10438",
       .summary =
           "Scales the outlier channels of activations down and the matching weight columns up, which changes "
           "nothing before rounding. Weights then become int8 with a scale a row, activations int8 with a scale a "
           "token. Halves an f16 model and multiplies in int8, close to the original's quality."});
}

}  // namespace halftone
