// Hostile tokenizer specs and files: each is refused with an Error that says what is wrong; none may crash or hang.
#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "../fuzz/text_targets.h"
#include "tiny_tokenizer.h"

namespace halftone {
namespace {

using Change = std::function<void(TokenizerSpec&)>;

std::vector<Change> changes_of_both() {
  const int32_t far = 1 << 30;
  std::vector<Change> changes{
      [](auto& s) { s.tokens.clear(); },
      [](auto& s) { s.tokens.pop_back(); },
      [](auto& s) { s.types.pop_back(); },
      [](auto& s) { s.types.push_back(TokenType::Normal); },
      [](auto& s) { s.types[3] = static_cast<TokenType>(0); },
      [](auto& s) { s.types[3] = static_cast<TokenType>(7); },
      [](auto& s) { s.types[3] = static_cast<TokenType>(255); },
      [](auto& s) { s.scores.assign(s.tokens.size() + 1, 0); },
      [](auto& s) { s.scores.assign(1, 0); },
      [](auto& s) { s.scores.assign(s.tokens.size(), std::numeric_limits<float>::quiet_NaN()); },
      [](auto& s) { s.tokens[260] = s.tokens[259]; },
      [](auto& s) { s.tokens[0] = s.tokens.back(); },
      [](auto& s) { s.tokens[260] = "\xFF"; },
      [](auto& s) { s.tokens[260] = "\xC3"; },
      [](auto& s) { s.tokens[260] = "\xED\xA0\x80"; },
      [](auto& s) { s.tokens[260] = "\xC0\x80"; },
      [](auto& s) { s.add_bos = true, s.bos_id = -1; },
      [](auto& s) { s.add_eos = true, s.eos_id = -1; },
      [](auto& s) {
        s.merges.push_back({0, 0});
      },
      [](auto& s) {
        s.merges.push_back({260, 259});
      },
      [](auto& s) {
        s.tokens[10].clear(), s.merges.push_back({10, 12});
      },
      [](auto& s) {
        s.tokens[10].clear(), s.merges.push_back({12, 10});
      },
      [](auto& s) {
        s.tokens[10].clear(), s.merges.push_back({10, 10});
      },
  };
  for (const int32_t bad : {-2, far, std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max()}) {
    changes.push_back([bad](auto& s) { s.bos_id = bad; });
    changes.push_back([bad](auto& s) { s.eos_id = bad; });
    changes.push_back([bad](auto& s) { s.eot_id = bad; });
    changes.push_back([bad](auto& s) { s.unk_id = bad; });
    changes.push_back([bad](auto& s) { s.pad_id = bad; });
    changes.push_back([bad](auto& s) { s.end_of_generation_ids.push_back(bad); });
    changes.push_back([bad](auto& s) { s.lstrip_ids.push_back(bad); });
    changes.push_back([bad](auto& s) { s.rstrip_ids.push_back(bad); });
    changes.push_back([bad](auto& s) { s.merges.push_back({bad, 5}); });
    changes.push_back([bad](auto& s) { s.merges.push_back({5, bad}); });
  }
  return changes;
}

TEST(HostileTokenizers, ChangedSpecsAreRefused) {
  const auto changes = changes_of_both();
  size_t count = 0;
  for (const TokenizerSpec& base : {test::tiny_bpe(), test::tiny_spm()}) {
    ASSERT_EQ(fuzz::error_of([&] { base.validate(); }), "");
    for (size_t i = 0; i < changes.size(); ++i, ++count) {
      TokenizerSpec spec = base;
      changes[i](spec);
      EXPECT_TRUE(fuzz::error_of([&] { fuzz::use_tokenizer(spec, "hello abc"); }).starts_with("tokenizer"))
          << "change " << i;
    }
  }
  EXPECT_GE(count, 80u);
}

TEST(HostileTokenizers, SpmNeedsBytesOrUnknown) {
  TokenizerSpec spec = test::tiny_spm();
  spec.tokens[3 + 0x41] = "lost", spec.types[3 + 0x41] = TokenType::Normal;
  EXPECT_EQ(fuzz::error_of([&] { fuzz::use_tokenizer(spec, "A"); }), "");  // the unknown token stands in
  spec.unk_id = -1;
  EXPECT_NE(fuzz::error_of([&] { spec.validate(); }).find("<0x41>"), std::string::npos);
  spec = test::tiny_spm();
  spec.types[260] = TokenType::Byte;
  EXPECT_NE(fuzz::error_of([&] { spec.validate(); }), "");
  spec = test::tiny_spm();
  spec.scores.clear();
  EXPECT_NE(fuzz::error_of([&] { spec.validate(); }), "");
}

TEST(HostileTokenizers, BadExpressionsAreRefused) {
  for (const char* pattern :
       {"(", "[", "a{9999999}", "\\p{Nope}", "*", "(?<=a*)b", "\\C", "[z-a]", "(?P<x", "\\", "(?R", "\xFF"}) {
    TokenizerSpec spec = test::tiny_bpe();
    spec.pre = "custom";
    spec.pre_patterns = {pattern};
    EXPECT_NE(fuzz::error_of([&] { spec.validate(); }), "") << pattern;
  }
  TokenizerSpec spec = test::tiny_bpe();
  spec.pre = "nonsense";
  EXPECT_NE(fuzz::error_of([&] { spec.validate(); }).find("nonsense"), std::string::npos);
  spec.pre = "custom";
  spec.pre_patterns.assign(65, "a");
  EXPECT_NE(fuzz::error_of([&] { spec.validate(); }), "");
  spec.pre_patterns = {std::string(100000, 'a')};
  EXPECT_NE(fuzz::error_of([&] { spec.validate(); }), "");
}

// Exponential backtracking, recursion, empty matches and \K: an Error or a result, soon.
TEST(HostileTokenizers, WildExpressionsEnd) {
  for (const char* pattern :
       {"(a+)+$", "(a|aa)+$", "(a*)*b", "(?:a?){50}a{50}", "(a(?1)?b)", "x*", "(?=a)", "\\Ka", "a\\K", "(?<=\\Ka)",
        "((?:a|b)*)*c", "(?:(?:a*)*)*z", "^", "$", "", "(?s).*", "\\X", "\\R"}) {
    TokenizerSpec spec = test::tiny_bpe();
    spec.pre = "custom";
    spec.pre_patterns = {pattern};
    std::string decoded;
    const std::string text = std::string(5000, 'a') + "\xFF!\r\n";
    const std::string error = fuzz::error_of([&] { decoded = Tokenizer(spec).decode(Tokenizer(spec).encode(text)); });
    if (error.empty()) {
      EXPECT_EQ(decoded, text) << pattern;
    }
  }
}

TEST(HostileTokenizers, DamagedFilesAreRefused) {
  const std::vector<std::string> files{
      "",
      "{",
      "null",
      "[]",
      "3",
      "\"x\"",
      "{}",
      R"({"format":"other"})",
      R"({"format":"halftone.tokenizer.v1"})",
      R"({"format":"halftone.tokenizer.v1","kind":"wordpiece"})",
      R"({"format":"halftone.tokenizer.v1","kind":3})",
      R"({"format":7})",
      R"({"model":null})",
      R"({"model":[]})",
      R"({"model":{}})",
      R"({"model":{"type":"BPE"}})",
      R"({"model":{"type":"BPE","vocab":[]}})",
      R"({"model":{"type":"BPE","vocab":{}}})",
      R"({"model":{"type":"BPE","vocab":{"a":-1},"merges":[]}})",
      R"({"model":{"type":"BPE","vocab":{"a":4000000000},"merges":[]}})",
      R"({"model":{"type":"BPE","vocab":{"a":1.5},"merges":[]}})",
      R"({"model":{"type":"BPE","vocab":{"a":"x"},"merges":[]}})",
      R"({"model":{"type":"BPE","vocab":{"a":0,"b":0},"merges":[]}})",
      R"({"added_tokens":[3],"model":{"type":"BPE","vocab":{"a":0},"merges":[]}})",
      R"({"added_tokens":[{"id":0,"content":"q"}],"model":{"type":"BPE","vocab":{"a":0},"merges":[]}})",
      R"({"pre_tokenizer":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{"a":0},"merges":["a"]}})",
      R"({"pre_tokenizer":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{"a":0},"merges":["a b"]}})",
      R"({"pre_tokenizer":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{"a":0},"merges":["a a"]}})",
      R"({"pre_tokenizer":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{"a":0},"merges":[""]}})",
      R"({"pre_tokenizer":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{"a":0},"merges":[[]]}})",
      R"({"pre_tokenizer":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{"a":0},"merges":[["a"]]}})",
      R"({"pre_tokenizer":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{"a":0},"merges":[7]}})",
      R"({"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Sequence"}]},"model":{"type":"BPE","vocab":{"a":0},"merges":[]}})",
      R"({"pre_tokenizer":7,"model":{"type":"BPE","vocab":{"a":0},"merges":[]}})",
      R"({"model":{"type":"Unigram"}})",
      R"({"model":{"type":"Unigram","vocab":{"a":0}}})",
      R"({"model":{"type":"Unigram","vocab":["a"]}})",
      R"({"model":{"type":"Unigram","vocab":[["a"]]}})",
      R"({"model":{"type":"Unigram","vocab":[["a",null]]}})",
      R"({"pre_tokenizer":{"type":"Metaspace","replacement":"\u2581"},"model":{"type":"Unigram","vocab":[]}})",
      R"({"pre_tokenizer":{"type":"Metaspace","replacement":"\u2581"},"model":{"type":"Unigram","vocab":[["a",-1]]}})",
      R"({"pre_tokenizer":{"type":"Metaspace","replacement":"\u2581"},"model":{"type":"Unigram","unk_id":1,"vocab":[["a",-1]]}})",
      R"({"pre_tokenizer":{"type":"Metaspace","replacement":"\u2581"},"model":{"type":"Unigram","unk_id":-1,"vocab":[["a",-1]]}})",
      R"({"pre_tokenizer":{"type":"Metaspace","replacement":"\u2581"},"model":{"type":"Unigram","unk_id":0,"vocab":[["a",1e300]]}})",
      R"({"pre_tokenizer":{"type":"Metaspace","replacement":"\u2581"},"model":{"type":"Unigram","unk_id":0,"vocab":[["a",1],["a",2]]}})",
      R"({"normalizer":{"type":"Precompiled","precompiled_charsmap":"AAAA"},"pre_tokenizer":{"type":"Metaspace","replacement":"\u2581"},"model":{"type":"Unigram","unk_id":0,"vocab":[["a",1]]}})",
      std::string(1 << 20, '['),
      std::string("{\"a\":") + std::string(100000, '[')};
  for (const std::string& file : files) EXPECT_NE(fuzz::run_tokenizer(file), "") << file.substr(0, 200);
}

}  // namespace
}  // namespace halftone
