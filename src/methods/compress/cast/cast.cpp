// Plain floats, block by block; see cast.h.
#include "methods/compress/cast/cast.h"

#include "plugin/catalogue.h"
#include "plugin/compress_helpers.h"

namespace halftone {

void Cast::compress_block(CompressContext& context, int64_t block, const BlockStatistics&) {
  const ElementType type = parse_element_type(options_.format);
  compress_linears(context, block, nn::ActivationFormat::Float32,
                   [&](const nn::Linear& linear) { return make_dense(linear.dense_weight(), type); });
}

void Cast::finish(CompressContext& context) {
  OutsideOptions{.head = options_.format, .kv = options_.kv}.apply(context.exec, context.model);
}

void register_cast(Catalogue& catalogue) {
  catalogue.add_compress_pass<Cast>(
      {.name = "cast",
       .title = "Plain floats",
       .question = Question::FewerBits,
       .paper = "none; f16 and bf16 as IEEE 754-2019 and Intel's bfloat16 (document 338302-001US) define them",
       .summary =
           "Stores all weights as f16, bf16 or f32. Halves the bytes of f32 at next to no loss, needs no calibration, "
           "and writes GGUF files (F16, BF16, F32) that other programs read."});
}

}  // namespace halftone
