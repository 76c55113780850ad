// A tiny random llama in a GGUF file, with a tokenizer of 256 byte tokens and two special ones: enough to run every
// flow in milliseconds.
#pragma once

#include <cmath>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "io/gguf/gguf_writer.h"
#include "numerics/half.h"

namespace halftone::testing {

struct TinyShape {
  int64_t layers = 3, width = 64, ffn_width = 96, heads = 4, kv_heads = 2, head_dim = 16, vocabulary = 258;
};

/// UTF-8 of the character by which GPT-2's alphabet spells a byte.
inline std::string byte_spelling(int byte) {
  const auto printable = [](int b) { return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174; };
  int code = byte;
  if (!printable(byte)) {
    code = 256;
    for (int b = 0; b < byte; ++b) code += printable(b) ? 0 : 1;
  }
  if (code < 0x80) return std::string(1, static_cast<char>(code));
  return {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 0x3F))};
}

class TinyGguf {
 public:
  /// The type of a matrix by its name; quantised ones get random blocks. Columns must fill whole blocks.
  using TypeOf = std::function<GgufType(std::string_view name)>;

  explicit TinyGguf(uint32_t seed, TinyShape shape = {}, TypeOf type_of = {})
      : shape_(shape), random_(seed), type_of_(std::move(type_of)) {}

  /// Gives the head a matrix of its own.
  void untie() { untied_ = true; }

  void write(const std::filesystem::path& path) {
    set_metadata();
    const int64_t q = shape_.heads * shape_.head_dim, kv = shape_.kv_heads * shape_.head_dim;
    add("token_embd.weight", {shape_.width, shape_.vocabulary}, 1.0f);
    add("output_norm.weight", {shape_.width}, 0.1f, 1.0f);
    if (untied_) add("output.weight", {shape_.width, shape_.vocabulary}, 1.0f);
    for (int64_t i = 0; i < shape_.layers; ++i) {
      const std::string block = "blk." + std::to_string(i) + ".";
      add(block + "attn_norm.weight", {shape_.width}, 0.1f, 1.0f);
      add(block + "ffn_norm.weight", {shape_.width}, 0.1f, 1.0f);
      add_linear(block + "attn_q.weight", shape_.width, q);
      add_linear(block + "attn_k.weight", shape_.width, kv);
      add_linear(block + "attn_v.weight", shape_.width, kv);
      add_linear(block + "attn_output.weight", q, shape_.width);
      add_linear(block + "ffn_gate.weight", shape_.width, shape_.ffn_width);
      add_linear(block + "ffn_up.weight", shape_.width, shape_.ffn_width);
      add_linear(block + "ffn_down.weight", shape_.ffn_width, shape_.width);
    }
    writer_.write(path);
  }

 private:
  void set_metadata() {
    writer_.set_string("general.architecture", "llama");
    writer_.set_string("general.name", "tiny");
    writer_.set_u32("llama.block_count", static_cast<uint32_t>(shape_.layers));
    writer_.set_u32("llama.context_length", 512);
    writer_.set_u32("llama.embedding_length", static_cast<uint32_t>(shape_.width));
    writer_.set_u32("llama.feed_forward_length", static_cast<uint32_t>(shape_.ffn_width));
    writer_.set_u32("llama.attention.head_count", static_cast<uint32_t>(shape_.heads));
    writer_.set_u32("llama.attention.head_count_kv", static_cast<uint32_t>(shape_.kv_heads));
    writer_.set_u32("llama.attention.key_length", static_cast<uint32_t>(shape_.head_dim));
    writer_.set_f32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
    writer_.set_f32("llama.rope.freq_base", 10000.0f);
    std::vector<std::string> tokens;
    std::vector<int32_t> types(256, 1);
    for (int byte = 0; byte < 256; ++byte) tokens.push_back(byte_spelling(byte));
    for (const char* special : {"<|start|>", "<|end|>"}) {
      tokens.emplace_back(special);
      types.push_back(3);
    }
    const std::vector<std::string_view> views(tokens.begin(), tokens.end());
    writer_.set_string("tokenizer.ggml.model", "gpt2");
    writer_.set_string("tokenizer.ggml.pre", "gpt-2");
    writer_.set_strings("tokenizer.ggml.tokens", views);
    writer_.set_i32s("tokenizer.ggml.token_type", types);
    writer_.set_strings("tokenizer.ggml.merges", {});
    writer_.set_u32("tokenizer.ggml.bos_token_id", 256);
    writer_.set_u32("tokenizer.ggml.eos_token_id", 257);
  }

