// Every rewrite leaves the logits as they were and does to the weights what it says; impossible ones are refused.
#include "nn/transforms.h"

#include <ATen/ops/linalg_vector_norm.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>

#include "base/error.h"
#include "nn/testing/tiny_decoder.h"
#include "tensor/quantize.h"

namespace halftone::nn {
namespace {

using testing::HasSubstr;

/// f32 carries 6e-8 a rounding; two blocks of sums over 64 to 128 terms, and norms that a rewrite may make less even,
/// stay three orders of magnitude below this.
constexpr double kUnchanged = 1e-4;

struct Model {
  const char* name;
  DecoderConfig config;
  bool biases;
};

std::vector<Model> models() {
  DecoderConfig partial =
      tiny_llama_config();  // RoPE on half of each head, in half-split pairs, with biases (qwen-like)
  partial.architecture = "qwen2";
  partial.rope_style = kernels::RopeStyle::HalfSplit;
  for (auto& layer : partial.layers) layer.inverse_frequency.resize(4);
  return {{"llama", tiny_llama_config(), false}, {"qwen2", partial, true}, {"gemma3", tiny_gemma_config(), false}};
}

std::vector<float> random_factors(int64_t count, uint64_t seed) {
  PhiloxStream random(seed);
  std::vector<float> factors(count);
  for (auto& factor : factors) factor = std::exp2(6 * random.uniform() - 3);  // 1/8 .. 8
  return factors;
}

/// Random factors, equal within RoPE pairs, and for models with a key norm equal in all heads.
std::vector<float> key_factors(const Decoder& decoder) {
  const auto& config = decoder.config();
  auto factors = random_factors(config.kv_heads * config.head_dim, 8);
  const int64_t dim = config.head_dim;
  const auto half = static_cast<int64_t>(config.layers[0].inverse_frequency.size());
  for (int64_t head = 0; head < config.kv_heads; ++head)
    for (int64_t i = 0; i < half; ++i)
      if (config.rope_style == kernels::RopeStyle::Adjacent)
        factors[head * dim + 2 * i + 1] = factors[head * dim + 2 * i];
      else
        factors[head * dim + half + i] = factors[head * dim + i];
  if (decoder.blocks()[0].k_norm.defined())
    for (size_t i = dim; i < factors.size(); ++i) factors[i] = factors[i % dim];
  return factors;
}

class TransformsTest : public testing::Test {
 protected:
  /// Applies `rewrite` to every test model and checks that it changed weights, and logits by less than kUnchanged.
  void expect_unchanged(const std::function<void(Decoder&)>& rewrite, bool gemma = true) {
    for (const auto& model : models()) {
      if (!gemma && model.config.architecture == "gemma3") continue;
      Decoder decoder = tiny_decoder(model.config, 1, model.biases);
      const auto tokens = tiny_tokens(12);
      const at::Tensor before = tiny_logits(exec_.get(), decoder, tokens);
      const auto original = weights(decoder);
      rewrite(decoder);
      EXPECT_LT(relative_distance(tiny_logits(exec_.get(), decoder, tokens), before), kUnchanged) << model.name;
      const auto rewritten = weights(decoder);
      bool same = true;
      for (size_t i = 0; i < original.size(); ++i) same = same && original[i].equal(rewritten[i]);
      EXPECT_FALSE(same) << model.name << ": nothing was rewritten";
    }
  }

  static std::vector<at::Tensor> weights(const Decoder& decoder) {
    std::vector<at::Tensor> all;
    for (const auto& block : decoder.blocks()) {
      for (const auto* norm : {&block.attn_norm, &block.ffn_norm}) all.push_back(norm->clone());
      if (block.k_norm.defined()) all.push_back(block.k_norm.clone());
      for (const auto* linear : block.linears()) all.push_back(linear->dense_weight().clone());
    }
    return all;
  }

