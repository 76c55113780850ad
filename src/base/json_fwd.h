// Forward declaration of the JSON value, for headers; sources that use it include base/json.h.
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace halftone {
/// Keeps members in the order of insertion, so that what we write reads as it was composed.
using Json = nlohmann::ordered_json;
}  // namespace halftone
