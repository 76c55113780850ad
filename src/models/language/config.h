// Decoder configurations from model metadata: GGUF keys and Hugging Face's config.json.
#pragma once

#include "base/json_fwd.h"
#include "io/gguf/gguf.h"
#include "nn/decoder.h"

namespace halftone::models {

/// Reads `general.architecture` llama, qwen2 or gemma3 and its keys. Throws Unsupported for other architectures, naming
/// those that we build, and IoError for missing or contradictory metadata.
nn::DecoderConfig decoder_config_from_gguf(const GgufFile& file);

/// Reads config.json of LlamaForCausalLM, Qwen2ForCausalLM or Gemma3ForCausalLM.
nn::DecoderConfig decoder_config_from_hf(const Json& config);

/// RoPE frequencies base^(-2i/d), [rotary_dim / 2].
std::vector<double> rope_frequencies(double base, int64_t rotary_dim);

/// Llama 3.1's rescaling of low frequencies ("llama3" rope scaling): wavelengths longer than original_context /
/// low_freq_factor stretch by `factor`, those shorter than original_context / high_freq_factor stay, between is
/// interpolated.
struct LlamaRopeScaling {
  double factor = 8;
  double low_freq_factor = 1;
  double high_freq_factor = 4;
  double original_context = 8192;
};
void scale_llama3(const LlamaRopeScaling& scaling, std::vector<double>& frequencies);

}  // namespace halftone::models
