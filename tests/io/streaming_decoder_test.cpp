// A stream gives whole characters only, and in sum what decode gives.
#include <gtest/gtest.h>

#include "io/utf8.h"
#include "tiny_tokenizer.h"

namespace halftone {
namespace {

TEST(StreamingDecoder, HoldsBackPartsOfACharacter) {
  const Tokenizer t(test::tiny_bpe());
  const std::string text = "a\u00e9\u6f22\U0001F600z";
  StreamingDecoder stream(t);
  std::string sum;
  for (const int32_t id : t.encode(text)) {
    const std::string part = stream.push(id);
    EXPECT_TRUE(utf8_valid(part));
    EXPECT_LE(stream.pending_bytes(), 3u);
    sum += part;
  }
  EXPECT_EQ(sum + stream.flush(), text);
}

TEST(StreamingDecoder, ReplacesWhatCannotBecomeACharacter) {
  const Tokenizer t(test::tiny_bpe());
  StreamingDecoder stream(t);
  std::string sum;
  for (const int32_t id : t.encode("a\xFF"
                                   "b\xE2\x82"
                                   "c\xF0\x9F"))
    sum += stream.push(id);
  EXPECT_EQ(sum, "a\uFFFDb\uFFFDc");
  EXPECT_EQ(stream.pending_bytes(), 2u);
  EXPECT_EQ(stream.flush(), "\uFFFD");
  EXPECT_EQ(stream.flush(), "");
}

TEST(StreamingDecoder, DropsTheSpacePrefixOncePerText) {
  const Tokenizer t(test::tiny_spm());
  StreamingDecoder stream(t);
  for (int round = 0; round < 2; ++round) {
    std::string sum;
    for (const int32_t id : t.encode("a a")) sum += stream.push(id);
    EXPECT_EQ(sum + stream.flush(), "a a");
  }
}

TEST(Utf8, StatesFollowTheStandard) {
  struct Case {
    const char* text;
    uint32_t code, length;
    Utf8State state;
  };
  for (const Case& c :
       {Case{"a", 'a', 1, Utf8State::Valid}, Case{"\xC3\xA9", 0xE9, 2, Utf8State::Valid},
        Case{"\xF4\x8F\xBF\xBF", 0x10FFFF, 4, Utf8State::Valid}, Case{"\xC0\x80", 0xFFFD, 1, Utf8State::Invalid},
        Case{"\xED\xA0\x80", 0xFFFD, 1, Utf8State::Invalid}, Case{"\xE2\x82", 0xFFFD, 2, Utf8State::Truncated},
        Case{"\xE2\x82z", 0xFFFD, 2, Utf8State::Invalid}, Case{"\xF5", 0xFFFD, 1, Utf8State::Invalid}}) {
    const Utf8Char next = utf8_next(c.text);
    EXPECT_EQ(next.code, c.code) << c.text;
    EXPECT_EQ(next.length, c.length) << c.text;
    EXPECT_EQ(next.state, c.state) << c.text;
  }
  std::string all;
  for (uint32_t code = 0; code <= 0x10FFFF; ++code)
    if (code < 0xD800 || code > 0xDFFF) utf8_append(code, all);
  EXPECT_TRUE(utf8_valid(all));
  EXPECT_EQ(utf8_length(all), 0x110000u - 0x800u);
}

}  // namespace
}  // namespace halftone
