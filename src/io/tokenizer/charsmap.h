// SentencePiece's precompiled_charsmap: a table of character sequences and what each is rewritten to (Unicode's NFKC
// with exceptions, mostly). The bytes are a u32 size, a double-array trie of that many bytes in the layout of
// darts-clone, and NUL-terminated replacements, which the trie's values point into; all numbers are little endian.
//
// Rewriting takes the longest sequence at each place, as SentencePiece and llama.cpp do. The Hugging Face tokenizers
// look at whole grapheme clusters, which gives the same but for rare clusters that the table lists in part.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace halftone::detail {

class Charsmap {
 public:
  /// Empty bytes rewrite nothing. Throws InvalidArgument for sizes that contradict each other.
  explicit Charsmap(std::string_view bytes);

  bool empty() const { return units_.empty(); }
  /// Appends `text` rewritten to `out`; bytes that no sequence matches stay. Throws InvalidArgument where the table
  /// points outside itself.
  void rewrite(std::string_view text, std::string& out) const;

 private:
  struct Match {
    size_t length = 0;  // bytes of text, 0 for none
    uint32_t value = 0;
  };
  Match longest(std::string_view text) const;

  std::vector<uint32_t> units_;
  std::string replacements_;
};

/// Standard base64 with padding. Throws IoError naming `source`.
std::string decode_base64(std::string_view text, std::string_view source);
std::string encode_base64(std::string_view bytes);

}  // namespace halftone::detail
