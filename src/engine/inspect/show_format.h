// What the number formats are, as JSON documents and as text: elements, scales, and microscaling blocks.
#pragma once

#include <string>
#include <string_view>

#include "base/json_fwd.h"

namespace halftone::engine {

/// Every format: [{"name", "kind", "bits_per_element", "summary"}], elements first, then scales of two levels or parts,
/// then blocks. A scale has its "bits" instead: of the inner number, or of both parts.
Json list_formats();

/// All that is known of one format. Elements: layout, range, smallest numbers, special codes, and for 8 bits or fewer
/// "values" by code (numbers; "nan", "inf" and "-inf"; [re, im] for complex codes). Blocks and scales: their
/// parts. Throws InvalidArgument naming every format.
Json describe_format(std::string_view name);

/// list_formats() and describe_format() for people; they end with a newline.
std::string format_list_text();
std::string format_text(std::string_view name);

}  // namespace halftone::engine
