// The unigram model: against a search over all segmentations on made-up vocabularies, by hand, and against the
// `tokenizers` and `sentencepiece` packages (tests/goldens/unigram.json, written by make_unigram_goldens.py).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "base/json.h"
#include "base/philox.h"
#include "io/gguf/gguf.h"
#include "io/gguf/gguf_writer.h"
#include "io/tokenizer/charsmap.h"
#include "tiny_tokenizer.h"

namespace halftone {
namespace {

using Ids = std::vector<int32_t>;
using testing::HasSubstr;

constexpr const char* kMark = "\xE2\x96\x81";

/// <unk>, then the pieces given.
TokenizerSpec unigram(const std::vector<std::pair<std::string, float>>& pieces) {
  TokenizerSpec spec;
  spec.kind = TokenizerKind::Unigram;
  spec.tokens = {"<unk>"};
  spec.scores = {0};
  spec.types = {TokenType::Unknown};
  spec.unk_id = 0;
  for (const auto& [text, score] : pieces) {
    spec.tokens.push_back(text);
    spec.scores.push_back(score);
    spec.types.push_back(TokenType::Normal);
  }
  return spec;
}

void add_byte_tokens(TokenizerSpec& spec) {
  for (int byte = 0; byte < 256; ++byte) {
    spec.tokens.push_back(fmt::format("<0x{:02X}>", byte));
    spec.scores.push_back(0);
    spec.types.push_back(TokenType::Byte);
  }
}

/// The ids of the best of all segmentations of `text`, ASCII without spaces, by recursion; unknown runs are fused.
struct Search {
  const TokenizerSpec& spec;
  double unknown;
  double best = -INFINITY, second = -INFINITY;  // the two best sums
  Ids best_ids{};

