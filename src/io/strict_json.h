// JSON from files that may be hostile: the library's parser keeps the last of repeated keys and nests without limit, so
// that two readers can disagree on one file; here both are errors.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/json_fwd.h"

namespace halftone {

inline constexpr int kMaxJsonDepth = 64;

/// Throws IoError naming `file` when `text` is not one JSON value, repeats a key in an object, nests deeper than
/// kMaxJsonDepth, or has an object of more than `max_members` members.
void check_strict_json(std::string_view text, const std::string& file, size_t max_members = SIZE_MAX);

/// check_strict_json, then the value. Json looks members up one after another, hence the limit of 32768 an object.
Json parse_strict_json(std::string_view text, const std::string& file);

}  // namespace halftone