  void add_linear(const std::string& name, int64_t inputs, int64_t outputs) {
    add(name, {inputs, outputs}, 1.0f / std::sqrt(static_cast<float>(inputs)));
  }

  void add(const std::string& name, std::vector<int64_t> dims, float deviation, float mean = 0) {
    const GgufType type = dims.size() == 2 && type_of_ ? type_of_(name) : GgufType::F32;
    if (type != GgufType::F32) return add_blocks(name, dims, type, deviation);
    int64_t count = 1;
    for (const int64_t dim : dims) count *= dim;
    auto values = std::make_shared<std::vector<float>>(count);
    std::normal_distribution<float> normal(mean, deviation);
    for (float& value : *values) value = normal(random_);
    writer_.add_tensor(name, dims, GgufType::F32,
                       [values](std::span<std::byte> out) { std::memcpy(out.data(), values->data(), out.size()); });
  }

  /// Where a block's d lies, m behind it, and how far random codes and integer scales spread.
  struct BlockLayout {
    size_t d;
    float spread, min_spread = 0;
  };
  static BlockLayout layout_of(GgufType type) {
    switch (type) {
      case GgufType::Q4_1:
        return {0, 4.6f, 1};
      case GgufType::Q5_0:
        return {0, 9.2f};
      case GgufType::Q5_1:
        return {0, 9.2f, 1};
      case GgufType::Q8_0:
        return {0, 74};
      case GgufType::Q2_K:
        return {80, 9, 9};
      case GgufType::Q3_K:
        return {108, 40};
      case GgufType::Q4_K:
        return {0, 170, 36};
      case GgufType::Q5_K:
        return {0, 340, 36};
      case GgufType::Q6_K:
        return {208, 1300};
      default:
        return {0, 4.6f};
    }
  }

  /// Blocks of random codes, with scales of either sign about which values spread as `deviation` asks, roughly.
  void add_blocks(const std::string& name, const std::vector<int64_t>& dims, GgufType type, float deviation) {
    const GgufTypeInfo& info = *find_gguf_type(static_cast<uint32_t>(type));
    auto bytes = std::make_shared<std::vector<std::byte>>(dims[0] / info.block_elements * dims[1] * info.block_bytes);
    for (std::byte& byte : *bytes) byte = static_cast<std::byte>(random_());
    std::uniform_real_distribution<float> part(0.1f, 1.0f);
    const auto half = [&](float limit) {
      return f32_to_f16((random_() % 2 == 0 ? 1.0f : -1.0f) * part(random_) * limit);
    };
    const BlockLayout layout = layout_of(type);
    for (size_t at = 0; at < bytes->size(); at += info.block_bytes) {
      if (type == GgufType::MXFP4) {  // a power of two; codes spread by 3
        (*bytes)[at] = static_cast<std::byte>(126 + std::ilogb(deviation) - static_cast<int>(random_() % 3));
        continue;
      }
      const uint16_t d = half(deviation / layout.spread);
      std::memcpy(bytes->data() + at + layout.d, &d, sizeof d);
      if (layout.min_spread == 0) continue;
      const uint16_t m = half(deviation / layout.min_spread);
      std::memcpy(bytes->data() + at + layout.d + sizeof d, &m, sizeof m);
    }
    writer_.add_tensor(name, dims, type,
                       [bytes](std::span<std::byte> out) { std::memcpy(out.data(), bytes->data(), out.size()); });
  }

  TinyShape shape_;
  std::mt19937 random_;
  TypeOf type_of_;
  bool untied_ = false;
  GgufWriter writer_;
};

}  // namespace halftone::testing
