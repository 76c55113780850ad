// The Hugging Face reader's inside: it works on nlohmann::json, whose objects are trees. Our ordered Json searches
// linearly at every insertion, which a vocabulary object of 262144 members would turn into minutes.
#pragma once

#include <string_view>

#include "base/json.h"
#include "io/tokenizer/tokenizer.h"

namespace halftone::detail {

/// Throws IoError with `what` and the parser's position.
nlohmann::json parse_tokenizer_json(std::string_view text, std::string_view what);

/// `config` is tokenizer_config.json, or null.
TokenizerSpec tokenizer_spec_from_hf_json(const nlohmann::json& json, const nlohmann::json* config);

}  // namespace halftone::detail
