// qoq: each step of the recipe earns its place on a model with the outliers it is for; storages are two-level and stay
// in int8; what the rewrites do to the statistics; every error.
#include "methods/compress/qoq/qoq.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "nn/transforms.h"
#include "plugin/compress_helpers.h"
#include "plugin/testing/calibrate.h"

namespace halftone {
namespace {

using nn::outlier_factors;
using nn::tiny_decoder;
using nn::tiny_gemma_config;
using nn::tiny_llama_config;
using testing::HasSubstr;

/// Everything off; tests switch on what they look at.
const OptionValues kPlain = {{"rotate", "false"},      {"reorder", "false"}, {"smooth_attention", "false"},
                             {"smooth_down", "false"}, {"gptq", "false"},    {"kv", "f32"}};

OptionValues plain_with(const OptionValues& changes) {
  OptionValues options = changes;
  options.insert(kPlain.begin(), kPlain.end());
  return options;
}

class QoqTest : public testing::Test {
 protected:
  QoqTest() { register_qoq(catalogue_); }
  /// Error of the logits of `make()` compressed with kPlain and `changes`.
  template <class Make>
  double error(Make&& make, const OptionValues& changes) {
    nn::Decoder model = make();
    compress_tiny(exec_.get(), model, catalogue_, "qoq", plain_with(changes));
    return logits_error(exec_.get(), model, make());
  }
  Catalogue catalogue_;
  OwnedExecContext exec_{2};
};

/// The int8 values of a two-level storage: value / row scale, which is an integer.
at::Tensor int8_values(const Storage& storage) {
  const auto& q = std::get<QuantizedStorage>(storage);
  return dequantize(storage).to(at::kDouble) / q.scales.to(at::kDouble);
}

TEST_F(QoqTest, StoragesAreTwoLevelAndStayInInt8) {
  for (const auto& config : {tiny_llama_config(), tiny_gemma_config()}) {
    nn::Decoder model = tiny_decoder(config);
    compress_tiny(exec_.get(), model, catalogue_, "qoq",
                  {{"rotate", config.architecture == "gemma3" ? "false" : "true"}});
    for (const auto& block : model.blocks())
      for (const auto* linear : block.linears()) {
        const auto& q = std::get<QuantizedStorage>(linear->weight());
        EXPECT_EQ(q.scheme.granularity, Granularity::TwoLevel);
        EXPECT_EQ(q.scheme.group, fitting_group(linear->inputs(), 128)) << linear->site();
        EXPECT_EQ(linear->activations(), nn::ActivationFormat::Int8PerToken);
        const at::Tensor int8 = int8_values(linear->weight());
        EXPECT_TRUE((int8 == int8.round()).all().item<bool>()) << linear->site();
        EXPECT_GE(int8.min().item<double>(), -128) << linear->site();
        EXPECT_LE(int8.max().item<double>(), 127) << linear->site();
      }
    EXPECT_EQ(model.kv_format(), ElementType::Int4);
    EXPECT_EQ(describe(*model.embedding()), "f16");
    EXPECT_TRUE(model.tied());
  }
}

TEST_F(QoqTest, Golden) {
  // Row maximum 119: the int8 level is the weight itself. Group 0 spans -119 .. 119: step round(238 / 15) = 16, zero
  // point round(119 / 16) = 7; 119 becomes 7 steps = 112, 30 becomes 2 steps = 32. Group 1 holds 0 .. 15 with step 1:
  // exact.
  nn::Decoder model = tiny_decoder(tiny_llama_config());
  auto& linear = model.blocks()[0].k_proj;
  at::Tensor weight = at::zeros({32, 64});
  weight[0][0] = 119;
  weight[0][1] = -119;
  weight[0][2] = 30;
  weight[0].narrow(0, 32, 16).copy_(at::arange(16));
  linear.set_weight(DenseStorage{weight});
  compress_tiny(exec_.get(), model, catalogue_, "qoq", plain_with({{"group_size", "32"}}), linear.site());
  const auto& q = std::get<QuantizedStorage>(linear.weight());
  EXPECT_EQ(q.scales[0][0].item<float>(), 1.0f);
  EXPECT_EQ(q.group_scales[0][0].item<int>(), 16);
  EXPECT_EQ(q.zeros[0][0].item<int>(), 7);
  EXPECT_EQ(q.group_scales[0][1].item<int>(), 1);
  const at::Tensor values = dequantize(linear.weight());
  EXPECT_EQ(values[0][0].item<float>(), 112);
  EXPECT_EQ(values[0][1].item<float>(), -112);
  EXPECT_EQ(values[0][2].item<float>(), 32);
  EXPECT_TRUE(values[0].narrow(0, 32, 16).equal(at::arange(16).to(at::kFloat)));
}

TEST_F(QoqTest, PrepareKeepsTheFunction) {
  nn::Decoder model = tiny_decoder(tiny_llama_config());
  const auto tokens = nn::tiny_tokens(12);
  const at::Tensor before = nn::tiny_logits(exec_.get(), model, tokens);
  const SiteSelector sites;
  CompressContext context{exec_.get(), model, sites};
  catalogue_.make_compress_pass("qoq", {})->prepare(context);
  EXPECT_TRUE(model.residual_rotation().has_value());
  EXPECT_LT(nn::relative_distance(nn::tiny_logits(exec_.get(), model, tokens), before), 1e-4);
}

TEST_F(QoqTest, StatisticsFollowTheRewrites) {
  nn::Decoder model = tiny_decoder(tiny_llama_config());
  nn::DecoderBlock& block = model.blocks()[0];
  const std::string site = block.down_proj.site();
  const at::Tensor before = tiny_statistics(exec_.get(), model, 0).input(site).gram;
  std::vector<int64_t> order(96);
  std::iota(order.rbegin(), order.rend(), int64_t{0});
  std::swap(order[2], order[50]);
  const auto factors = outlier_factors(96, {0, 5, 95}, 0.125f);
  nn::permute_ffn(block, order);
  nn::smooth_down_input(block, factors);
  const at::Tensor measured = tiny_statistics(exec_.get(), model, 0).input(site).gram;
  EXPECT_LT(nn::relative_distance(scaled_gram(permuted_gram(before, order), factors), measured), 1e-5);
}

/// Mean over tokens of the relative error that int8 with a scale a token makes in the inputs of one site.
struct Int8InputError final : nn::Observer {
  explicit Int8InputError(std::string wanted) : site(std::move(wanted)) {}
  void linear_input(const std::string& where, const at::Tensor& x) override {
    if (where != site) return;
    const at::Tensor scale = x.abs().amax(1, /*keepdim=*/true) / 127;
    const at::Tensor difference = (x / scale).round() * scale - x;
    error = (difference.square().sum(1) / x.square().sum(1)).sqrt().mean().item<double>();
  }
  void queries_and_keys(int64_t, const at::Tensor&, const at::Tensor&) override {}
  std::string site;
  double error = -1;
};

TEST_F(QoqTest, RotationLowersTheRoundingErrorOfActivations) {
  // One channel of the residual stream carries nearly all of a token's norm and leaves 2 of 127 codes to the others. A
  // rotation of 64 channels spreads it to an eighth each.
  nn::Decoder model = tiny_decoder(tiny_llama_config());
  at::Tensor table = dequantize(*model.embedding()).clone();
  table.select(1, 9).copy_((table.select(1, 9).sign() * 60));
  model.set_embedding(DenseStorage{table});
  for (const char* site : {"blocks.0.attn.q_proj", "blocks.1.mlp.up_proj"}) {
    nn::Decoder rotated = tiny_decoder(tiny_llama_config());
    rotated.set_embedding(DenseStorage{table});
    const SiteSelector sites;
    CompressContext context{exec_.get(), rotated, sites};
    catalogue_.make_compress_pass("qoq", plain_with({{"rotate", "true"}}))->prepare(context);
    Int8InputError before(site), after(site);
    nn::tiny_logits(exec_.get(), model, nn::tiny_tokens(24), ElementType::Float32, &before);
    nn::tiny_logits(exec_.get(), rotated, nn::tiny_tokens(24), ElementType::Float32, &after);
    ASSERT_GT(before.error, 0) << site;
    ASSERT_GT(after.error, 0) << site;
    EXPECT_LT(after.error, before.error / 2) << site;
  }
}

TEST_F(QoqTest, SmoothAttentionHelpsOutliersOfKeys) {
  for (const auto& config : {tiny_llama_config(), tiny_gemma_config()}) {
    const auto make = [&] {
      nn::Decoder model = tiny_decoder(config);
      std::vector<int64_t> channels;  // one RoPE pair of every head
      const bool adjacent = config.rope_style == kernels::RopeStyle::Adjacent;
      for (int64_t head = 0; head < config.kv_heads; ++head)
        for (const int64_t d : {int64_t{4}, adjacent ? 5 : 4 + config.head_dim / 2})
          channels.push_back(head * config.head_dim + d);
      for (auto& block : model.blocks())
        nn::smooth_attention(config, block, outlier_factors(config.kv_heads * config.head_dim, channels, 30));
      return model;
    };
    EXPECT_LT(error(make, {{"kv", "int4"}, {"smooth_attention", "true"}}), error(make, {{"kv", "int4"}}))
        << config.architecture;
  }
}

TEST_F(QoqTest, ReorderAndSmoothingHelpOutliersOfDownProj) {
  std::vector<int64_t> every_third;
  for (int64_t channel = 0; channel < 96; channel += 3) every_third.push_back(channel);
  const auto make = [&] {
    nn::Decoder model = tiny_decoder(tiny_llama_config());
    for (auto& block : model.blocks()) nn::smooth_down_input(block, outlier_factors(96, every_third, 30));
    return model;
  };
  // The small weights that read the outliers share groups with ordinary ones, whose step is far too large for them.
  const double plain = error(make, {});
  EXPECT_LT(error(make, {{"reorder", "true"}}), plain / 2);
  EXPECT_LT(error(make, {{"smooth_down", "true"}}), plain / 2);
}

TEST_F(QoqTest, GptqHelps) {
  const auto make = [] { return tiny_decoder(tiny_llama_config()); };
  EXPECT_LT(error(make, {{"gptq", "true"}}), error(make, {}));
  EXPECT_LT(error(make, {{"gptq", "true"}, {"reorder", "true"}, {"smooth_down", "true"}}),
            error(make, {{"reorder", "true"}, {"smooth_down", "true"}}));
}

TEST_F(QoqTest, SameRequestSameBits) {
  std::vector<at::Tensor> runs;
  for (int run = 0; run < 2; ++run) {
    nn::Decoder model = tiny_decoder(tiny_llama_config());
    compress_tiny(exec_.get(), model, catalogue_, "qoq", {});
    runs.push_back(std::get<QuantizedStorage>(model.blocks()[1].down_proj.weight()).codes);
  }
  EXPECT_TRUE(runs[0].equal(runs[1]));
}

TEST_F(QoqTest, RopePairsShareTheirMaximum) {
  // Two heads of 6 channels, 4 of them rotated.
  const std::vector<float> values = {1, 2, 3, 4, 9, 8, 6, 5, 2, 7, 1, 0};
  auto adjacent = values;
  max_over_rope_pairs(adjacent, 6, 4, kernels::RopeStyle::Adjacent);
  EXPECT_EQ(adjacent, (std::vector<float>{2, 2, 4, 4, 9, 8, 6, 6, 7, 7, 1, 0}));
  auto half = values;
  max_over_rope_pairs(half, 6, 4, kernels::RopeStyle::HalfSplit);
  EXPECT_EQ(half, (std::vector<float>{3, 4, 3, 4, 9, 8, 6, 7, 6, 7, 1, 0}));
}

TEST_F(QoqTest, AsksForWhatItsStepsRead) {
  const auto needs = [&](const OptionValues& changes) {
    return catalogue_.make_compress_pass("qoq", plain_with(changes))->needs();
  };
  EXPECT_FALSE(needs({}).any());
  EXPECT_TRUE(needs({{"gptq", "true"}}).input_gram);
  EXPECT_TRUE(needs({{"reorder", "true"}}).input_absmax);
  EXPECT_TRUE(needs({{"smooth_down", "true"}}).input_absmax);
  EXPECT_TRUE(needs({{"smooth_attention", "true"}}).key_absmax);
}

TEST_F(QoqTest, SaysWhatCalibrationItMisses) {
  for (const char* step : {"gptq", "reorder", "smooth_down", "smooth_attention"}) {
    nn::Decoder model = tiny_decoder(tiny_llama_config());
    const SiteSelector sites;
    CompressContext context{exec_.get(), model, sites};
    try {
      catalogue_.make_compress_pass("qoq", plain_with({{step, "true"}}))->compress_block(context, 0, {});
      FAIL() << step << " ran without calibration";
    } catch (const InvalidArgument& problem) {
      EXPECT_THAT(problem.what(), testing::AllOf(HasSubstr("qoq"), HasSubstr("calibration"))) << step;
    }
  }
}

TEST_F(QoqTest, GemmaRotationNamesTheRemedy) {
  nn::Decoder model = tiny_decoder(tiny_gemma_config());
  try {
    compress_tiny(exec_.get(), model, catalogue_, "qoq", {});
    FAIL() << "rotated a gemma3 model";
  } catch (const Unsupported& problem) {
    EXPECT_THAT(problem.what(), HasSubstr("rotate=false"));
  }
}

TEST_F(QoqTest, OptionErrors) {
  EXPECT_EQ(wrong_refusals(catalogue_, "qoq"), "");
  EXPECT_THAT(option_error(catalogue_, "qoq", {{"group_size", "512"}}), HasSubstr("32 .. 256"));
}

}  // namespace
}  // namespace halftone
