// Building a decoder from the tensors of a foreign file: GGUF or Hugging Face safetensors.
#pragma once

#include <functional>
#include <vector>

#include "io/gguf/gguf.h"
#include "io/safetensors/safetensors.h"
#include "models/language/load_options.h"
#include "nn/decoder.h"

namespace halftone::models {

/// How the inputs of a linear layer are represented when its weight was loaded as `storage`: int8 in blocks of 32, as
/// ggml runs quantised tensors, where integer kernels read it.
nn::ActivationFormat activations_for(const Storage& storage);

/// F16 and BF16 stay; of quantised types, storage_from_gguf says which do. Throws IoError for missing tensors or wrong
/// shapes.
nn::Decoder build_decoder(nn::DecoderConfig config, const GgufFile& file, LoadOptions options = {});
nn::Decoder build_decoder(nn::DecoderConfig config, const SafetensorsModel& files, LoadOptions options = {});

/// What `make` gives for blocks 0 .. count - 1, made as `options` say. Of several exceptions the first block's is
/// thrown.
std::vector<nn::DecoderBlock> make_blocks(int64_t count, const LoadOptions& options,
                                          const std::function<nn::DecoderBlock(int64_t)>& make);

}  // namespace halftone::models
