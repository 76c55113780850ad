// Tables of text, and the table that comparisons end in. The same cells go to terminals and into reports.
#pragma once

#include <string>
#include <vector>

#include "engine/evaluate/evaluate.h"

namespace halftone::engine {

/// The first column is aligned left, the others right.
struct Table {
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
};

/// Columns padded to equal width (in characters), two spaces between them, a rule under the header; ends with a
/// newline.
std::string to_text(const Table& table);

/// 538090000 -> "538,090,000".
std::string group_digits(int64_t number);

/// One row a model, the reference first: bytes, quality, speed.
Table comparison_table(const Comparison& comparison);
/// The same columns for one model, without the distances.
Table evaluation_table(const Evaluation& evaluation);

}  // namespace halftone::engine
