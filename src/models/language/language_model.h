// A language model as the engine uses it: decoder, tokenizer, and where they came from. Reads GGUF files, Hugging Face
// folders (safetensors) and our artifacts, and writes all three.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "base/json.h"  // LanguageModel holds a document by value
#include "io/tokenizer/tokenizer.h"
#include "models/language/load_options.h"
#include "nn/decoder.h"

namespace halftone::models {

struct LanguageModel {
  nn::Decoder decoder;
  Tokenizer tokenizer;
  std::string name;         ///< general.name, or the file's stem
  std::string source_kind;  ///< "gguf", "safetensors", "artifact"
  int64_t file_bytes = 0;
  Json provenance;  ///< artifacts: methods, options, seeds, calibration hash; otherwise null
};

/// Reads a model. `options` say whether quantised GGUF tensors keep their codes or become f32; the values are the same.
/// Throws IoError for missing or damaged files, Unsupported for an architecture that we do not build (naming those that
/// we do).
LanguageModel load_language_model(const std::filesystem::path& path, LoadOptions options = {});

/// The tokenizer of a model alone, without a look at its weights. Throws as load_language_model.
Tokenizer load_tokenizer(const std::filesystem::path& path);

/// Writes our artifact: storages bit for bit, configuration, tokenizer, provenance.
void save_artifact(const LanguageModel& model, const Json& provenance, const std::filesystem::path& path);

/// Throws Unsupported when save_gguf could not write `model` as it is now, naming the layer and the remedy.
void check_gguf_output(const LanguageModel& model);

/// Writes a GGUF that llama.cpp reads. `source` is the GGUF file whose metadata is carried over. Storages map to F32,
/// F16, BF16, Q4_0 (int4 group 32 symmetric) and Q8_0 (int8 group 32 symmetric) without loss; throws Unsupported naming
/// the layer for anything else, and for models with online transforms.
void save_gguf(const LanguageModel& model, const std::filesystem::path& source, const std::filesystem::path& path);

/// Writes a Hugging Face folder (model.safetensors, config.json, tokenizer.json, tokenizer_config.json) that
/// transformers and load_language_model read: dense weights in their types, quantised ones as the f32 that they stand
/// for. Throws Unsupported for other architectures than llama and qwen2, for tokenizers other than byte-level BPE, for
/// rescaled RoPE and for models with online transforms.
void save_hf(const LanguageModel& model, const std::filesystem::path& folder);

}  // namespace halftone::models
