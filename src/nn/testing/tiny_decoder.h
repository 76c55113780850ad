// Small random decoders for tests: a llama-like one (adjacent RoPE pairs, tied head) and a gemma-like one (half-split
// pairs, per-head norms, norms on the branches' outputs, a sliding window), with a forward pass in one call.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>

#include <cmath>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "base/philox.h"
#include "nn/decoder.h"

namespace halftone::nn {

/// [rows, columns] f32, uniform in +-size.
inline at::Tensor uniform_matrix(PhiloxStream& random, int64_t rows, int64_t columns, float size) {
  at::Tensor matrix = at::empty({rows, columns}, at::kFloat);
  float* data = matrix.data_ptr<float>();
  for (int64_t i = 0; i < matrix.numel(); ++i) data[i] = size * (2 * random.uniform() - 1);
  return matrix;
}

inline DecoderConfig tiny_llama_config() {
  DecoderConfig config;
  config.architecture = "llama";
  config.width = 64;
  config.ffn_width = 96;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 16;
  config.vocabulary = 97;
  config.context_length = 64;
  config.softmax_scale = 0.25;
  for (int layer = 0; layer < 2; ++layer) {
    LayerAttention attention;
    for (int i = 0; i < 8; ++i) attention.inverse_frequency.push_back(std::pow(1e4, -i / 8.0));
    config.layers.push_back(attention);
  }
  return config;
}

/// Heads wider than width / heads, two key-value heads, a window on the first layer, as gemma3 has.
inline DecoderConfig tiny_gemma_config() {
  DecoderConfig config = tiny_llama_config();
  config.architecture = "gemma3";
  config.head_dim = 32;
  config.softmax_scale = 1 / std::sqrt(32.0);
  config.embedding_scale = 8;
  config.rope_style = kernels::RopeStyle::HalfSplit;
  config.activation = kernels::GatedActivation::GeGlu;
  for (auto& layer : config.layers) {
    layer.inverse_frequency.clear();
    for (int i = 0; i < 16; ++i) layer.inverse_frequency.push_back(std::pow(1e4, -i / 16.0));
  }
  config.layers[0].window = 5;
  return config;
}

/// A decoder with random weights; gemma3 configurations get the extra norms. `biases` adds them to q/k/v (qwen2).
inline Decoder tiny_decoder(DecoderConfig config, uint64_t seed = 1, bool biases = false) {
  PhiloxStream random(seed);
  const bool gemma = config.architecture == "gemma3";
  const auto norm = [&](int64_t size) { return (1 + uniform_matrix(random, 1, size, 0.5f)).view(-1); };
  const auto linear = [&](int64_t block, const char* name, int64_t n, int64_t k, bool bias) {
    const at::Tensor weight = uniform_matrix(random, n, k, 1.7f / std::sqrt(static_cast<float>(k)));
    return Linear("blocks." + std::to_string(block) + "." + name, DenseStorage{weight},
                  bias ? uniform_matrix(random, 1, n, 0.5f).view(-1) : at::Tensor());
  };
  const int64_t q = config.heads * config.head_dim, kv = config.kv_heads * config.head_dim;
  std::vector<DecoderBlock> blocks;
  for (int64_t b = 0; b < static_cast<int64_t>(config.layers.size()); ++b) {
    const auto extra = [&](int64_t size) { return gemma ? norm(size) : at::Tensor(); };
    blocks.push_back({.attn_norm = norm(config.width),
                      .ffn_norm = norm(config.width),
                      .q_norm = extra(config.head_dim),
                      .k_norm = extra(config.head_dim),
                      .post_attn_norm = extra(config.width),
                      .post_ffn_norm = extra(config.width),
                      .q_proj = linear(b, "attn.q_proj", q, config.width, biases),
                      .k_proj = linear(b, "attn.k_proj", kv, config.width, biases),
                      .v_proj = linear(b, "attn.v_proj", kv, config.width, biases),
                      .o_proj = linear(b, "attn.o_proj", config.width, q, false),
                      .gate_proj = linear(b, "mlp.gate_proj", config.ffn_width, config.width, false),
                      .up_proj = linear(b, "mlp.up_proj", config.ffn_width, config.width, false),
                      .down_proj = linear(b, "mlp.down_proj", config.width, config.ffn_width, false)});
  }
  auto embedding =
      std::make_shared<const Storage>(DenseStorage{uniform_matrix(random, config.vocabulary, config.width, 1.0f)});
  NormWeight final_norm = norm(config.width);
  return Decoder(std::move(config), embedding, std::move(blocks), std::move(final_norm), embedding);
}

/// `count` token ids of the tiny vocabulary.
inline std::vector<int32_t> tiny_tokens(int64_t count, uint64_t seed = 3) {
  PhiloxStream random(seed);
  std::vector<int32_t> tokens(count);
  for (auto& token : tokens) token = static_cast<int32_t>(random() % 97);
  return tokens;
}

/// Logits of all `tokens` [T, vocabulary] from an empty cache in `format`.
inline at::Tensor tiny_logits(ExecContext& exec, const Decoder& decoder, const std::vector<int32_t>& tokens,
                              ElementType format = ElementType::Float32, Observer* observer = nullptr) {
  KvStore cache(decoder.config().kv_shape(), format, static_cast<int64_t>(tokens.size()));
  StepContext step{exec, observer};
  return decoder.forward(step, tokens, cache, Logits::All);
}

/// Factors for the smoothing transforms that do their opposite: the named channels become `size` times as large, the
/// model computes what it did.
inline std::vector<float> outlier_factors(int64_t count, const std::vector<int64_t>& channels, float size) {
  std::vector<float> factors(count, 1.0f);
  for (const int64_t channel : channels) factors[channel] = 1 / size;
  return factors;
}

/// max |a - b| / max |b|.
inline double relative_distance(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>() / b.abs().max().item<double>();
}

}  // namespace halftone::nn
