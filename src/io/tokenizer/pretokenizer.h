// Splits text into the pieces that byte-level BPE merges within: a list of regular expressions, each cutting the pieces
// of the one before into its matches and the gaps between them (llama.cpp's unicode_regex_split and the Hugging Face
// `Split` with behaviour "Isolated" mean the same). PCRE2 with Unicode properties, JIT where the build has it; `\s` is
// rewritten to Unicode's White_Space, since PCRE2 counts U+180E in and the peers do not.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace halftone {

/// One row of the pre-tokeniser table.
struct PreTokenizerRow {
  std::string_view names;  // names in GGUF's `tokenizer.ggml.pre`, separated by '|'
  std::span<const std::string_view> patterns;
  bool ignore_merges;
  bool add_bos;  // what llama.cpp assumes when the file does not say
};

/// The row for a name, or null.
const PreTokenizerRow* find_pretokenizer(std::string_view name);
/// All known names, for error messages.
std::string known_pretokenizers();
/// GPT-2's expression, which `ByteLevel` with `use_regex` stands for.
extern const std::string_view kGpt2Pattern;

class PreTokenizer {
 public:
  /// Throws InvalidArgument when PCRE2 rejects an expression: pattern, position and reason.
  explicit PreTokenizer(const std::vector<std::string>& patterns);
  ~PreTokenizer();
  PreTokenizer(PreTokenizer&&) noexcept;
  PreTokenizer& operator=(PreTokenizer&&) noexcept;

  /// Appends the end offsets of all pieces of `text` (any bytes; damaged UTF-8 splits as U+FFFD does) to `ends`,
  /// rising, the last being text.size(). Throws InvalidArgument when an expression exceeds the match limits.
  void split(std::string_view text, std::vector<uint32_t>& ends) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace halftone
