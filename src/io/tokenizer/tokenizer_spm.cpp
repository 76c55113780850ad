// SentencePiece-style merging (Kudo and Richardson 2018, BPE mode; Llama 2, Gemma): spaces become U+2581, the text
// starts as one symbol a character, and adjacent symbols whose concatenation is a token merge, best score first.
// Characters that stay without a token are spelled in byte tokens. A Hugging Face file that lists merges uses their
// order in place of the scores.
//
// There is no pre-tokeniser, but merges cannot cross a pair of characters that stand side by side in no token, so we
// cut there first: the result is the same and the heaps stay word-sized. A 4 Mbit table of hashed pairs decides; a
// false hit only makes a piece longer.
#include <bit>

#include "base/error.h"
#include "io/tokenizer/tokenizer_impl.h"
#include "io/utf8.h"

namespace halftone::detail {
namespace {

// Higher score, lower rank; -0 equals 0.
uint32_t rank_of_score(float score) {
  const uint32_t bits = std::bit_cast<uint32_t>(score + 0.0f);
  return bits >> 31 ? bits : ~(bits | 0x80000000u);
}

class PairFilter {
 public:
  PairFilter() : bits_(kBits / 64) {}
  void add(uint32_t first, uint32_t second) {
    bits_[slot(first, second) / 64] |= uint64_t{1} << slot(first, second) % 64;
  }
  bool may_have(uint32_t first, uint32_t second) const {
    return bits_[slot(first, second) / 64] >> slot(first, second) % 64 & 1;
  }

 private:
  static constexpr uint64_t kBits = uint64_t{1} << 22;
  static uint64_t slot(uint32_t first, uint32_t second) {
    return (uint64_t{first} << 21 | second) * 0x9E3779B97F4A7C15u >> 42;
  }
  std::vector<uint64_t> bits_;
};

class SpmEncoder final : public FragmentEncoder {
 public:
  explicit SpmEncoder(const Vocabulary& vocabulary)
      : vocabulary_(vocabulary), spec_(vocabulary.spec), merges_(build_merges(vocabulary)) {
    if (spec_.merges.empty() && spec_.scores.empty())
      throw InvalidArgument("tokenizer: an SPM vocabulary needs scores or merges, and this one has neither");
    for (size_t id = 0; id < spec_.tokens.size(); ++id)
      if (matches_text(vocabulary_.types[id])) add_pairs(spec_.tokens[id]);
    byte_ids_ = find_byte_tokens(vocabulary);
    for (int byte = 0; byte < 256; ++byte) {
      if (byte_ids_[byte] < 0) byte_ids_[byte] = spec_.unk_id;
      if (byte_ids_[byte] < 0)
        throw InvalidArgument(
            "tokenizer: the SPM vocabulary has no byte token <0x{:02X}> and no unknown token; text could be lost",
            byte);
    }
  }

  void encode(std::string_view text, bool prefix, EncodeScratch& scratch, std::vector<int32_t>& ids) const override {
    std::string& escaped = scratch.text;
    escaped.clear();
    if (prefix) escaped.append(kSpaceMark);
    for (const char c : text) {
      if (c == ' ')
        escaped.append(kSpaceMark);
      else
        escaped.push_back(c);
    }
    encode_escaped(escaped, scratch.merge, ids);
  }

  void append_bytes(int32_t id, std::string& out) const override { append_spm_bytes(vocabulary_, id, out); }

 private:
  int32_t find(std::string_view text) const {
    const int32_t id = vocabulary_.index.find(text);
    return id >= 0 && matches_text(vocabulary_.types[id]) ? id : -1;
  }

  void add_pairs(std::string_view text) {
    if (text.empty()) return;
    Utf8Char previous = utf8_next(text);
    for (text.remove_prefix(previous.length); !text.empty();) {
      const Utf8Char next = utf8_next(text);
      joined_.add(previous.code, next.code);
      previous = next;
      text.remove_prefix(next.length);
    }
  }