  void from(std::string_view text, double sum, Ids& ids) {
    if (text.empty()) {
      if (sum > best)
        second = best, best = sum, best_ids = ids;
      else if (sum > second)
        second = sum;
      return;
    }
    bool is_token = false;
    for (size_t id = 1; id < spec.tokens.size(); ++id) {
      if (!text.starts_with(spec.tokens[id])) continue;
      is_token = is_token || spec.tokens[id].size() == 1;
      ids.push_back(static_cast<int32_t>(id));
      from(text.substr(spec.tokens[id].size()), sum + spec.scores[id], ids);
      ids.pop_back();
    }
    if (is_token) return;
    ids.push_back(0);
    from(text.substr(1), sum + unknown, ids);
    ids.pop_back();
  }
};

TEST(Unigram, FindsTheBestOfAllSegmentations) {
  PhiloxStream random(11);
  int decided = 0, with_unknown = 0;
  for (int trial = 0; trial < 400; ++trial) {
    std::vector<std::pair<std::string, float>> pieces;
    double worst = 0;
    for (uint32_t n = 3 + random() % 14; n > 0; --n) {
      std::string text;
      for (uint32_t length = 1 + random() % 4; length > 0; --length)
        text.push_back(static_cast<char>('a' + random() % 3));
      const float score = -1 - 9 * random.uniform();
      if (std::any_of(pieces.begin(), pieces.end(), [&](const auto& piece) { return piece.first == text; })) continue;
      pieces.emplace_back(text, score);
      worst = std::min<double>(worst, score);
    }
    const TokenizerSpec spec = unigram(pieces);
    const Tokenizer tokenizer(spec);
    for (int i = 0; i < 5; ++i) {
      std::string text;
      for (uint32_t length = 1 + random() % 9; length > 0; --length)
        text.push_back(static_cast<char>('a' + random() % 4));
      Search search{spec, worst - 10};
      Ids ids;
      search.from(text, 0, ids);
      if (search.best - search.second < 1e-9) continue;  // the order of additions decides
      ++decided;
      Ids fused;
      for (const int32_t id : search.best_ids)
        if (id != 0 || fused.empty() || fused.back() != 0) fused.push_back(id);
      with_unknown += std::count(fused.begin(), fused.end(), 0) > 0;
      ASSERT_EQ(tokenizer.encode(text), fused) << text << " trial " << trial;
    }
  }
  EXPECT_GT(decided, 1500);
  EXPECT_GT(with_unknown, 300);
}

TEST(Unigram, ByHand) {
  const Tokenizer t(unigram({{"a", -3}, {"b", -3}, {"ab", -5}, {"abc", -30}, {"c", -20}}));
  EXPECT_EQ(t.encode("ab"), (Ids{3}));      // -5 against -6
  EXPECT_EQ(t.encode("abc"), (Ids{3, 5}));  // -25 against -26 and -30
  EXPECT_EQ(t.encode("axyb"), (Ids{1, 0, 2}));
  EXPECT_EQ(t.encode("x y"), (Ids{0}));  // no mark in the vocabulary: one unknown run
  EXPECT_EQ(t.encode(""), Ids{});
  // Equal sums: the longer last token.
  EXPECT_EQ(Tokenizer(unigram({{"a", -1}, {"b", -1}, {"ab", -2}})).encode("ab"), (Ids{3}));
  EXPECT_EQ(Tokenizer(unigram({{"a", -1}, {"b", -1}, {"ab", -1}, {"ba", -1}})).encode("aba"), (Ids{1, 4}));
}

TEST(Unigram, UnknownCharactersBecomeBytesWhereAllAreThere) {
  TokenizerSpec spec = unigram({{"a", -1}});
  add_byte_tokens(spec);
  const std::string text = "a\xC3\xA9\xFF<0x41>a";
  EXPECT_EQ(Tokenizer(spec).encode("a\xC3\xA9"), (Ids{1, 2 + 0xC3, 2 + 0xA9}));
  EXPECT_EQ(Tokenizer(spec).decode(Tokenizer(spec).encode(text)), text);
  spec.types[2 + 0xA9] = TokenType::Unused;
  EXPECT_EQ(Tokenizer(spec).encode("a\xC3\xA9"), (Ids{1, 0}));
  spec.unk_id = -1;
  EXPECT_THROW(Tokenizer{spec}, InvalidArgument);
}

TEST(Unigram, RulesForSpaces) {
  const auto text_of = [](const UnigramRules& rules, bool prefix, std::string_view text) {
    TokenizerSpec spec = unigram({{"a", -1}, {kMark, -1}});
    spec.unigram = rules;
    spec.add_space_prefix = prefix;
    const Tokenizer tokenizer(spec);
    std::string out;
    for (const int32_t id : tokenizer.encode(text)) out += id == 0 ? "?" : id == 1 ? "a" : "_";
    return out;
  };
  const UnigramRules none, merge{.merge_spaces = true}, there{.prefix_unless_there = true};
  const UnigramRules all{.strip_left = true, .strip_right = true, .merge_spaces = true};
  const UnigramRules any{.any_space = true, .strip_left = true, .strip_right = true, .merge_spaces = true};
  EXPECT_EQ(text_of(none, false, "  a  a "), "__a__a_");
  EXPECT_EQ(text_of(none, true, " a"), "__a");
  EXPECT_EQ(text_of(there, true, " a"), "_a");
  EXPECT_EQ(text_of(there, true, "a"), "_a");
  EXPECT_EQ(text_of(there, true, std::string(kMark) + "a"), "_a");
  EXPECT_EQ(text_of(merge, false, "  a   a  "), "_a_a_");
  EXPECT_EQ(text_of(all, true, "  a   a  "), "_a_a");
  EXPECT_EQ(text_of(all, true, "   "), "");
  EXPECT_EQ(text_of(all, false, " a\t a"), "a?_a");
  EXPECT_EQ(text_of(any, true, "\t a\xE3\x80\x80\n a\r\n"), "_a_a");
}

TEST(Unigram, WordsSplitWhereTokensReachOverSpaces) {
  TokenizerSpec spec = unigram({{"a", -1}, {kMark, -1}, {std::string("a") + kMark, -0.5f}});
  EXPECT_EQ(Tokenizer(spec).encode("a a"), (Ids{3, 1}));
  spec.unigram.split_words = true;
  EXPECT_EQ(Tokenizer(spec).encode("a a"), (Ids{1, 2, 1}));
}

TEST(Unigram, RefusesScoresThatAreNone) {
  TokenizerSpec spec = unigram({{"a", -1}});
  spec.scores[1] = -INFINITY;
  EXPECT_THROW(Tokenizer{spec}, InvalidArgument);
  spec.scores.clear();
  EXPECT_THROW(Tokenizer{spec}, InvalidArgument);
}

TEST(Unigram, LongTextsAreNotQuadratic) {
  TokenizerSpec spec = unigram({{"l", -1}, {"ll", -1.5f}, {"llll", -2.5f}});
  const Tokenizer t(spec);
  EXPECT_EQ(t.encode(std::string(1 << 20, 'l')).size(), size_t{1} << 18);
  EXPECT_EQ(t.encode(std::string(1 << 20, 'x')), Ids{0});
}

TEST(Charsmap, DamageIsAnError) {
  EXPECT_TRUE(detail::Charsmap("").empty());
  for (const std::string& bytes :
       {std::string("\1"), std::string("\4\0\0\0", 4), std::string("\0\0\0\0abcd", 8), std::string("\3\0\0\0abcd", 8),
        std::string("\xFF\xFF\xFF\xFF"
                    "abcd",
                    8)})
    EXPECT_THROW(detail::Charsmap{bytes}, InvalidArgument);
  // Random units: any text is rewritten or refused.
  PhiloxStream random(5);
  int refused = 0;
  for (int trial = 0; trial < 300; ++trial) {
    std::string bytes("\0\4\0\0", 4);
    for (int i = 0; i < 1024; ++i)
      bytes.push_back(static_cast<char>(random() % 4 == 0 ? random() : 'a' + random() % 2));
    bytes += "replacement";
    std::string text, out;
    for (int i = 0; i < 50; ++i) text.push_back(static_cast<char>('a' + random() % 2));
    try {
      detail::Charsmap(bytes).rewrite(text, out);
    } catch (const InvalidArgument&) {
      ++refused;
    }
  }
  EXPECT_LT(refused, 300);
}

TEST(Charsmap, Base64) {
  PhiloxStream random(6);
  for (int size = 0; size < 40; ++size) {
    std::string bytes;
    for (int i = 0; i < size; ++i) bytes.push_back(static_cast<char>(random()));
    EXPECT_EQ(detail::decode_base64(detail::encode_base64(bytes), "test"), bytes);
  }
  EXPECT_EQ(detail::encode_base64("dots!"), "ZG90cyE=");
  for (const char* bad : {"a", "abc", "ab!=", "a===", "====="})
    EXPECT_THROW(detail::decode_base64(bad, "test"), IoError);
}

class UnigramGolden : public testing::Test {
 protected:
  static const Json& golden() {
    static const Json file = [] {
      std::ifstream in("tests/goldens/unigram.json", std::ios::binary);
      return Json::parse(in);
    }();
    return file;
  }

