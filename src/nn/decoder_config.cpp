// Validation of decoder configurations and their JSON form in artifacts; see decoder.h.
#include <array>

#include "base/error.h"
#include "base/json.h"
#include "nn/decoder.h"

namespace halftone::nn {
namespace {

using kernels::GatedActivation;
using kernels::RopeStyle;

// Far above any published model; a damaged file must not make us ask for exabytes.
constexpr int64_t kMaxDimension = int64_t{1} << 24;

void expect_dimension(const char* name, int64_t value) {
  if (value < 1 || value > kMaxDimension)
    throw InvalidArgument("model configuration: {} = {} must lie in 1 .. {}", name, value, kMaxDimension);
}

}  // namespace

void DecoderConfig::validate() const {
  const std::array<std::pair<const char*, int64_t>, 7> dimensions = {{{"width", width},
                                                                      {"ffn_width", ffn_width},
                                                                      {"heads", heads},
                                                                      {"kv_heads", kv_heads},
                                                                      {"head_dim", head_dim},
                                                                      {"vocabulary", vocabulary},
                                                                      {"layers", static_cast<int64_t>(layers.size())}}};
  for (const auto& [name, value] : dimensions) expect_dimension(name, value);
  if (heads % kv_heads != 0)
    throw InvalidArgument("model configuration: {} heads are not a multiple of {} key-value heads", heads, kv_heads);
  if (!(norm_epsilon > 0 && norm_epsilon < 1))
    throw InvalidArgument("model configuration: norm_epsilon = {} must lie between 0 and 1", norm_epsilon);
  for (size_t i = 0; i < layers.size(); ++i) {
    const auto rotary = 2 * static_cast<int64_t>(layers[i].inverse_frequency.size());
    if (rotary < 2 || rotary > head_dim)
      throw InvalidArgument("model configuration: layer {} rotates {} of {} head elements", i, rotary, head_dim);
    if (layers[i].window < 0) throw InvalidArgument("model configuration: layer {} has window {}", i, layers[i].window);
  }
}

Json to_json(const DecoderConfig& config) {
  Json layers = Json::array();
  for (const auto& layer : config.layers)
    layers.push_back({{"window", layer.window}, {"inverse_frequency", layer.inverse_frequency}});
  return Json{{"architecture", config.architecture},
              {"width", config.width},
              {"ffn_width", config.ffn_width},
              {"heads", config.heads},
              {"kv_heads", config.kv_heads},
              {"head_dim", config.head_dim},
              {"vocabulary", config.vocabulary},
              {"context_length", config.context_length},
              {"norm_epsilon", config.norm_epsilon},
              {"embedding_scale", config.embedding_scale},
              {"softmax_scale", config.softmax_scale},
              {"rope_style", config.rope_style == RopeStyle::Adjacent ? "adjacent" : "half-split"},
              {"activation", config.activation == GatedActivation::SwiGlu ? "swiglu" : "geglu"},
              {"layers", std::move(layers)}};
}

DecoderConfig decoder_config_from_json(const Json& json) {
  try {
    DecoderConfig config;
    config.architecture = json.at("architecture").get<std::string>();
    config.width = json.at("width").get<int64_t>();
    config.ffn_width = json.at("ffn_width").get<int64_t>();
    config.heads = json.at("heads").get<int64_t>();
    config.kv_heads = json.at("kv_heads").get<int64_t>();
    config.head_dim = json.at("head_dim").get<int64_t>();
    config.vocabulary = json.at("vocabulary").get<int64_t>();
    config.context_length = json.at("context_length").get<int64_t>();
    config.norm_epsilon = json.at("norm_epsilon").get<double>();
    config.embedding_scale = json.at("embedding_scale").get<double>();
    config.softmax_scale = json.at("softmax_scale").get<double>();
    config.rope_style =
        json.at("rope_style").get<std::string>() == "adjacent" ? RopeStyle::Adjacent : RopeStyle::HalfSplit;
    config.activation =
        json.at("activation").get<std::string>() == "swiglu" ? GatedActivation::SwiGlu : GatedActivation::GeGlu;
    for (const auto& layer : json.at("layers"))
      config.layers.push_back(
          {layer.at("window").get<int64_t>(), layer.at("inverse_frequency").get<std::vector<double>>()});
    config.validate();
    return config;
  } catch (const Json::exception& problem) {
    throw IoError("the model configuration in this artifact is damaged: {}", problem.what());
  }
}

}  // namespace halftone::nn
