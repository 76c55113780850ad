// Loading behind a handle; see model.h.
#include "engine/model.h"

#include <ATen/Parallel.h>

#include "models/language/language_model.h"

namespace halftone::engine {

ModelHandle load_model(const std::filesystem::path& path, models::LoadOptions options) {
  return std::make_shared<const models::LanguageModel>(models::load_language_model(path, options));
}

std::shared_ptr<const Tokenizer> load_tokenizer(const std::filesystem::path& path) {
  return std::make_shared<const Tokenizer>(models::load_tokenizer(path));
}

void use_single_threaded_torch() { at::set_num_threads(1); }

}  // namespace halftone::engine
