// smoothquant: Xiao, Lin, Seznec, Wu, Demouth, Han, "SmoothQuant: Accurate and Efficient Post-Training Quantization for
// Large Language Models", arXiv:2211.10438, equation 4: s_j = max|X_j|^alpha / max|W_j|^(1-alpha). Dividing input
// channel j by s_j and multiplying column j of the weights moves outliers from the activations, where a token shares
// one scale, to the weights, where they are few.
//
// As in the paper, the inputs that follow a norm are smoothed (q/k/v, gate/up): s folds into the norm's weight. Inputs
// of o_proj and down_proj can be smoothed too, through v_proj and up_proj; that is off by default. Differs: weights
// have a scale a row and activations a dynamic scale a token (the paper's O1 with per-channel weights).
#pragma once

#include "plugin/compress_options.h"
#include "plugin/compress_pass.h"

namespace halftone {

class Catalogue;

class SmoothQuant final : public CompressPass {
 public:
  struct Options {
    double alpha = 0.5;
    bool smooth_output = false;
    bool smooth_down = false;
    OutsideOptions outside;

    template <class Visitor>
    void visit(Visitor& v) {
      v("alpha", alpha, Range{0, 1},
        "how much of the difficulty moves from activations (1) to weights (0: none of it)");
      v("smooth_output", smooth_output, "also smooth the input of o_proj, through the rows of v_proj");
      v("smooth_down", smooth_down, "also smooth the input of down_proj, through the rows of up_proj");
      outside.visit(v);
    }
  };

  explicit SmoothQuant(Options options) : options_(std::move(options)) {}
  CalibrationNeeds needs() const override { return {.input_absmax = true}; }
  void compress_block(CompressContext& context, int64_t block, const BlockStatistics& statistics) override;
  void finish(CompressContext& context) override;

 private:
  void smooth(CompressContext& context, nn::DecoderBlock& block, const BlockStatistics& statistics) const;
  Options options_;
};

void register_smoothquant(Catalogue& catalogue);

}  // namespace halftone
