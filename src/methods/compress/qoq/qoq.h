// qoq: Lin, Tang, Yang, Zhang, Xiao, Gan, Han, "QServe: W4A8KV4 Quantization and System Co-design for Efficient LLM
// Serving", arXiv:2405.04532: QoQ, section 4. 4-bit weights in two levels (int8 rows in the protective range +-119,
// uint4 groups on top), int8 activations a token, 4-bit KV cache.
//
// Order, as in the authors' recipe: rotate (residual stream and value heads), reorder (down_proj's inputs,
// section 4.3.3), smooth (down_proj's inputs, section 4.3.2; keys, section 4.2), GPTQ, store. Differs: the residual
// rotation is undone online around the embedding and head, which keeps tied weights tied; o_proj's inputs are not
// reordered, since a permutation may only act inside a head; groups shrink to divide K (576 -> 64).
#pragma once

#include <vector>

#include "plugin/compress_options.h"
#include "plugin/compress_pass.h"

namespace halftone {

class Catalogue;

class Qoq final : public CompressPass {
 public:
  struct Options {
    bool rotate = true;
    bool reorder = true;
    bool smooth_attention = true;
    double attention_alpha = 0.5;
    bool smooth_down = true;
    double down_alpha = 0.3;
    double down_beta = 0.7;
    bool gptq = true;
    double damping = 0.01;
    int64_t group_size = 128;
    OutsideOptions outside{.head = "f16", .kv = "int4"};

    template <class Visitor>
    void visit(Visitor& v) {
      v("rotate", rotate, "rotate the residual stream and the value heads by Hadamard matrices (not for gemma3)");
      v("reorder", reorder, "sort down_proj's inputs by their largest value, so that similar channels share a group");
      v("smooth_attention", smooth_attention,
        "move outliers of the keys into the queries before the cache rounds keys");
      v("attention_alpha", attention_alpha, Range{0, 1}, "power of max|K| in the factors of smooth_attention");
      v("smooth_down", smooth_down, "move outliers of down_proj's inputs into its weights");
      v("down_alpha", down_alpha, Range{0, 1}, "power of max|X| in the factors of smooth_down");
      v("down_beta", down_beta, Range{0, 1}, "power of max|W| in the factors of smooth_down");
      v("gptq", gptq, "round weights by GPTQ; false: to nearest");
      v("damping", damping, Range{1e-6, 1.0}, "added to the diagonal of GPTQ's Hessian, as a part of its mean");
      v("group_size", group_size, Range{32, 256},
        "weights that share an integer scale; a layer takes the largest of 256, 128, 64, 32 up to it that divides its "
        "inputs");
      outside.visit(v);
    }
  };

  explicit Qoq(Options options) : options_(std::move(options)) {}
  CalibrationNeeds needs() const override;
  void prepare(CompressContext& context) override;
  void compress_block(CompressContext& context, int64_t block, const BlockStatistics& statistics) override;
  void finish(CompressContext& context) override;

 private:
  void smooth_keys(CompressContext& context, int64_t block, const BlockStatistics& statistics) const;
  /// Reorders and smooths down_proj's inputs; returns their Gram matrix afterwards, undefined when nobody needs it.
  at::Tensor transform_down(CompressContext& context, nn::DecoderBlock& block, const BlockStatistics& statistics) const;

  Options options_;
};

void register_qoq(Catalogue& catalogue);

}  // namespace halftone
