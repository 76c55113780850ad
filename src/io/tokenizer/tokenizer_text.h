// Helpers of the tokenizer readers and writers (GGUF, Hugging Face, our own JSON).
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/tokenizer/tokenizer.h"

namespace halftone::detail {

/// U+2581, which SentencePiece writes for a space.
inline constexpr std::string_view kSpaceMark = "\xE2\x96\x81";

/// Splits "left right" at its first space behind the first character; nothing when there is none.
std::optional<std::pair<std::string_view, std::string_view>> split_merge(std::string_view line);

/// Looks up both halves of every merge. Throws IoError naming `source`, the merge and the half that is no token.
std::vector<TokenMerge> merges_from_text(const std::vector<std::string>& tokens,
                                         std::span<const std::pair<std::string_view, std::string_view>> merges,
                                         std::string_view source);

/// The regular expressions of a BPE tokenizer, by the name of its row or its own. Throws Unsupported for an unknown
/// name.
std::vector<std::string> pretokenizer_patterns(const TokenizerSpec& spec);

}  // namespace halftone::detail
