// SentencePiece's unigram model (Kudo 2018, section 3.2): every token has a log probability, and a text becomes the
// tokens whose probabilities have the largest product, found by Viterbi's algorithm. A character that is no token
// counts as an unknown one, 10 below the worst normal token; a run of them becomes its bytes where the vocabulary has
// them all, else one unknown token.
//
// Of equal segmentations the one whose last token is longest wins, as in SentencePiece, llama.cpp and the Hugging Face
// tokenizers. Sums are double, as in the latter two. Where no token reaches over a place, the best way up to there is
// settled and written out, so that memory is for the longest chain of overlapping tokens, not for the text.
#include <cmath>

#include "base/error.h"
#include "io/tokenizer/charsmap.h"
#include "io/tokenizer/tokenizer_impl.h"
#include "io/utf8.h"

namespace halftone::detail {
namespace {

constexpr double kUnknownPenalty = 10;
constexpr int32_t kUnknown = -1, kUnreached = -2;

// Unicode's White_Space.
bool is_white_space(uint32_t code) {
  return (code >= 0x9 && code <= 0xD) || code == 0x20 || code == 0x85 || code == 0xA0 || code == 0x1680 ||
         (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F ||
         code == 0x3000;
}

class UnigramEncoder final : public FragmentEncoder {
 public:
  explicit UnigramEncoder(const Vocabulary& vocabulary)
      : vocabulary_(vocabulary),
        spec_(vocabulary.spec),
        rules_(vocabulary.spec.unigram),
        charsmap_(rules_.charsmap),
        byte_ids_(find_byte_tokens(vocabulary)) {
    if (spec_.scores.empty())
      throw InvalidArgument("tokenizer: a unigram vocabulary needs scores, and this one has none");
    double worst = INFINITY;
    for (size_t id = 0; id < spec_.tokens.size(); ++id) {
      if (!std::isfinite(spec_.scores[id]))
        throw InvalidArgument("tokenizer: the score of token {} ('{}') is {}; a unigram model needs finite ones", id,
                              spec_.tokens[id], spec_.scores[id]);
      if (vocabulary.types[id] == TokenType::Normal) worst = std::min<double>(worst, spec_.scores[id]);
      if (matches_text(vocabulary.types[id]) && !spec_.tokens[id].empty())
        pieces_.add(spec_.tokens[id], static_cast<int32_t>(id));
    }
    unknown_score_ = (std::isfinite(worst) ? worst : 0) - kUnknownPenalty;
    for (int byte = 0; byte < 256 && spec_.unk_id < 0; ++byte)
      if (byte_ids_[byte] < 0)
        throw InvalidArgument(
            "tokenizer: the unigram vocabulary has no byte token <0x{:02X}> and no unknown token; text could be lost",
            byte);
  }

  void encode(std::string_view text, bool prefix, EncodeScratch& scratch, std::vector<int32_t>& ids) const override {
    if (!charsmap_.empty()) {
      scratch.normalized.clear();
      charsmap_.rewrite(text, scratch.normalized);
      text = scratch.normalized;
    }
    mark_spaces(text, prefix, scratch.text);
    std::string_view rest = scratch.text;
    while (!rest.empty()) {
      const size_t end = rules_.split_words ? std::min(rest.find(kSpaceMark, 1), rest.size()) : rest.size();
      segment(rest.substr(0, end), scratch, ids);
      rest.remove_prefix(end);
    }
  }

  void append_bytes(int32_t id, std::string& out) const override { append_spm_bytes(vocabulary_, id, out); }

 private:
  bool is_space(uint32_t code, bool any) const { return code == ' ' || (any && is_white_space(code)); }

  std::string_view stripped(std::string_view text) const {
    size_t begin = text.size(), end = 0;  // of all that is no space
    for (size_t at = 0; at < text.size();) {
      const Utf8Char next = utf8_next(text.substr(at));
      const size_t after = at + next.length;
      if (!is_space(next.code, rules_.any_space || rules_.strip_any)) begin = std::min(begin, at), end = after;
      at = after;
    }
    if (begin > end) return rules_.strip_left || rules_.strip_right ? std::string_view() : text;
    if (rules_.strip_right) text = text.substr(0, end);
    return rules_.strip_left ? text.substr(begin) : text;
  }

  void mark_spaces(std::string_view text, bool prefix, std::string& out) const {
    out.clear();
    text = stripped(text);
    size_t run = 0;  // spaces read and not yet written
    bool first = true;
    const auto write_run = [&](std::string_view next) {
      if (rules_.merge_spaces) run = std::min<size_t>(run, 1);
      const bool there = rules_.prefix_unless_there && next == kSpaceMark;
      if (there && rules_.any_space) run = 0;  // every word gets its own prefix
      if (first && prefix && !there && !(rules_.prefix_unless_there && run > 0)) ++run;
      for (; run > 0; --run) out.append(kSpaceMark);
      first = false;
    };
    while (!text.empty()) {
      const Utf8Char next = utf8_next(text);
      const std::string_view character = text.substr(0, next.length);
      text.remove_prefix(next.length);
      if (is_space(next.code, rules_.any_space)) {
        ++run;
      } else {
        if (first || run > 0) write_run(character);
        out.append(character);
      }
    }
    if (run > 0) write_run({});
  }

  // The lattice holds the places from `base` on; those inside characters stay unreached.
  void segment(std::string_view text, EncodeScratch& scratch, std::vector<int32_t>& ids) const {
    std::vector<LatticeNode>& lattice = scratch.lattice;
    lattice.assign(1, {});
    size_t base = 0, unknown_from = std::string_view::npos;
    for (size_t at = 0; at < text.size();) {
      if (at > base && at == base + lattice.size() - 1) {
        settle(text, base, scratch, unknown_from, ids);
        lattice.assign(1, {});
        base = at;
      }
      const auto begin = static_cast<uint32_t>(at - base);
      const double here = lattice[begin].score;
      const auto reach = [&](int32_t id, uint32_t bytes, double score) {
        const size_t end = begin + bytes;
        if (lattice.size() <= end) lattice.resize(end + 1, {.id = kUnreached});
        if (lattice[end].id == kUnreached || here + score > lattice[end].score)
          lattice[end] = {here + score, begin, id};
      };
      const uint32_t length = utf8_next(text.substr(at)).length;
      bool is_token = false;
      pieces_.each_prefix(text.substr(at), [&](int32_t id, uint32_t bytes) {
        is_token = is_token || bytes == length;
        reach(id, bytes, spec_.scores[id]);
      });
      if (!is_token) reach(kUnknown, length, unknown_score_);
      at += length;
    }
    settle(text, base, scratch, unknown_from, ids);
    end_unknown(text, unknown_from, text.size(), ids);
  }

  // Writes out the best way from `base` to the lattice's end. A run of unknown characters may have begun before
  // (`unknown_from`, npos for none) and may go on.
  void settle(std::string_view text, size_t base, EncodeScratch& scratch, size_t& unknown_from,
              std::vector<int32_t>& ids) const {
    scratch.path.clear();
    for (size_t at = scratch.lattice.size() - 1; at > 0; at = scratch.lattice[at].begin)
      scratch.path.push_back(scratch.lattice[at]);
    for (auto node = scratch.path.rbegin(); node != scratch.path.rend(); ++node) {
      const size_t begin = base + node->begin;
      if (node->id == kUnknown) {
        unknown_from = std::min(unknown_from, begin);
        continue;
      }
      end_unknown(text, unknown_from, begin, ids);
      ids.push_back(node->id);
    }
  }

  void end_unknown(std::string_view text, size_t& from, size_t end, std::vector<int32_t>& ids) const {
    if (from == std::string_view::npos) return;
    const std::string_view run = text.substr(from, end - from);
    from = std::string_view::npos;
    const auto byte_id = [&](char c) { return byte_ids_[static_cast<uint8_t>(c)]; };
    if (spec_.unk_id >= 0 && std::any_of(run.begin(), run.end(), [&](char c) { return byte_id(c) < 0; }))
      return ids.push_back(spec_.unk_id);
    for (const char c : run) ids.push_back(byte_id(c));
  }

  const Vocabulary vocabulary_;
  const TokenizerSpec& spec_;
  const UnigramRules& rules_;
  Charsmap charsmap_;
  TokenTrie pieces_;
  std::array<int32_t, 256> byte_ids_;
  double unknown_score_ = 0;
};

}  // namespace

std::unique_ptr<FragmentEncoder> make_unigram_encoder(const Vocabulary& vocabulary) {
  return std::make_unique<UnigramEncoder>(vocabulary);
}

}  // namespace halftone::detail
