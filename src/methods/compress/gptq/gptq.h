// gptq: Frantar, Ashkboos, Hoefler, Alistarh, "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
// Transformers", arXiv:2210.17323, algorithm 1. Rounds the columns of a weight one after the other and makes the later
// ones take up each error, with the Gram matrix of the layer's inputs as Hessian (tensor/quantize.h has the solver).
//
// Differs from the paper: blocks see the inputs that the compressed blocks before them produce (the authors' code does
// the same); groups may have zero points, clip search, and a short last group.
#pragma once

#include "plugin/compress_options.h"
#include "plugin/compress_pass.h"

namespace halftone {

class Catalogue;

class Gptq final : public CompressPass {
 public:
  struct Options {
    WeightOptions weights;
    double damping = 0.01;
    bool activation_order = false;
    OutsideOptions outside;

    template <class Visitor>
    void visit(Visitor& v) {
      weights.visit(v);
      v("damping", damping, Range{1e-6, 1.0}, "added to the Hessian's diagonal, as a part of its mean");
      v("activation_order", activation_order,
        "round the columns with the largest inputs first; groups are then fitted before any error is spread");
      outside.visit(v);
    }
  };

  explicit Gptq(Options options) : options_(std::move(options)) {}
  CalibrationNeeds needs() const override { return {.input_gram = true}; }
  void compress_block(CompressContext& context, int64_t block, const BlockStatistics& statistics) override;
  void finish(CompressContext& context) override;

 private:
  Options options_;
};

void register_gptq(Catalogue& catalogue);

}  // namespace halftone
