// Writing Hugging Face folders: model.safetensors in transformers' names and row order, config.json and the tokenizer.
//
// GGUF files of llama models hold the rows of q and k so that RoPE rotates neighbours; transformers rotates a head's
// first half against its second. Row 2i + j of a head in the one order is row j * D/2 + i in the other.
#include <cmath>

#include "base/atomic_file.h"
#include "base/error.h"
#include "models/language/config.h"
#include "models/language/language_model.h"
#include "models/language/names.h"
#include "models/language/storage_io.h"

namespace halftone::models {
namespace {

constexpr double kRopeTolerance = 1e-12;  // relative; pow() and its inverse are good to a few 2^-53

/// The base of which `layer`'s RoPE frequencies are powers; throws Unsupported when they are not.
double rope_base_of(const nn::DecoderConfig& config) {
  const auto& frequencies = config.layers.front().inverse_frequency;
  if (static_cast<int64_t>(frequencies.size()) * 2 != config.head_dim)
    throw Unsupported("config.json has no field for RoPE over {} of {} channels of a head", frequencies.size() * 2,
                      config.head_dim);
  double base = frequencies.size() < 2 ? 10000 : std::pow(frequencies[1], -static_cast<double>(frequencies.size()));
  if (std::abs(base - std::round(base)) < kRopeTolerance * 100 * base) base = std::round(base);
  const std::vector<double> powers = rope_frequencies(base, config.head_dim);
  for (const auto& layer : config.layers)
    for (size_t i = 0; i < powers.size(); ++i)
      if (layer.window != 0 || std::abs(layer.inverse_frequency.at(i) - powers[i]) > kRopeTolerance * powers[i])
        throw Unsupported(
            "a Hugging Face folder is written for plain RoPE without windows; this model rescales its frequencies or "
            "has a sliding window; write an artifact");
  return base;
}

void check_hf_output(const LanguageModel& model) {
  const nn::Decoder& decoder = model.decoder;
  const nn::DecoderConfig& config = decoder.config();
  if (config.architecture != "llama" && config.architecture != "qwen2")
    throw Unsupported("Hugging Face folders are written for llama and qwen2, not for {}; write an artifact",
                      config.architecture);
  if (decoder.residual_rotation())
    throw Unsupported("a model with an online rotation has no Hugging Face form; switch it off (rotate=false)");
  if (std::abs(config.softmax_scale * std::sqrt(static_cast<double>(config.head_dim)) - 1) > 1e-6)
    throw Unsupported("config.json has no field for an attention scale of {}", config.softmax_scale);
}

Json config_json(const LanguageModel& model) {
  const nn::DecoderConfig& c = model.decoder.config();
  const TokenizerSpec& tokens = model.tokenizer.spec();
  const bool llama = c.architecture == "llama";
  const auto id_or_null = [](int32_t id) { return id < 0 ? Json() : Json(id); };
  Json json = {{"architectures", {llama ? "LlamaForCausalLM" : "Qwen2ForCausalLM"}},
               {"model_type", c.architecture},
               {"hidden_act", "silu"},
               {"hidden_size", c.width},
               {"intermediate_size", c.ffn_width},
               {"num_hidden_layers", c.layers.size()},
               {"num_attention_heads", c.heads},
               {"num_key_value_heads", c.kv_heads},
               {"head_dim", c.head_dim},
               {"vocab_size", c.vocabulary},
               {"max_position_embeddings", c.context_length},
               {"rms_norm_eps", c.norm_epsilon},
               {"rope_theta", rope_base_of(c)},
               {"rope_scaling", nullptr},
               {"tie_word_embeddings", model.decoder.tied()},
               {"bos_token_id", id_or_null(tokens.bos_id)},
               {"eos_token_id", id_or_null(tokens.eos_id)}};
  if (llama) {
    json["attention_bias"] = model.decoder.blocks().front().q_proj.bias().defined();
    json["mlp_bias"] = model.decoder.blocks().front().up_proj.bias().defined();
  }
  return json;
}

/// Rows of a q or k projection, or its bias, in transformers' order.
at::Tensor halves_order(const at::Tensor& values, const nn::DecoderConfig& config) {
  if (config.rope_style == kernels::RopeStyle::HalfSplit) return values;
  const int64_t heads = values.size(0) / config.head_dim;
  return values.view({heads, config.head_dim / 2, 2, -1}).transpose(1, 2).contiguous().view(values.sizes());
}

at::Tensor values_of(const Storage& storage) {
  const auto* dense = std::get_if<DenseStorage>(&storage);
  return dense != nullptr ? dense->values : dequantize(storage);
}

void add_block(const nn::Decoder& decoder, int64_t index, TensorBundle& bundle) {
  const nn::DecoderBlock& block = decoder.blocks()[index];
  const std::string prefix = "model.layers." + std::to_string(index) + ".";
  const auto linears = block.linears();
  for (size_t i = 0; i < linears.size(); ++i) {
    const auto ordered = [&](const at::Tensor& values) {
      return i < 2 ? halves_order(values, decoder.config()) : values;  // q and k come first
    };
    const std::string name = prefix + std::string(kLinearNames[i].hf);
    bundle.add(name + ".weight", ordered(values_of(linears[i]->weight())));
    if (linears[i]->bias().defined()) bundle.add(name + ".bias", ordered(linears[i]->bias()));
  }
  const auto norms = norms_of(const_cast<nn::DecoderBlock&>(block));  // read only
  for (size_t i = 0; i < norms.size(); ++i)
    if (norms[i]->defined()) bundle.add(prefix + std::string(kNormNames[i].hf) + ".weight", *norms[i]);
}

}  // namespace

void save_hf(const LanguageModel& model, const std::filesystem::path& folder) {
  check_hf_output(model);
  const std::string config = config_json(model).dump(2);
  const TokenizerSpec& tokens = model.tokenizer.spec();
  const std::string tokenizer = tokenizer_spec_to_hf(tokens), tokenizer_config = tokenizer_config_to_hf(tokens);
  const nn::Decoder& decoder = model.decoder;
  TensorBundle bundle;
  bundle.add("model.embed_tokens.weight", values_of(*decoder.embedding()));
  for (size_t i = 0; i < decoder.blocks().size(); ++i) add_block(decoder, static_cast<int64_t>(i), bundle);
  bundle.add("model.norm.weight", decoder.final_norm());
  if (!decoder.tied()) bundle.add("lm_head.weight", values_of(decoder.lm_head().weight()));

  std::error_code problem;
  std::filesystem::create_directories(folder, problem);
  if (problem) throw IoError("cannot make the folder {}: {}", folder.string(), problem.message());
  write_safetensors(folder / "model.safetensors", bundle.views(), {{"format", "pt"}});
  write_file(folder / "tokenizer.json", tokenizer);
  write_file(folder / "tokenizer_config.json", tokenizer_config);
  write_file(folder / "config.json", config);  // last: without it nothing loads the folder
}

}  // namespace halftone::models
