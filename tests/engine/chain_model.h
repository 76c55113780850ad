// Models whose answers are known by construction: one that recites a text, one that knows nothing. The tokenizer has a
// token for each byte, so characters and stop texts span tokens.
#pragma once

#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <string>

#include "models/language/language_model.h"
#include "tiny_gguf.h"

namespace halftone::testing {

inline constexpr int32_t kStartToken = 256, kEndToken = 257, kVocabulary = 258;

inline TokenizerSpec byte_tokenizer() {
  TokenizerSpec spec;
  spec.pre = "gpt2";
  for (int byte = 0; byte < 256; ++byte) spec.tokens.push_back(byte_spelling(byte));
  spec.types.assign(256, TokenType::Normal);
  for (const char* name : {"<|start|>", "<|end|>"}) {
    spec.tokens.emplace_back(name);
    spec.types.push_back(TokenType::Control);
  }
  spec.bos_id = kStartToken;
  spec.eos_id = kEndToken;
  return spec;
}

/// A model without attention or feed-forward (their weights are 0): the head sees the last token alone.
/// `head` [258, 258]: row n holds how much each last token speaks for next token n.
inline models::LanguageModel last_token_model(const at::Tensor& head, int64_t context = 64) {
  nn::DecoderConfig config;
  config.architecture = "llama";
  config.width = config.vocabulary = kVocabulary;
  config.ffn_width = 8, config.heads = 1, config.kv_heads = 1, config.head_dim = 8;
  config.context_length = context;
  config.softmax_scale = 1;
  config.layers = {{0, {1.0, 0.1, 0.01, 0.001}}};
  const auto zero = [](const char* site, int64_t outputs, int64_t inputs) {
    return nn::Linear(std::string("blocks.0.") + site, DenseStorage{at::zeros({outputs, inputs}, at::kFloat)});
  };
  std::vector<nn::DecoderBlock> blocks;
  blocks.push_back({.attn_norm = at::ones({kVocabulary}, at::kFloat),
                    .ffn_norm = at::ones({kVocabulary}, at::kFloat),
                    .q_proj = zero("attn.q_proj", 8, kVocabulary),
                    .k_proj = zero("attn.k_proj", 8, kVocabulary),
                    .v_proj = zero("attn.v_proj", 8, kVocabulary),
                    .o_proj = zero("attn.o_proj", kVocabulary, 8),
                    .gate_proj = zero("mlp.gate_proj", 8, kVocabulary),
                    .up_proj = zero("mlp.up_proj", 8, kVocabulary),
                    .down_proj = zero("mlp.down_proj", kVocabulary, 8)});
  at::Tensor one_hot = at::zeros({kVocabulary, kVocabulary}, at::kFloat);
  for (int64_t i = 0; i < kVocabulary; ++i) one_hot.data_ptr<float>()[i * kVocabulary + i] = 1;
  return {nn::Decoder(config, std::make_shared<const Storage>(DenseStorage{one_hot}), std::move(blocks),
                      at::ones({kVocabulary}, at::kFloat), std::make_shared<const Storage>(DenseStorage{head})),
          Tokenizer(byte_tokenizer()),
          "chain",
          "test",
          0,
          {}};
}

/// After each byte of `text` comes the next one, after the last the end token; no byte may occur twice.
inline models::LanguageModel chain_model(const std::string& text, int64_t context = 64) {
  at::Tensor head = at::zeros({kVocabulary, kVocabulary}, at::kFloat);
  for (size_t i = 0; i < text.size(); ++i) {
    const int64_t next = i + 1 < text.size() ? static_cast<unsigned char>(text[i + 1]) : kEndToken;
    head.data_ptr<float>()[next * kVocabulary + static_cast<unsigned char>(text[i])] = 10;
  }
  return last_token_model(head, context);
}

/// Every next token is as likely as any other.
inline models::LanguageModel uniform_model() {
  return last_token_model(at::zeros({kVocabulary, kVocabulary}, at::kFloat), 512);
}

}  // namespace halftone::testing
