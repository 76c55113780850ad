// Inside of Tokenizer, shared by tokenizer.cpp (special tokens, decode), tokenizer_bpe.cpp and tokenizer_spm.cpp.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/tokenizer/merge.h"
#include "io/tokenizer/pretokenizer.h"
#include "io/tokenizer/tokenizer.h"
#include "io/tokenizer/tokenizer_index.h"

namespace halftone {
namespace detail {

/// Working memory of one encode call.
struct EncodeScratch {
  MergeScratch merge;
  std::vector<uint32_t> ends;
  std::string text;
};

/// Turns text without special tokens into ids.
class FragmentEncoder {
 public:
  virtual ~FragmentEncoder() = default;
  /// `prefix` asks for the space that the spec puts before text.
  virtual void encode(std::string_view text, bool prefix, EncodeScratch& scratch, std::vector<int32_t>& ids) const = 0;
  /// Appends the bytes of a token that is not a control token.
  virtual void append_bytes(int32_t id, std::string& out) const = 0;
};

/// A merge by its rank (place in the merge list) and the token that it makes.
struct RankedMerge {
  uint32_t rank;
  int32_t id;
};

/// Everything the two encoders share; `types` has one entry a token.
struct Vocabulary {
  const TokenizerSpec& spec;
  const TextIndex& index;
  const std::vector<TokenType>& types;
};

/// The merge list as a table keyed by (left << 32 | right); of duplicates the first counts, as in llama.cpp.
/// Throws InvalidArgument for ids out of range and for merges whose result is no token.
FlatMap<RankedMerge> build_merges(const Vocabulary& vocabulary);

std::unique_ptr<FragmentEncoder> make_bpe_encoder(const Vocabulary& vocabulary);
std::unique_ptr<FragmentEncoder> make_spm_encoder(const Vocabulary& vocabulary);

/// The value of a byte token's text "<0xXX>", or -1.
int byte_token_value(std::string_view text);
inline bool is_special_type(TokenType type) {
  return type == TokenType::Control || type == TokenType::UserDefined || type == TokenType::Unknown;
}

}  // namespace detail

struct Tokenizer::Impl {
  explicit Impl(TokenizerSpec given);

  TokenizerSpec spec;
  std::vector<TokenType> types;
  std::vector<bool> ends_generation;
  detail::TextIndex index;
  detail::SpecialTrie specials;
  bool has_specials = false;
  std::unique_ptr<detail::FragmentEncoder> encoder;
};

}  // namespace halftone