  static Json file(const std::string& name) {
    Json file = golden().at("files").at(name == "metaspace" ? "words" : name);
    file.update(golden().at("files").at(name));
    return file;
  }

  /// Texts that contain one of `except` are left out.
  static void compare(const Tokenizer& tokenizer, const char* name, bool parse_special,
                      const std::vector<std::string>& except) {
    size_t compared = 0;
    for (const Json& item : golden().at("cases")) {
      const auto text = item.at("text").get<std::string>();
      const auto has = [&](const std::string& part) { return text.find(part) != std::string::npos; };
      if (std::any_of(except.begin(), except.end(), has)) continue;
      EXPECT_EQ(tokenizer.encode(text, {.add_special = false, .parse_special = parse_special}),
                item.at(name).get<Ids>())
          << name << " " << item.at("text").dump(-1, ' ', true);
      ++compared;
    }
    EXPECT_GE(compared, 200u);
  }

  /// The fields of a GGUF file for the vocabulary of `file`.
  static TokenizerSpec through_gguf(const char* file, const char* types) {
    GgufWriter writer;
    const Json& json = golden().at("files").at(file);
    std::vector<std::string> texts;
    std::vector<float> scores;
    for (const Json& entry : json.at("model").at("vocab")) {
      texts.push_back(entry[0].get<std::string>());
      scores.push_back(entry[1].get<float>());
    }
    const std::vector<std::string_view> tokens(texts.begin(), texts.end());
    writer.set_string("general.architecture", "t5");
    writer.set_string("tokenizer.ggml.model", "t5");
    writer.set_strings("tokenizer.ggml.tokens", tokens);
    writer.set_f32s("tokenizer.ggml.scores", scores);
    writer.set_i32s("tokenizer.ggml.token_type", golden().at("types").at(types).get<Ids>());
    writer.set_u32("tokenizer.ggml.unknown_token_id", 0);
    writer.set_u32("tokenizer.ggml.eos_token_id", 2);
    writer.set_bool("tokenizer.ggml.add_space_prefix", true);
    writer.set_bool("tokenizer.ggml.remove_extra_whitespaces", true);
    const std::string charsmap = detail::decode_base64(
        golden().at("files").at("words").at("normalizer").at("precompiled_charsmap").get<std::string>(), "golden");
    Ids bytes;
    for (const char c : charsmap) bytes.push_back(static_cast<uint8_t>(c));
    writer.set_i32s("tokenizer.ggml.precompiled_charsmap", bytes);
    const std::string file_bytes = writer.to_bytes();
    return tokenizer_spec_from_gguf(GgufFile::parse(std::as_bytes(std::span(file_bytes)), "tiny.gguf"));
  }
};

// Left out: a grapheme cluster of which the charsmap lists a part, all of which `tokenizers` replaces; and names of
// byte tokens, which it reads as those bytes. There we do as SentencePiece does.
TEST_F(UnigramGolden, TokenizerJsonFiles) {
  const std::vector<std::string> except{"e\u0301\u0301", "<0x0A>", "<0xFF>"};
  for (const char* name : {"words", "metaspace", "fallback"}) {
    const TokenizerSpec spec = tokenizer_spec_from_json(file(name).dump());
    EXPECT_EQ(spec.kind, TokenizerKind::Unigram);
    compare(Tokenizer(spec), name, true, except);
    const Json own = tokenizer_spec_to_json(spec);
    const TokenizerSpec again = tokenizer_spec_from_json(own.dump());
    EXPECT_EQ(again.unigram, spec.unigram);
    EXPECT_EQ(tokenizer_spec_to_json(again), own);
    compare(Tokenizer(again), name, true, except);
  }
}

// Left out: a user-defined token cuts the text for us and for llama.cpp, while SentencePiece goes on across it; and it
// takes U+2581 in the text for a space.
TEST_F(UnigramGolden, GgufFields) {
  compare(Tokenizer(through_gguf("words", "sentencepiece")), "sentencepiece", false, {"<tool>", kMark});
  compare(Tokenizer(through_gguf("fallback", "sentencepiece_bytes")), "sentencepiece_bytes", false, {"<tool>", kMark});
  EXPECT_TRUE(through_gguf("words", "sentencepiece").add_eos);
}

TEST_F(UnigramGolden, DecodesWhatItEncoded) {
  const Tokenizer t(tokenizer_spec_from_json(file("fallback").dump()));
  for (const Json& item : golden().at("cases")) {
    auto text = item.at("text").get<std::string>();
    if (text.starts_with(' ') || text.find(kMark) != std::string::npos)
      continue;  // neither is told from the mark in front
    EXPECT_EQ(t.decode(t.encode(text)), text);
  }
}

TEST_F(UnigramGolden, UnsupportedPartsAreNamed) {
  const auto message = [](const char* name, const char* path, const char* value) {
    Json file = UnigramGolden::file(name);
    file[Json::json_pointer(path)] = Json::parse(value);
    try {
      tokenizer_spec_from_json(file.dump());
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  EXPECT_THAT(message("words", "/normalizer", R"({"type":"NFKC"})"), HasSubstr("'NFKC'"));
  EXPECT_THAT(message("metaspace", "/normalizer/normalizers/1", R"({"type":"Lowercase"})"), HasSubstr("'Lowercase'"));
  EXPECT_THAT(message("metaspace", "/normalizer/normalizers/1", R"({"type":"Precompiled"})"), HasSubstr("in front"));
  EXPECT_THAT(message("words", "/normalizer/precompiled_charsmap", R"("a")"), HasSubstr("base64"));
  EXPECT_THAT(message("words", "/pre_tokenizer/pretokenizers/0", R"({"type":"Digits"})"), HasSubstr("'Digits'"));
  EXPECT_THAT(message("words", "/pre_tokenizer/pretokenizers/1/prepend_scheme", R"("first")"), HasSubstr("'first'"));
  EXPECT_THAT(message("words", "/pre_tokenizer", "null"), HasSubstr("U+2581"));
  EXPECT_THAT(message("words", "/model/unk_id", "100000"), HasSubstr("100000"));
  EXPECT_THAT(message("words", "/model/vocab/3", "7"), HasSubstr("vocab[3]"));
  EXPECT_THAT(message("words", "/model/vocab", "{}"), HasSubstr("not a list"));
}

}  // namespace
}  // namespace halftone
