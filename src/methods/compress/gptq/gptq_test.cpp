// gptq: the paper's claim (a smaller output error than rounding to nearest, in the same format) on a tiny decoder, the
// solver's place in the pass, and every error. The solver's own tests are in tests/tensor/gptq_test.cpp.
#include "methods/compress/gptq/gptq.h"

#include <ATen/ops/eye.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plugin/testing/calibrate.h"

namespace halftone {
namespace {

using nn::tiny_decoder;
using nn::tiny_gemma_config;
using nn::tiny_llama_config;
using testing::HasSubstr;

class GptqMethodTest : public testing::Test {
 protected:
  GptqMethodTest() { register_gptq(catalogue_); }
  Catalogue catalogue_;
  OwnedExecContext exec_{2};
};

TEST_F(GptqMethodTest, OutputErrorOfEveryLayerIsBelowNearest) {
  for (const auto& config : {tiny_llama_config(), tiny_gemma_config()}) {
    nn::Decoder model = tiny_decoder(config);
    const BlockStatistics statistics = tiny_statistics(exec_.get(), model, 0);
    std::vector<at::Tensor> original;
    for (const auto* linear : model.blocks()[0].linears()) original.push_back(linear->dense_weight());
    const SiteSelector sites;
    CompressContext context{exec_.get(), model, sites};
    catalogue_.make_compress_pass("gptq", {{"group_size", "32"}})->compress_block(context, 0, statistics);
    const auto linears = model.blocks()[0].linears();
    for (size_t i = 0; i < linears.size(); ++i) {
      const auto output_error = [&](const Storage& storage) {  // tr((W - Q) X^T X (W - Q)^T)
        const at::Tensor difference = (original[i] - dequantize(storage)).to(at::kDouble);
        return (at::matmul(difference, statistics.input(linears[i]->site()).gram) * difference).sum().item<double>();
      };
      const auto& scheme = std::get<QuantizedStorage>(linears[i]->weight()).scheme;
      EXPECT_LT(output_error(linears[i]->weight()), output_error(quantize_nearest(exec_.get(), original[i], scheme)))
          << config.architecture << " " << linears[i]->site();
    }
  }
}

TEST_F(GptqMethodTest, Golden) {
  // Inputs 0 and 1 correlate by 0.9: see GptqTest.ByHand. Damping 1e-6 moves 2.66 by less than 1e-5.
  nn::Decoder model = tiny_decoder(tiny_llama_config());
  auto& linear = model.blocks()[0].q_proj;
  at::Tensor weight = linear.dense_weight().clone();
  weight.zero_();
  weight.select(0, 0).narrow(0, 0, 3).copy_(at::tensor({0.4f, 2.3f, 7.0f}));
  linear.set_weight(DenseStorage{weight});
  BlockStatistics statistics;
  at::Tensor gram = at::eye(64, at::kDouble);
  gram[0][1] = gram[1][0] = 0.9;
  statistics.inputs[linear.site()].gram = gram;
  const SiteSelector only(linear.site());
  CompressContext context{exec_.get(), model, only};
  catalogue_.make_compress_pass("gptq", {{"granularity", "row"}, {"symmetric", "true"}, {"damping", "1e-6"}})
      ->compress_block(context, 0, statistics);
  const at::Tensor rounded = dequantize(linear.weight());
  EXPECT_TRUE(rounded[0].narrow(0, 0, 4).equal(at::tensor({0.0f, 3.0f, 7.0f, 0.0f})));
}

TEST_F(GptqMethodTest, LogitsAreCloserThanWithoutCompensation) {
  // A Gram matrix without correlations leaves nothing to compensate: the same pass then rounds to nearest.
  const auto error = [&](bool calibrated, const OptionValues& extra) {
    OptionValues options = {{"bits", "4"}, {"granularity", "row"}};
    options.insert(extra.begin(), extra.end());
    nn::Decoder model = tiny_decoder(tiny_llama_config());
    const auto pass = catalogue_.make_compress_pass("gptq", options);
    const SiteSelector sites;
    CompressContext context{exec_.get(), model, sites};
    for (int64_t block = 0; block < 2; ++block) {
      BlockStatistics statistics = tiny_statistics(exec_.get(), model, block);
      for (auto& [site, input] : statistics.inputs)
        if (!calibrated) input.gram = at::eye(input.gram.size(0), at::kDouble);
      pass->compress_block(context, block, statistics);
    }
    pass->finish(context);
    return logits_error(exec_.get(), model, tiny_decoder(tiny_llama_config()));
  };
  const double nearest = error(false, {});
  EXPECT_LT(error(true, {}), nearest);
  EXPECT_LT(error(true, {{"activation_order", "true"}}), nearest);
}

TEST_F(GptqMethodTest, SameFormatAndBytesAsRtnWouldStore) {
  nn::Decoder model = tiny_decoder(tiny_llama_config());
  compress_tiny(exec_.get(), model, catalogue_, "gptq",
                {{"symmetric", "true"}, {"group_size", "32"}, {"head", "int4"}});
  for (const auto* linear : model.blocks()[1].linears())
    EXPECT_EQ(describe(linear->weight()), "int4 group 32 symmetric");
  EXPECT_EQ(describe(*model.embedding()), "int4 group 32 symmetric");
}

TEST_F(GptqMethodTest, NeedsTheGramMatrixAndSaysSo) {
  const auto pass = catalogue_.make_compress_pass("gptq", {});
  EXPECT_TRUE(pass->needs().input_gram);
  EXPECT_FALSE(pass->needs().key_absmax);
  nn::Decoder model = tiny_decoder(tiny_llama_config());
  const SiteSelector sites;
  CompressContext context{exec_.get(), model, sites};
  try {
    pass->compress_block(context, 0, {});
    FAIL() << "ran without calibration";
  } catch (const InvalidArgument& problem) {
    EXPECT_THAT(problem.what(), testing::AllOf(HasSubstr("gptq"), HasSubstr("calibration"), HasSubstr("q_proj")));
  }
}

TEST_F(GptqMethodTest, OptionErrors) {
  EXPECT_EQ(wrong_refusals(catalogue_, "gptq"), "");
  EXPECT_THAT(option_error(catalogue_, "gptq", {{"damping", "0"}}), HasSubstr("1e-06 .. 1"));
}

}  // namespace
}  // namespace halftone
