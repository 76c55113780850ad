// Byte-level BPE (Sennrich et al. 2016 over bytes, as in GPT-2): a piece of text becomes one symbol a byte, spelled in
// GPT-2's alphabet of printable characters, and merges by rank.
#include <numeric>

#include "base/error.h"
#include "io/tokenizer/tokenizer_impl.h"
#include "io/utf8.h"

namespace halftone::detail {

std::vector<std::string> pretokenizer_patterns(const TokenizerSpec& spec) {
  if (spec.pre == "custom") return spec.pre_patterns;
  if (!spec.pre_patterns.empty())
    throw InvalidArgument("tokenizer: pre_patterns are given with pre = '{}'; set pre = 'custom'", spec.pre);
  const PreTokenizerRow* row = find_pretokenizer(spec.pre);
  if (!row)
    throw Unsupported("tokenizer: pre-tokeniser '{}' is not known; known: {}, or 'custom' with pre_patterns", spec.pre,
                      known_pretokenizers());
  return {row->patterns.begin(), row->patterns.end()};
}

namespace {

// GPT-2's alphabet: printable Latin-1 stands for itself, the other 68 bytes are U+0100 onwards in order.
struct ByteAlphabet {
  std::array<uint16_t, 256> code_of_byte{};
  std::array<int16_t, 324> byte_of_code{};

  constexpr ByteAlphabet() {
    for (int16_t& byte : byte_of_code) byte = -1;
    uint16_t next = 256;
    for (uint16_t byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
      code_of_byte[byte] = printable ? byte : next++;
      byte_of_code[code_of_byte[byte]] = static_cast<int16_t>(byte);
    }
  }
};
constexpr ByteAlphabet kAlphabet;

class BpeEncoder final : public FragmentEncoder {
 public:
  explicit BpeEncoder(const Vocabulary& vocabulary)
      : spec_(vocabulary.spec),
        index_(vocabulary.index),
        types_(vocabulary.types),
        merges_(build_merges(vocabulary)),
        pretokenizer_(pretokenizer_patterns(vocabulary.spec)) {
    for (int byte = 0; byte < 256; ++byte) {
      std::string text;
      utf8_append(kAlphabet.code_of_byte[byte], text);
      byte_ids_[byte] = index_.find(text);
    }
  }

  void encode(std::string_view text, bool prefix, EncodeScratch& scratch, std::vector<int32_t>& ids) const override {
    if (prefix && text.front() != ' ') {
      scratch.text.assign(1, ' ').append(text);
      text = scratch.text;
    }
    scratch.ends.clear();
    pretokenizer_.split(text, scratch.ends);
    uint32_t begin = 0;
    for (const uint32_t end : scratch.ends) {
      encode_piece(text.substr(begin, end - begin), scratch.merge, ids);
      begin = end;
    }
  }

  // Characters outside the alphabet (in user-defined tokens) stand for themselves.
  void append_bytes(int32_t id, std::string& out) const override {
    std::string_view text = spec_.tokens[id];
    if (is_special_type(types_[id])) {
      out.append(text);
      return;
    }
    while (!text.empty()) {
      const Utf8Char next = utf8_next(text);
      const int byte = next.code < kAlphabet.byte_of_code.size() ? kAlphabet.byte_of_code[next.code] : -1;
      if (byte >= 0)
        out.push_back(static_cast<char>(byte));
      else
        out.append(text.substr(0, next.length));
      text.remove_prefix(next.length);
    }
  }

 private:
  void encode_piece(std::string_view piece, MergeScratch& scratch, std::vector<int32_t>& ids) const {
    if (spec_.ignore_merges) {
      const int32_t whole = find_whole(piece);
      if (whole >= 0) return ids.push_back(whole);
    }
    scratch.symbols.clear();
    for (uint32_t i = 0; i < piece.size(); ++i) scratch.add_symbol(i, 1, byte_ids_[static_cast<uint8_t>(piece[i])]);
    merge_symbols(scratch, [this](const Symbol& left, const Symbol& right) -> Merge {
      if (left.id < 0 || right.id < 0) return {};
      const RankedMerge* merge = merges_.find(uint64_t(left.id) << 32 | static_cast<uint32_t>(right.id));
      return merge ? Merge{true, merge->rank, merge->id} : Merge{};
    });
    for (int32_t i = 0; i >= 0; i = scratch.symbols[i].next)
      if (scratch.symbols[i].id >= 0) ids.push_back(scratch.symbols[i].id);  // a byte without a token is dropped
  }

  int32_t find_whole(std::string_view piece) const {
    constexpr size_t kLongestToken = 1024;  // pieces above this are no tokens in any vocabulary worth the look-up
    if (piece.size() > kLongestToken) return -1;
    std::string text;
    for (const char c : piece) utf8_append(kAlphabet.code_of_byte[static_cast<uint8_t>(c)], text);
    const int32_t id = index_.find(text);
    return id >= 0 && types_[id] == TokenType::Normal ? id : -1;
  }

  const TokenizerSpec& spec_;
  const TextIndex& index_;
  const std::vector<TokenType>& types_;
  FlatMap<RankedMerge> merges_;
  PreTokenizer pretokenizer_;
  std::array<int32_t, 256> byte_ids_{};
};

}  // namespace

FlatMap<RankedMerge> build_merges(const Vocabulary& vocabulary) {
  const TokenizerSpec& spec = vocabulary.spec;
  FlatMap<RankedMerge> merges(spec.merges.size());
  const auto count = static_cast<int32_t>(spec.tokens.size());
  std::string text;
  for (size_t rank = 0; rank < spec.merges.size(); ++rank) {
    const auto [left, right] = spec.merges[rank];
    if (left < 0 || left >= count || right < 0 || right >= count)
      throw InvalidArgument("tokenizer: merge {} joins ids {} and {}; ids run from 0 to {}", rank, left, right,
                            count - 1);
    text.assign(spec.tokens[left]).append(spec.tokens[right]);
    const int32_t id = vocabulary.index.find(text);
    // Both halves must be shorter than the whole: an empty half would make a merge that never ends.
    if (id < 0 || spec.tokens[left].empty() || spec.tokens[right].empty())
      throw InvalidArgument("tokenizer: merge {} joins '{}' and '{}', but '{}' is not a token made of two", rank,
                            spec.tokens[left], spec.tokens[right], text);
    merges.insert(uint64_t(left) << 32 | static_cast<uint32_t>(right), {static_cast<uint32_t>(rank), id});
  }
  return merges;
}

std::unique_ptr<FragmentEncoder> make_bpe_encoder(const Vocabulary& vocabulary) {
  return std::make_unique<BpeEncoder>(vocabulary);
}

}  // namespace halftone::detail
