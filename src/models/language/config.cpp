// What makes each architecture itself, as data; see config.h. Sheet of the keys: docs/flow.md.
#include "models/language/config.h"

#include <cmath>
#include <numbers>

#include "base/error.h"
#include "base/json.h"

namespace halftone::models {
namespace {

using kernels::GatedActivation;
using kernels::RopeStyle;

constexpr double kGemmaLocalRopeBase = 10000;  // Gemma 3 report, arXiv:2503.19786, section 2
constexpr int64_t kGemmaPattern = 6;           // every sixth layer sees everything
constexpr int64_t kMaxLayers = 4096;

[[noreturn]] void refuse_architecture(std::string_view name) {
  throw Unsupported("models of architecture '{}' cannot be built; halftone builds llama, qwen2 and gemma3", name);
}

int64_t bounded_layers(int64_t layers) {
  if (layers < 1 || layers > kMaxLayers)
    throw IoError("the model's metadata asks for {} layers; 1 .. {} are accepted", layers, kMaxLayers);
  return layers;
}

/// What remains the same for all layers of an architecture.
struct LayerPlan {
  int64_t layers = 0;
  int64_t rotary_dim = 0;
  double rope_base = 10000;
  double local_rope_base = 0;  ///< of windowed layers; 0: the same
  double linear_factor = 1;    ///< positions are divided by this on full-attention layers
  int64_t window = 0;
  int64_t pattern = 0;  ///< every pattern-th layer has no window; 0: all have it (when window > 0)
};

std::vector<nn::LayerAttention> plan_layers(const LayerPlan& plan) {
  if (plan.rotary_dim < 2 || plan.rotary_dim % 2 != 0)
    throw IoError("the model's metadata rotates {} elements of a head; an even number of at least 2 is needed",
                  plan.rotary_dim);
  std::vector<double> global = rope_frequencies(plan.rope_base, plan.rotary_dim);
  for (double& frequency : global) frequency /= plan.linear_factor;
  const std::vector<double> local =
      plan.local_rope_base > 0 ? rope_frequencies(plan.local_rope_base, plan.rotary_dim) : global;
  std::vector<nn::LayerAttention> layers;
  for (int64_t i = 0; i < plan.layers; ++i) {
    const bool full = plan.window == 0 || (plan.pattern > 0 && (i + 1) % plan.pattern == 0);
    layers.push_back({full ? 0 : plan.window, full ? global : local});
  }
  return layers;
}

/// RoPE's settings in a config.json: "rope_parameters" (transformers 5; one object, or one a kind of layer) or the
/// older "rope_scaling"; empty when there are none.
Json rope_of(const Json& json, const char* layer_type) {
  for (const char* name : {"rope_parameters", "rope_scaling"}) {
    if (!json.contains(name) || !json[name].is_object()) continue;
    const Json& found = json[name];
    return found.contains(layer_type) ? found[layer_type] : found;
  }
  return Json::object();
}

void scale_rope(const Json& rope, nn::DecoderConfig& config) {
  const std::string kind = rope.value("rope_type", rope.value("type", std::string("default")));
  if (kind == "default") return;
  if (kind != "llama3")
    throw Unsupported("RoPE scaling '{}' in config.json is not supported; default and llama3 are", kind);
  const LlamaRopeScaling values{rope.at("factor").get<double>(), rope.at("low_freq_factor").get<double>(),
                                rope.at("high_freq_factor").get<double>(),
                                rope.at("original_max_position_embeddings").get<double>()};
  for (auto& layer : config.layers) scale_llama3(values, layer.inverse_frequency);
}

void apply_architecture(nn::DecoderConfig& config) {
  if (config.architecture != "gemma3") return;
  config.activation = GatedActivation::GeGlu;
  config.embedding_scale = std::sqrt(static_cast<double>(config.width));
}

}  // namespace

std::vector<double> rope_frequencies(double base, int64_t rotary_dim) {
  std::vector<double> frequencies(rotary_dim / 2);
  for (size_t i = 0; i < frequencies.size(); ++i)
    frequencies[i] = std::pow(base, -2.0 * static_cast<double>(i) / static_cast<double>(rotary_dim));
  return frequencies;
}

void scale_llama3(const LlamaRopeScaling& scaling, std::vector<double>& frequencies) {
  for (double& frequency : frequencies) {
    const double wavelength = 2 * std::numbers::pi / frequency;
    const double turns = scaling.original_context / wavelength;
    const double smooth = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
    if (turns < scaling.low_freq_factor)
      frequency /= scaling.factor;
    else if (turns <= scaling.high_freq_factor)
      frequency *= (1 - smooth) / scaling.factor + smooth;
  }
}

nn::DecoderConfig decoder_config_from_gguf(const GgufFile& file) {
  nn::DecoderConfig config;
  config.architecture = file.get_string("general.architecture");
  const std::string& arch = config.architecture;
  if (arch != "llama" && arch != "qwen2" && arch != "gemma3") refuse_architecture(arch);
  const auto key = [&](const char* name) { return arch + "." + name; };

  config.width = file.get_i64(key("embedding_length"));
  config.ffn_width = file.get_i64(key("feed_forward_length"));
  config.heads = file.get_i64(key("attention.head_count"));
  config.kv_heads = file.get_i64(key("attention.head_count_kv"), config.heads);
  config.context_length = file.get_i64(key("context_length"));
  config.norm_epsilon = file.get_f32(key("attention.layer_norm_rms_epsilon"));
  if (config.heads < 1)
    throw IoError("{}: {} = {} must be at least 1", file.name(), key("attention.head_count"), config.heads);
  config.head_dim = file.get_i64(key("attention.key_length"), config.width / config.heads);
  const GgufTensor& embedding = file.tensor("token_embd.weight");
  config.vocabulary = embedding.rows();

  if (file.has(key("expert_count")) && file.get_i64(key("expert_count")) > 0)
    throw Unsupported("{}: mixture-of-experts models ({} experts) cannot be built yet", file.name(),
                      file.get_i64(key("expert_count")));
  LayerPlan plan{.layers = bounded_layers(file.get_i64(key("block_count"))),
                 .rotary_dim = file.get_i64(key("rope.dimension_count"), config.head_dim),
                 .rope_base = file.get_f32(key("rope.freq_base"), 10000.0f)};
  const std::string scaling(file.get_string(key("rope.scaling.type"), "none"));
  if (scaling == "linear")
    plan.linear_factor = file.get_f32(key("rope.scaling.factor"), 1.0f);
  else if (scaling != "none")
    throw Unsupported("{}: RoPE scaling '{}' is not supported; none, linear and rope_freqs are", file.name(), scaling);
  if (arch == "gemma3") {
    plan.local_rope_base = file.get_f32(key("rope.freq_base_swa"), kGemmaLocalRopeBase);
    plan.window = file.get_i64(key("attention.sliding_window"), 512);
    plan.pattern = kGemmaPattern;
  }
  config.layers = plan_layers(plan);
  if (const GgufTensor* factors = file.find("rope_freqs.weight")) {  // Llama 3.1: divisors of the frequencies
    std::vector<float> divisors(factors->elements());
    decode_tensor(*factors, divisors.data());
    for (auto& layer : config.layers)
      for (size_t i = 0; i < layer.inverse_frequency.size() && i < divisors.size(); ++i)
        layer.inverse_frequency[i] /= divisors[i];
  }
  config.rope_style = arch == "llama" ? RopeStyle::Adjacent : RopeStyle::HalfSplit;
  config.softmax_scale =
      file.get_f32(key("attention.scale"), static_cast<float>(1 / std::sqrt(static_cast<double>(config.head_dim))));
  apply_architecture(config);
  config.validate();
  return config;
}

nn::DecoderConfig decoder_config_from_hf(const Json& json) {
  try {
    nn::DecoderConfig config;
    const std::string type = json.at("model_type").get<std::string>();
    if (type == "llama" || type == "qwen2")
      config.architecture = type;
    else if (type == "gemma3_text")
      config.architecture = "gemma3";
    else
      refuse_architecture(type);
    config.width = json.at("hidden_size").get<int64_t>();
    config.ffn_width = json.at("intermediate_size").get<int64_t>();
    config.heads = json.at("num_attention_heads").get<int64_t>();
    config.kv_heads = json.value("num_key_value_heads", config.heads);
    config.head_dim = json.contains("head_dim") && !json["head_dim"].is_null()
                          ? json["head_dim"].get<int64_t>()
                          : config.width / std::max<int64_t>(config.heads, 1);
    config.vocabulary = json.at("vocab_size").get<int64_t>();
    config.context_length = json.value("max_position_embeddings", int64_t{2048});
    config.norm_epsilon = json.value("rms_norm_eps", 1e-6);
    LayerPlan plan{.layers = bounded_layers(json.at("num_hidden_layers").get<int64_t>()),
                   .rotary_dim = config.head_dim,
                   .rope_base = rope_of(json, "full_attention").value("rope_theta", json.value("rope_theta", 10000.0))};
    if (config.architecture == "gemma3") {
      plan.local_rope_base = rope_of(json, "sliding_attention")
                                 .value("rope_theta", json.value("rope_local_base_freq", kGemmaLocalRopeBase));
      plan.window = json.value("sliding_window", int64_t{512});
      plan.pattern = json.value("sliding_window_pattern", kGemmaPattern);
      config.softmax_scale = 1 / std::sqrt(json.value("query_pre_attn_scalar", static_cast<double>(config.head_dim)));
    } else {
      config.softmax_scale = 1 / std::sqrt(static_cast<double>(config.head_dim));
    }
    config.layers = plan_layers(plan);
    scale_rope(rope_of(json, "full_attention"), config);
    config.rope_style = RopeStyle::HalfSplit;
    apply_architecture(config);
    config.validate();
    return config;
  } catch (const Json::exception& problem) {
    throw IoError("config.json lacks a field or has one of the wrong type: {}", problem.what());
  }
}

}  // namespace halftone::models