  OwnedExecContext exec_{1};
};

TEST_F(TransformsTest, FoldNorms) {
  expect_unchanged([](Decoder& d) {
    fold_norms(d);
    for (const auto& block : d.blocks()) EXPECT_TRUE((block.attn_norm == 1).all().item<bool>());
  });
}

TEST_F(TransformsTest, RotateResidual) {
  for (const uint64_t seed : {0, 7}) expect_unchanged([&](Decoder& d) { rotate_residual(d, seed); }, /*gemma=*/false);
}

TEST_F(TransformsTest, RotateValueHeads) {
  expect_unchanged([](Decoder& d) {
    for (auto& block : d.blocks()) rotate_value_heads(d.config(), block);
  });
}

TEST_F(TransformsTest, SmoothAttention) {
  expect_unchanged([](Decoder& d) {
    for (auto& block : d.blocks()) smooth_attention(d.config(), block, key_factors(d));
  });
}

TEST_F(TransformsTest, SmoothAttentionDividesTheKeys) {
  struct Keys final : Observer {
    void linear_input(const std::string&, const at::Tensor&) override {}
    void queries_and_keys(int64_t block, const at::Tensor&, const at::Tensor& k) override {
      if (block == 0) keys = k.clone();
    }
    at::Tensor keys;
  };
  for (const auto& model : models()) {
    Decoder decoder = tiny_decoder(model.config, 1, model.biases);
    Keys before, after;
    tiny_logits(exec_.get(), decoder, tiny_tokens(6), ElementType::Float32, &before);
    const auto factors = key_factors(decoder);
    smooth_attention(decoder.config(), decoder.blocks()[0], factors);
    tiny_logits(exec_.get(), decoder, tiny_tokens(6), ElementType::Float32, &after);
    const int64_t dim = model.config.head_dim;
    for (int64_t i = 0; i < model.config.kv_heads * dim; ++i) {
      const at::Tensor wanted = before.keys.select(1, i / dim).select(1, i % dim) / factors[i];
      const at::Tensor got = after.keys.select(1, i / dim).select(1, i % dim);
      EXPECT_LT((got - wanted).abs().max().item<double>(), 1e-4 * before.keys.abs().max().item<double>() / factors[i])
          << model.name << " channel " << i;
    }
  }
}

TEST_F(TransformsTest, SmoothInputsOfNorms) {
  expect_unchanged([](Decoder& d) {
    for (auto& block : d.blocks()) smooth_attention_input(block, random_factors(d.config().width, 1));
  });
  expect_unchanged([](Decoder& d) {
    for (auto& block : d.blocks()) smooth_ffn_input(block, random_factors(d.config().width, 2));
  });
}

TEST_F(TransformsTest, SmoothDownAndOutputInputs) {
  expect_unchanged([](Decoder& d) {
    for (auto& block : d.blocks()) smooth_down_input(block, random_factors(d.config().ffn_width, 3));
  });
  expect_unchanged([](Decoder& d) {
    for (auto& block : d.blocks())
      smooth_output_input(d.config(), block, random_factors(d.config().kv_heads * d.config().head_dim, 4));
  });
}

TEST_F(TransformsTest, PermuteFfn) {
  std::vector<int64_t> order(96);
  std::iota(order.begin(), order.end(), int64_t{0});
  std::rotate(order.begin(), order.begin() + 31, order.end());
  std::swap(order[3], order[90]);
  expect_unchanged([&](Decoder& d) {
    const at::Tensor down = d.blocks()[0].down_proj.dense_weight();
    for (auto& block : d.blocks()) permute_ffn(block, order);
    EXPECT_TRUE(d.blocks()[0].down_proj.dense_weight().select(1, 3).equal(down.select(1, order[3])));
  });
}

TEST_F(TransformsTest, TheyCompose) {
  expect_unchanged(
      [](Decoder& d) {
        rotate_residual(d, 3);
        std::vector<int64_t> order(96);
        std::iota(order.rbegin(), order.rend(), int64_t{0});
        for (auto& block : d.blocks()) {
          rotate_value_heads(d.config(), block);
          permute_ffn(block, order);
          smooth_down_input(block, random_factors(96, 5));
          smooth_attention(d.config(), block, key_factors(d));
          smooth_attention_input(block, random_factors(64, 6));
        }
      },
      /*gemma=*/false);
}

TEST_F(TransformsTest, RotationSpreadsAnOutlier) {
  // One residual channel carries almost everything; after the rotation no channel does.
  Decoder decoder = tiny_decoder(tiny_llama_config());
  at::Tensor table = dequantize(*decoder.embedding()).clone();
  table.select(1, 5).mul_(50);
  decoder.set_embedding(DenseStorage{table});
  const std::vector<int32_t> tokens = tiny_tokens(16);
  const auto peak = [&] {
    const at::Tensor hidden = decoder.embed(exec_.get(), tokens);
    return (hidden.abs().amax(1) / at::linalg_vector_norm(hidden, 2, 1)).max().item<double>();
  };
  EXPECT_GT(peak(), 0.9);
  rotate_residual(decoder, 1);
  EXPECT_LT(peak(), 0.5);
}

TEST_F(TransformsTest, GemmaRotationIsRefusedWithTheRemedy) {
  Decoder decoder = tiny_decoder(tiny_gemma_config());
  try {
    rotate_residual(decoder, 1);
    FAIL() << "rotated a model that norms its branches";
  } catch (const Unsupported& problem) {
    EXPECT_THAT(problem.what(), HasSubstr("rotate=false"));
    EXPECT_THAT(problem.what(), HasSubstr("gemma3"));
  }
}

TEST_F(TransformsTest, RefusesWhatCannotBe) {
  Decoder decoder = tiny_decoder(tiny_llama_config());
  DecoderBlock& block = decoder.blocks()[0];
  EXPECT_THROW(smooth_down_input(block, random_factors(95, 1)), InvalidArgument);
  EXPECT_THROW(permute_ffn(block, std::vector<int64_t>(95, 0)), InvalidArgument);
  std::vector<float> factors(64, 1.0f);
  for (const float bad :
       {0.0f, -1.0f, std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    factors[7] = bad;
    EXPECT_THROW(smooth_ffn_input(block, factors), NumericError) << bad;
  }
  rotate_residual(decoder, 1);
  EXPECT_THROW(rotate_residual(decoder, 1), InvalidArgument);

  Decoder gemma = tiny_decoder(tiny_gemma_config());
  EXPECT_THROW(smooth_attention(gemma.config(), gemma.blocks()[0], random_factors(64, 9)), Unsupported);

  Decoder compressed = tiny_decoder(tiny_llama_config());
  Linear& q_proj = compressed.blocks()[0].q_proj;
  q_proj.set_weight(quantize_nearest(exec_.get(), q_proj.dense_weight(), {}));
  EXPECT_THROW(fold_norms(compressed), Unsupported);
}

TEST_F(TransformsTest, PermutationMustBeOne) {
  Decoder decoder = tiny_decoder(tiny_llama_config());
  std::vector<int64_t> order(96, 0);
  EXPECT_THROW(permute_ffn(decoder.blocks()[0], order), InvalidArgument);  // channel 0 ninety-six times
  std::iota(order.begin(), order.end(), int64_t{1});                       // ends at 96
  EXPECT_THROW(permute_ffn(decoder.blocks()[0], order), InvalidArgument);
}

}  // namespace
}  // namespace halftone::nn
