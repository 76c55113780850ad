// What a model file holds and what would run it, as JSON documents that the program prints.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/cpu_features.h"
#include "base/json_fwd.h"
#include "engine/evaluate/evaluate.h"
#include "models/language/load_options.h"

namespace halftone::nn {
class Decoder;
}

namespace halftone::engine {

/// Architecture, sizes, tokenizer and every tensor's format of the model at `path`. "weight_bytes" and
/// "bits_per_weight" are those of the file; "loaded" holds those in memory, where `options` decide about quantised GGUF
/// tensors; "formats" says for each format of the file what it is in memory. Throws as models::load_language_model.
Json inspect(const std::filesystem::path& path, models::LoadOptions options = {});

/// For each different problem of a decode step and of a prefill: the kernel that is chosen and why the ones before it
/// in their table were not. `context`: tokens that the cache holds.
Json explain_kernels(const models::LanguageModel& model, Isa isa, int64_t prefill_tokens, int64_t context);

/// One sentence that names the layers which only the slow reference kernel serves at `isa`, and why; empty when there
/// are none.
std::string slow_layers(const models::LanguageModel& model, Isa isa);

/// How the layers of `decoder` are stored, embedding and head included (tied ones once), by falling bytes.
std::vector<StorageShare> storage_shares(const nn::Decoder& decoder);

/// JSON text of the model's provenance; empty when it has none.
std::string provenance_text(const models::LanguageModel& model);

}  // namespace halftone::engine
