// Building a decoder from the tensors of a foreign file: GGUF or Hugging Face safetensors.
#pragma once

#include "io/gguf/gguf.h"
#include "io/safetensors/safetensors.h"
#include "nn/decoder.h"

namespace halftone::models {

/// Quantised types become f32; F16 and BF16 stay. Throws IoError for missing tensors or wrong shapes.
nn::Decoder build_decoder(nn::DecoderConfig config, const GgufFile& file);
nn::Decoder build_decoder(nn::DecoderConfig config, const SafetensorsModel& files);

}  // namespace halftone::models
