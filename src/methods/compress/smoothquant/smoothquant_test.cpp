// smoothquant: with planted activation outliers, smoothing lowers the error of W8A8 (the paper's claim); factors by
// hand.
#include "methods/compress/smoothquant/smoothquant.h"

#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "nn/transforms.h"
#include "plugin/compress_helpers.h"
#include "plugin/testing/calibrate.h"

namespace halftone {
namespace {

using nn::tiny_decoder;
using nn::tiny_gemma_config;
using nn::tiny_llama_config;
using testing::HasSubstr;

/// The tiny decoder with outliers of the kind that large models have: two channels of every norm's output and of
/// down_proj's input are 60 times as large as before, and the weights that read them as much smaller.
nn::Decoder with_outliers(const nn::DecoderConfig& config) {
  nn::Decoder model = tiny_decoder(config);
  for (auto& block : model.blocks()) {
    nn::smooth_attention_input(block, nn::outlier_factors(config.width, {3, 40}, 60));
    nn::smooth_ffn_input(block, nn::outlier_factors(config.width, {3, 40}, 60));
    nn::smooth_down_input(block, nn::outlier_factors(config.ffn_width, {7, 80}, 60));
  }
  return model;
}

class SmoothQuantTest : public testing::Test {
 protected:
  SmoothQuantTest() { register_smoothquant(catalogue_); }
  double error(const nn::DecoderConfig& config, const OptionValues& options) {
    nn::Decoder model = with_outliers(config);
    compress_tiny(exec_.get(), model, catalogue_, "smoothquant", options);
    return logits_error(exec_.get(), model, with_outliers(config));
  }
  /// Without smoothing: the same storages and activations.
  double unsmoothed(const nn::DecoderConfig& config) {
    nn::Decoder model = with_outliers(config);
    for (auto& block : model.blocks())
      for (auto* linear : block.linears())
        linear->set_weight(
            quantize_nearest(exec_.get(), linear->dense_weight(), {ElementType::Int8, Granularity::Row, 0, false}),
            nn::ActivationFormat::Int8PerToken);
    return logits_error(exec_.get(), model, with_outliers(config));
  }
  Catalogue catalogue_;
  OwnedExecContext exec_{2};
};

TEST_F(SmoothQuantTest, SmoothingLowersTheErrorOfOutliers) {
  for (const auto& config : {tiny_llama_config(), tiny_gemma_config()}) {
    const double plain = unsmoothed(config), norms = error(config, {}), all = error(config, {{"smooth_down", "true"}});
    EXPECT_LT(norms, plain) << config.architecture;
    EXPECT_LT(all, norms / 2) << config.architecture;  // what is left without it are down_proj's outliers
  }
}

TEST_F(SmoothQuantTest, FactorsByHand) {
  // sqrt(max|X| / max|W|) at alpha 0.5; channels of zeros keep 1.
  const std::vector<float> inputs = {16, 1, 0, 9}, weights = {4, 0.25f, 2, 0};
  EXPECT_EQ(smoothing_factors(inputs, weights, 0.5, 0.5), (std::vector<float>{2, 2, 1, 1}));
  EXPECT_EQ(smoothing_factors(inputs, weights, 1, 0), (std::vector<float>{16, 1, 1, 1}));
  EXPECT_THROW(smoothing_factors(inputs, std::vector<float>{1}, 0.5, 0.5), InvalidArgument);
}

TEST_F(SmoothQuantTest, Golden) {
  // Input maxima 4 against weights of at most 1: s = 2 halves the norm and doubles the columns, in exact arithmetic.
  nn::Decoder model = tiny_decoder(tiny_llama_config());
  nn::DecoderBlock& block = model.blocks()[0];
  block.attn_norm = at::ones({64});
  for (auto* reader : {&block.q_proj, &block.k_proj, &block.v_proj})
    reader->set_weight(DenseStorage{at::full({reader->outputs(), 64}, reader == &block.k_proj ? -1.0f : 0.5f)});
  BlockStatistics statistics = tiny_statistics(exec_.get(), model, 0);
  statistics.inputs[block.q_proj.site()].absmax = at::full({64}, 4.0f);
  const SiteSelector sites;
  CompressContext context{exec_.get(), model, sites};
  catalogue_.make_compress_pass("smoothquant", {})->compress_block(context, 0, statistics);
  EXPECT_TRUE(block.attn_norm.equal(at::full({64}, 0.5f)));
  // 2 / 127 is stored as f16: within 2^-11.
  EXPECT_NEAR(dequantize(block.k_proj.weight())[0][0].item<float>(), -2.0, 2 * 0x1p-11);
  EXPECT_NEAR(dequantize(block.q_proj.weight())[0][0].item<float>(), 1.0, 0x1p-11);
  EXPECT_EQ(block.q_proj.activations(), nn::ActivationFormat::Int8PerToken);
  EXPECT_EQ(describe(block.q_proj.weight()), "int8 row symmetric");
}

TEST_F(SmoothQuantTest, OutputFactorsKeepTheFunction) {
  // The one rewrite whose factors are shared between heads; tests/nn covers the others.
  for (const auto& config : {tiny_llama_config(), tiny_gemma_config()}) {
    nn::Decoder model = with_outliers(config);
    const auto tokens = nn::tiny_tokens(10);
    const at::Tensor before = nn::tiny_logits(exec_.get(), model, tokens);
    const BlockStatistics statistics = tiny_statistics(exec_.get(), model, 0);
    nn::DecoderBlock& block = model.blocks()[0];
    const auto absmax = [&](const nn::Linear& linear) { return to_vector(statistics.input(linear.site()).absmax); };
    nn::smooth_output_input(config, block,
                            smoothing_factors(max_over_query_groups(config, absmax(block.o_proj)),
                                              max_over_query_groups(config, column_absmax({&block.o_proj})), 0.5, 0.5));
    EXPECT_LT(nn::relative_distance(nn::tiny_logits(exec_.get(), model, tokens), before), 1e-4) << config.architecture;
  }
}

TEST_F(SmoothQuantTest, SmoothedOutputHelpsOutliersOfValues) {
  const auto with_value_outliers = [] {
    nn::Decoder model = tiny_decoder(tiny_llama_config());
    for (auto& block : model.blocks())
      nn::smooth_output_input(model.config(), block, nn::outlier_factors(32, {5, 21}, 60));
    return model;
  };
  const auto error = [&](const char* smooth_output) {
    nn::Decoder model = with_value_outliers();
    compress_tiny(exec_.get(), model, catalogue_, "smoothquant", {{"smooth_output", smooth_output}, {"kv", "f32"}});
    return logits_error(exec_.get(), model, with_value_outliers());
  };
  EXPECT_LT(error("true"), error("false"));
}

TEST_F(SmoothQuantTest, NeedsMaximaAndSaysSo) {
  const auto pass = catalogue_.make_compress_pass("smoothquant", {});
  EXPECT_TRUE(pass->needs().input_absmax);
  EXPECT_FALSE(pass->needs().input_gram);
  nn::Decoder model = tiny_decoder(tiny_llama_config());
  const SiteSelector sites;
  CompressContext context{exec_.get(), model, sites};
  try {
    pass->compress_block(context, 0, {});
    FAIL() << "ran without calibration";
  } catch (const InvalidArgument& problem) {
    EXPECT_THAT(problem.what(), testing::AllOf(HasSubstr("smoothquant"), HasSubstr("calibration")));
  }
  BlockStatistics broken = tiny_statistics(exec_.get(), model, 0);
  broken.inputs["blocks.0.attn.q_proj"].absmax[4] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW(pass->compress_block(context, 0, broken), NumericError);
}

TEST_F(SmoothQuantTest, OptionErrors) {
  EXPECT_EQ(wrong_refusals(catalogue_, "smoothquant"), "");
  EXPECT_THAT(option_error(catalogue_, "smoothquant", {{"alpha", "1.5"}}), HasSubstr("0 .. 1"));
}

}  // namespace
}  // namespace halftone