  void encode_escaped(std::string_view text, MergeScratch& scratch, std::vector<int32_t>& ids) const {
    scratch.symbols.clear();
    uint32_t previous = 0;
    for (uint32_t at = 0; at < text.size();) {
      const Utf8Char next = utf8_next(text.substr(at));
      if (!scratch.symbols.empty() && !joined_.may_have(previous, next.code)) finish_piece(text, scratch, ids);
      scratch.add_symbol(at, next.length, find(text.substr(at, next.length)));
      previous = next.code;
      at += next.length;
    }
    finish_piece(text, scratch, ids);
  }

  void finish_piece(std::string_view text, MergeScratch& scratch, std::vector<int32_t>& ids) const {
    if (scratch.symbols.empty()) return;
    if (!spec_.merges.empty()) {
      merge_symbols(scratch, [this](const Symbol& left, const Symbol& right) -> Merge {
        if (left.id < 0 || right.id < 0) return {};
        const RankedMerge* merge = merges_.find(uint64_t(left.id) << 32 | static_cast<uint32_t>(right.id));
        return merge ? Merge{true, merge->rank, merge->id} : Merge{};
      });
    } else {
      merge_symbols(scratch, [&](const Symbol& left, const Symbol& right) -> Merge {
        const int32_t id = find(text.substr(left.begin, left.length + right.length));
        return id < 0 ? Merge{} : Merge{true, rank_of_score(spec_.scores[id]), id};
      });
    }
    for (int32_t i = 0; i >= 0; i = scratch.symbols[i].next) {
      const Symbol& symbol = scratch.symbols[i];
      if (symbol.id >= 0) {
        ids.push_back(symbol.id);
        continue;
      }
      for (const char c : text.substr(symbol.begin, symbol.length)) ids.push_back(byte_ids_[static_cast<uint8_t>(c)]);
    }
    scratch.symbols.clear();
  }

  const Vocabulary vocabulary_;
  const TokenizerSpec& spec_;
  FlatMap<RankedMerge> merges_;
  PairFilter joined_;
  std::array<int32_t, 256> byte_ids_{};
};

}  // namespace

int byte_token_value(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return -1;
  int value = 0;
  for (const char c : text.substr(3, 2)) {
    const std::string_view digits = "0123456789ABCDEFabcdef";
    const auto digit = digits.find(c);
    if (digit == std::string_view::npos) return -1;
    value = value * 16 + static_cast<int>(digit < 16 ? digit : digit - 6);
  }
  return value;
}

void append_spm_bytes(const Vocabulary& vocabulary, int32_t id, std::string& out) {
  std::string_view text = vocabulary.spec.tokens[id];
  if (vocabulary.types[id] == TokenType::Byte) return out.push_back(static_cast<char>(byte_token_value(text)));
  for (size_t mark; (mark = text.find(kSpaceMark)) != std::string_view::npos;) {
    out.append(text.substr(0, mark)).push_back(' ');
    text.remove_prefix(mark + kSpaceMark.size());
  }
  out.append(text);
}

std::array<int32_t, 256> find_byte_tokens(const Vocabulary& vocabulary) {
  std::array<int32_t, 256> ids;
  ids.fill(-1);
  for (size_t id = 0; id < vocabulary.types.size(); ++id) {
    if (vocabulary.types[id] != TokenType::Byte) continue;
    const int value = byte_token_value(vocabulary.spec.tokens[id]);
    if (value < 0)
      throw InvalidArgument("tokenizer: token {} has type byte but the text '{}'; wanted <0x00> to <0xFF>", id,
                            vocabulary.spec.tokens[id]);
    ids[value] = static_cast<int32_t>(id);
  }
  return ids;
}

std::unique_ptr<FragmentEncoder> make_spm_encoder(const Vocabulary& vocabulary) {
  return std::make_unique<SpmEncoder>(vocabulary);
}

}  // namespace halftone::detail
