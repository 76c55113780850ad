// Shell-style patterns over site names: '*' matches any run (dots too), '?' one character, ',' separates alternatives.
#pragma once

#include <string_view>

namespace halftone {

/// True when `name` matches `pattern` ("blocks.*.attn.q_proj", "*,!lm_head"); a '!' alternative excludes.
bool glob_match(std::string_view pattern, std::string_view name);

}  // namespace halftone
