// Rounding to nearest, block by block; see rtn.h.
#include "methods/compress/rtn/rtn.h"

#include "plugin/catalogue.h"
#include "plugin/compress_helpers.h"

namespace halftone {

Rtn::Rtn(Options options) : options_(std::move(options)) {
  options_.formats.check_beside(options_.weights, "method rtn");
}

void Rtn::compress_block(CompressContext& context, int64_t block, const BlockStatistics&) {
  compress_linears(context, block, options_.weights.activation_format(), [&](const nn::Linear& linear) -> Storage {
    if (options_.formats.chosen()) return options_.formats.quantize(context.exec, linear, context.seed);
    return quantize_nearest(context.exec, linear.dense_weight(), options_.weights.scheme(linear.inputs()),
                            options_.weights.clip());
  });
}

void Rtn::finish(CompressContext& context) { options_.outside.apply(context.exec, context.model); }

void register_rtn(Catalogue& catalogue) {
  catalogue.add_compress_pass<Rtn>(
      {.name = "rtn",
       .title = "Round to nearest",
       .question = Question::FewerBits,
       .paper = "folklore; the baseline of Dettmers et al., LLM.int8(), arXiv:2208.07339, and of every later method",
       .summary =
           "Rounds each weight to the nearest of the 4, 16 or 256 codes of its row or group, or to any number format "
           "(FP8, MXFP4, NVFP4, NF4, ternary, ...). Needs no calibration and takes seconds. Loses little at 8 bits, "
           "and enough at 4 that a calibrated method is worth its time."});
}

}  // namespace halftone
