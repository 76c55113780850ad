// A loaded model as programs hold it: a handle that needs no libtorch header, so that a front end compiles in a second
// and the flows alone look inside.
#pragma once

#include <filesystem>
#include <memory>

#include "models/language/load_options.h"

namespace halftone {
class Tokenizer;
}

namespace halftone::models {
struct LanguageModel;
}

namespace halftone::engine {

using ModelHandle = std::shared_ptr<const models::LanguageModel>;

/// Reads a GGUF file, a Hugging Face folder or an artifact; throws as models::load_language_model.
ModelHandle load_model(const std::filesystem::path& path, models::LoadOptions options = {});

/// The tokenizer of a model alone; throws as models::load_language_model.
std::shared_ptr<const Tokenizer> load_tokenizer(const std::filesystem::path& path);

/// Keeps libtorch's operations on the calling thread; our pool does the parallel work. Call once, before anything else.
void use_single_threaded_torch();

}  // namespace halftone::engine
