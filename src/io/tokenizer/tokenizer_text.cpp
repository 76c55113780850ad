// Merges by text, and the names of tokens that end a generation; see tokenizer_text.h.
#include "io/tokenizer/tokenizer_text.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "io/tokenizer/tokenizer_index.h"

namespace halftone {
namespace detail {

std::optional<std::pair<std::string_view, std::string_view>> split_merge(std::string_view line) {
  const auto space = line.find(' ', 1);
  if (space == std::string_view::npos || space + 1 == line.size()) return std::nullopt;
  return std::pair(line.substr(0, space), line.substr(space + 1));
}

std::vector<TokenMerge> merges_from_text(const std::vector<std::string>& tokens,
                                         std::span<const std::pair<std::string_view, std::string_view>> merges,
                                         std::string_view source) {
  TextIndex index(tokens);
  for (size_t id = 0; id < tokens.size(); ++id)
    if (!tokens[id].empty()) index.insert(static_cast<int32_t>(id));
  std::vector<TokenMerge> result;
  result.reserve(merges.size());
  for (const auto& [left, right] : merges) {
    const TokenMerge merge{index.find(left), index.find(right)};
    if (merge.left < 0 || merge.right < 0)
      throw IoError("{}: merge {} is '{}' + '{}', but '{}' is not in the vocabulary of {} tokens; the file is damaged",
                    source, result.size(), left, right, merge.left < 0 ? left : right, tokens.size());
    result.push_back(merge);
  }
  return result;
}

}  // namespace detail

// A name of the form <|...|> counts whether the file calls it control or user-defined, since converters differ there.
// The others must be control tokens: in Gemma 3, </s> is the HTML tag for struck-out text.
void detect_end_of_generation(TokenizerSpec& spec) {
  static constexpr std::array<std::string_view, 14> kNames{"<|im_end|>",
                                                           "<|eot_id|>",
                                                           "<|eom_id|>",
                                                           "<|end|>",
                                                           "<|endoftext|>",
                                                           "<|end_of_text|>",
                                                           "<end_of_turn>",
                                                           "<turn|>",
                                                           "<|end_of_turn|>",
                                                           "<|eot|>",
                                                           "<EOT>",
                                                           "</s>",
                                                           "<eos>",
                                                           "<\xEF\xBD\x9C"
                                                           "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>"};
  for (size_t i = 0; i < spec.tokens.size() && i < spec.types.size(); ++i) {
    const bool user_defined = spec.types[i] == TokenType::UserDefined && spec.tokens[i].starts_with("<|");
    if (spec.types[i] != TokenType::Control && !user_defined) continue;
    if (std::find(kNames.begin(), kNames.end(), spec.tokens[i]) == kNames.end()) continue;
    const auto id = static_cast<int32_t>(i);
    auto& ids = spec.end_of_generation_ids;
    if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  }
}

}  // namespace halftone
