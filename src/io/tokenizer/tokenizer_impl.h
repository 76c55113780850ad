// Inside of Tokenizer, shared by tokenizer.cpp (special tokens, decode) and the encoders
// tokenizer_{bpe,spm,unigram}.cpp.
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
#include "io/tokenizer/tokenizer_text.h"

namespace halftone {
namespace detail {

/// The best way to a place in a text: the token that ends there, where it begins, and the sum of scores up to here.
struct LatticeNode {
  double score = 0;
  uint32_t begin = 0;
  int32_t id = -1;
};

/// Working memory of one encode call.
struct EncodeScratch {
  MergeScratch merge;
  std::vector<uint32_t> ends;
  std::string text, normalized;
  std::vector<LatticeNode> lattice, path;
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
std::unique_ptr<FragmentEncoder> make_unigram_encoder(const Vocabulary& vocabulary);

/// Appends the bytes that a SentencePiece token stands for: its text with spaces for marks, or the one of a byte token.
void append_spm_bytes(const Vocabulary& vocabulary, int32_t id, std::string& out);
/// The byte tokens by their value, -1 where there is none. Throws InvalidArgument for one that names no byte.
std::array<int32_t, 256> find_byte_tokens(const Vocabulary& vocabulary);
/// Control, unknown and byte tokens have names, not text: typing "<0x0A>" must not give a line feed.
inline bool matches_text(TokenType type) {
  return type == TokenType::Normal || type == TokenType::UserDefined || type == TokenType::Unused;
}

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
  detail::TokenTrie specials;
  bool has_specials = false;
  std::unique_ptr<detail::FragmentEncoder> encoder;
};

}  // namespace halftone
