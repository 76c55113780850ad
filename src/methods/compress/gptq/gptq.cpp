// GPTQ over a block's layers; see gptq.h.
#include "methods/compress/gptq/gptq.h"

#include "plugin/catalogue.h"
#include "plugin/compress_helpers.h"

namespace halftone {

void Gptq::compress_block(CompressContext& context, int64_t block, const BlockStatistics& statistics) {
  const GptqOptions solver{options_.damping, options_.activation_order, options_.weights.clip()};
  compress_linears(context, block, options_.weights.activation_format(), [&](const nn::Linear& linear) -> Storage {
    return quantize_gptq(context.exec, linear.dense_weight(), require_gram(statistics, linear.site(), "gptq"),
                         options_.weights.scheme(linear.inputs()), solver);
  });
}

void Gptq::finish(CompressContext& context) { options_.outside.apply(context.exec, context.model); }

void register_gptq(Catalogue& catalogue) {
  catalogue.add_compress_pass<Gptq>(
      {.name = "gptq",
       .title = "GPTQ: rounding with second-order error compensation",
       .question = Question::FewerBits,
       .paper = "Frantar, Ashkboos, Hoefler, Alistarh, GPTQ: Accurate Post-Training Quantization for Generative "
                "Pre-trained Transformers, arXiv:2210.17323",
       .summary =
           "Rounds the columns of each weight in turn and moves the later columns so that the layer's outputs on "
           "calibration text stay as they were. The result has the same format and speed as rtn and a smaller "
           "error. Takes minutes where rtn takes seconds."});
}

}  // namespace halftone
