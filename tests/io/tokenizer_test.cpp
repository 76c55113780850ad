// Encoding and decoding on vocabularies worked out by hand; see tiny_tokenizer.h.
#include "io/tokenizer/tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "tiny_tokenizer.h"

namespace halftone {
namespace {

using Ids = std::vector<int32_t>;

std::vector<std::string> pieces(const Tokenizer& tokenizer, const Ids& ids) {
  std::vector<std::string> texts;
  for (const int32_t id : ids) texts.push_back(tokenizer.token_text(id));
  return texts;
}
using Texts = std::vector<std::string>;

TEST(Bpe, MergesByRankWithinPieces) {
  const Tokenizer t(test::tiny_bpe());
  EXPECT_EQ(pieces(t, t.encode("hello hello helol")), (Texts{"hello", " hello", " ", "he", "l", "o", "l"}));
  EXPECT_EQ(t.encode(""), Ids{});
  EXPECT_EQ(t.decode(t.encode("")), "");
}

TEST(Bpe, KeepsAnyBytes) {
  const Tokenizer t(test::tiny_bpe());
  std::string all;
  for (int i = 0; i < 512; ++i) all.push_back(static_cast<char>(i * 7));
  for (const std::string& text : {all, std::string("\xC3"),
                                  std::string("a\xFF"
                                              "b"),
                                  std::string("\0x\0", 3), std::string("\xED\xA0\x80 \xF4\x90\x80\x80")})
    EXPECT_EQ(t.decode(t.encode(text)), text);
}

TEST(Bpe, DropsBytesWithoutToken) {
  TokenizerSpec spec = test::tiny_bpe();
  spec.tokens[0] = "gone";  // '!'
  const Tokenizer t(spec);
  EXPECT_EQ(t.decode(t.encode("a!b")), "ab");
}

TEST(Bpe, SpecialTokensLongestFirstAndOnlyWhenAsked) {
  const Tokenizer t(test::tiny_bpe());
  const int32_t x = t.find("<|x|>"), xy = t.find("<|x|>y"), tool = t.find("<tool>");
  const EncodeOptions parse{.parse_special = true};
  EXPECT_EQ(t.encode("<|x|><|x|>y", parse), (Ids{x, xy}));
  EXPECT_EQ(t.encode("<tool><tool", {}).front(), tool);
  EXPECT_EQ(t.encode("<|x|>").size(), 5u);  // typed text stays text
  EXPECT_EQ(t.decode(Ids{x}), "");
  EXPECT_EQ(t.decode(Ids{x}, {.skip_special = false}), "<|x|>");
  EXPECT_EQ(t.decode(Ids{tool}), "<tool>");
  EXPECT_TRUE(t.is_end_of_generation(t.find("<|end|>")));
  EXPECT_FALSE(t.is_end_of_generation(x));
  EXPECT_FALSE(t.is_end_of_generation(-5));
}

TEST(Bpe, StripsAroundSpecialTokens) {
  TokenizerSpec spec = test::tiny_bpe();
  const auto x = static_cast<int32_t>(std::find(spec.tokens.begin(), spec.tokens.end(), "<|x|>") - spec.tokens.begin());
  spec.lstrip_ids = spec.rstrip_ids = {x};
  const Tokenizer t(spec);
  EXPECT_EQ(pieces(t, t.encode("a \n<|x|>\t b", {.parse_special = true})), (Texts{"a", "<|x|>", "b"}));
}

TEST(Bpe, IgnoreMergesKeepsWholePieces) {
  TokenizerSpec spec = test::tiny_bpe();
  spec.tokens.push_back("helol");
  spec.types.push_back(TokenType::Normal);
  EXPECT_EQ(Tokenizer(spec).encode("helol").size(), 4u);
  spec.ignore_merges = true;
  EXPECT_EQ(Tokenizer(spec).encode("helol").size(), 1u);
}

struct Split {
  const char* pre;
  const char* text;
  Texts pieces;
};

// With ignore_merges, and no merges, a piece is one token if it stays whole: a vocabulary of the pieces themselves
// shows where the pre-tokeniser cut.
TEST(PreTokenizers, CutWhereTheirExpressionsSay) {
  const std::vector<Split> splits{
      {"gpt2", "Hello, it's 123  x", {"Hello", ",", " it", "'s", " 123", " ", " x"}},
      {"smollm", "a 123b", {"a", " ", "1", "2", "3", "b"}},
      {"llama3", "IT'S 12345\n\n x", {"IT", "'S", " ", "123", "45", "\n\n", " x"}},
      {"qwen2", "I'LL 12\r\n", {"I", "'LL", " ", "1", "2", "\r\n"}},
      {"default", "a+b 1234", {"a", "+", "b", " ", "123", "4"}},
      {"gpt2", "a\u180e b\u00a0\u00a0c", {"a", "\u180e", " b", "\u00a0", "\u00a0", "c"}},
  };
  for (const Split& split : splits) {
    TokenizerSpec spec = test::tiny_bpe();
    spec.pre = split.pre;
    spec.ignore_merges = true;
    spec.merges.clear();
    spec.tokens.resize(256);
    spec.types.assign(256, TokenType::Normal);
    spec.eos_id = -1;
    const Tokenizer bytes(spec);
    for (const std::string& piece : split.pieces) {
      std::string spelled;  // the piece in the byte alphabet, read off the byte tokens
      for (const char c : piece) spelled += spec.tokens[bytes.encode(std::string(1, c))[0]];
      if (std::find(spec.tokens.begin(), spec.tokens.end(), spelled) == spec.tokens.end())
        spec.tokens.push_back(spelled);
    }
    spec.types.clear();
    const Tokenizer t(spec);
    // Pieces cut differently fall apart into bytes, which shows as a longer list.
    EXPECT_EQ(pieces(t, t.encode(split.text)), split.pieces) << split.pre << ": " << split.text;
  }
}

TEST(Spm, MergesByScoreAndPrefixesASpace) {
  const Tokenizer t(test::tiny_spm());
  // " abc": bc (-1) merges first, then "_a" (-3) beats a+bc, which is abc (-5).
  EXPECT_EQ(t.encode("abc"), (Ids{1, 266, 264}));
  EXPECT_EQ(t.encode("abc", {.add_special = false}), (Ids{266, 264}));
  EXPECT_EQ(t.decode(t.encode("abc")), "abc");
  EXPECT_EQ(t.decode(t.encode("  abc ")), "  abc ");
  EXPECT_EQ(t.encode(""), (Ids{1}));
}

TEST(Spm, FallsBackToBytesAndNeverReadsTheirNames) {
  const Tokenizer t(test::tiny_spm());
  EXPECT_EQ(t.encode("\xC3\xA9", {.add_special = false}), (Ids{262, 3 + 0xC3, 3 + 0xA9}));
  for (const std::string text : {"\xFF\xC3", "<0x0A>", "<s>", "\n", "a\xE2\x96"})
    EXPECT_EQ(t.decode(t.encode(text)), text);
}

TEST(Spm, MergeListReplacesScores) {
  TokenizerSpec spec = test::tiny_spm();
  spec.merges = {{259, 260}, {263, 261}};  // a b, ab c
  spec.add_space_prefix = false;
  EXPECT_EQ(Tokenizer(spec).encode("abc"), (Ids{1, 265}));
}

TEST(Spm, SpacePrefixComesBackAfterSpecialTokens) {
  TokenizerSpec spec = test::tiny_spm();
  const EncodeOptions parse{.parse_special = true};
  const DecodeOptions spell{.skip_special = false};
  const std::string text = "a</s>b</s> c";
  EXPECT_EQ(Tokenizer(spec).decode(Tokenizer(spec).encode(text, parse), spell), "<s>" + text);
  spec.space_prefix_first_only = true;
  EXPECT_EQ(Tokenizer(spec).decode(Tokenizer(spec).encode(text, parse), spell), "<s>" + text);
  EXPECT_EQ(Tokenizer(spec).encode("a</s>b", parse), (Ids{1, 266, 2, 260}));
}

TEST(Tokenizer, LongWordsAreNotQuadratic) {
  const std::string word(1 << 20, 'l');
  for (const TokenizerSpec& spec : {test::tiny_bpe(), test::tiny_spm()}) {
    const Tokenizer t(spec);
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(t.decode(t.encode(word)), word);
    // Quadratic merging would need 10^12 steps.
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
  }
}

TEST(Tokenizer, DecodeRejectsForeignIds) {
  const Tokenizer t(test::tiny_bpe());
  EXPECT_THROW(t.decode(Ids{-1}), InvalidArgument);
  EXPECT_THROW(t.token_text(t.vocab_size()), InvalidArgument);
}

}  // namespace
}  // namespace halftone
