// Our own JSON survives a round trip; Hugging Face tokenizer.json files of both families give the tokenizer they mean,
// and what we do not have is refused by name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/json.h"
#include "tiny_tokenizer.h"

namespace halftone {
namespace {

using testing::HasSubstr;

Json hf_byte_level() {
  const TokenizerSpec tiny = test::tiny_bpe();
  Json file = Json::parse(R"({"version":"1.0","normalizer":null,"added_tokens":[],
    "pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},
      {"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}]},
    "post_processor":null,"decoder":{"type":"ByteLevel"},
    "model":{"type":"BPE","dropout":null,"unk_token":null,"fuse_unk":false,"byte_fallback":false}})");
  for (size_t id = 0; id < tiny.tokens.size(); ++id) {
    if (tiny.types[id] == TokenType::Normal)
      file["model"]["vocab"][tiny.tokens[id]] = id;
    else
      file["added_tokens"].push_back({{"id", id},
                                      {"content", tiny.tokens[id]},
                                      {"single_word", false},
                                      {"lstrip", false},
                                      {"rstrip", false},
                                      {"normalized", false},
                                      {"special", tiny.types[id] == TokenType::Control}});
  }
  for (const auto& [left, right] : tiny.merges)
    file["model"]["merges"].push_back(tiny.tokens[left] + " " + tiny.tokens[right]);
  return file;
}

Json hf_byte_fallback() {
  const TokenizerSpec tiny = test::tiny_spm();
  Json file =
      Json::parse(R"({"added_tokens":[{"id":0,"content":"<unk>","special":true},{"id":1,"content":"<s>","special":true},
    {"id":2,"content":"</s>","special":true}],
    "normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"\u2581"},
      {"type":"Replace","pattern":{"String":" "},"content":"\u2581"}]},
    "pre_tokenizer":null,
    "post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},
      {"Sequence":{"id":"A","type_id":0}}],"special_tokens":{}},
    "model":{"type":"BPE","unk_token":"<unk>","byte_fallback":true,"fuse_unk":true,
      "merges":[["b","c"],["a","b"],["\u2581","a"],["a","bc"]]}})");
  for (size_t id = 0; id < tiny.tokens.size(); ++id) file["model"]["vocab"][tiny.tokens[id]] = id;
  return file;
}

TEST(TokenizerJson, OwnFormatRoundTrips) {
  for (TokenizerSpec spec : {test::tiny_bpe(), test::tiny_spm()}) {
    spec.end_of_generation_ids = {3, 4};
    spec.rstrip_ids = {5};
    spec.chat_template = "{{ \"\u00e9\n\" }}";
    const Json json = tokenizer_spec_to_json(spec);
    for (const TokenizerSpec& again : {tokenizer_spec_from_own_json(json), tokenizer_spec_from_json(json.dump())}) {
      EXPECT_EQ(tokenizer_spec_to_json(again), json);
      EXPECT_EQ(Tokenizer(again).encode("hello abc"), Tokenizer(spec).encode("hello abc"));
    }
    Json damaged = json;
    damaged["merges"].push_back(1);
    EXPECT_THROW(tokenizer_spec_from_own_json(damaged), IoError);
    damaged = json;
    damaged.erase("tokens");
    EXPECT_THROW(tokenizer_spec_from_own_json(damaged), IoError);
  }
}

TEST(TokenizerJson, ReadsByteLevel) {
  const TokenizerSpec spec = tokenizer_spec_from_json(hf_byte_level().dump());
  TokenizerSpec like = test::tiny_bpe();
  like.pre = "smollm";
  for (const char* text : {"hello hello 123", "<|x|>y", "<tool>hello", "\u6f22 it's"})
    for (const bool parse : {false, true})
      EXPECT_EQ(Tokenizer(spec).encode(text, {.parse_special = parse}),
                Tokenizer(like).encode(text, {.parse_special = parse}))
          << text;
}

TEST(TokenizerJson, ReadsByteFallback) {
  const Tokenizer t(tokenizer_spec_from_json(hf_byte_fallback().dump()));
  EXPECT_EQ(t.encode("abc"), (std::vector<int32_t>{1, 266, 264}));
  EXPECT_EQ(t.decode(t.encode("abc \u6f22")), "abc \u6f22");
  EXPECT_EQ(t.bos_id(), 1);
  EXPECT_EQ(t.eos_id(), 2);
}

TEST(TokenizerJson, ConfigGivesRolesAndTemplate) {
  const TokenizerSpec spec = tokenizer_spec_from_hf(
      hf_byte_level().dump(),
      R"({"bos_token":{"content":"<|x|>"},"eos_token":"<|end|>","add_bos_token":true,"chat_template":"T"})");
  EXPECT_EQ(spec.tokens[spec.bos_id], "<|x|>");
  EXPECT_EQ(spec.tokens[spec.eos_id], "<|end|>");
  EXPECT_TRUE(spec.add_bos);
  EXPECT_EQ(spec.chat_template, "T");
}

TEST(TokenizerJson, UnsupportedPartsAreNamed) {
  const auto message = [](const Json& base, const char* path, const char* value) {
    Json file = base;
    file[Json::json_pointer(path)] = Json::parse(value);
    try {
      tokenizer_spec_from_json(file.dump());
    } catch (const Unsupported& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  const Json byte_level = hf_byte_level(), fallback = hf_byte_fallback();
  EXPECT_THAT(message(byte_level, "/model/type", R"("WordPiece")"), HasSubstr("'WordPiece'"));
  EXPECT_THAT(message(byte_level, "/model/dropout", "0.1"), HasSubstr("dropout"));
  EXPECT_THAT(message(byte_level, "/model/end_of_word_suffix", R"("</w>")"), HasSubstr("end_of_word_suffix"));
  EXPECT_THAT(message(byte_level, "/normalizer", R"({"type":"Lowercase"})"), HasSubstr("'Lowercase'"));
  EXPECT_THAT(message(byte_level, "/pre_tokenizer/pretokenizers/0", R"({"type":"BertPreTokenizer"})"),
              HasSubstr("'BertPreTokenizer'"));
  EXPECT_THAT(message(byte_level, "/pre_tokenizer/pretokenizers/0",
                      R"({"type":"Split","pattern":{"Regex":"a"},"behavior":"MergedWithNext"})"),
              HasSubstr("'MergedWithNext'"));
  EXPECT_THAT(message(byte_level, "/pre_tokenizer/pretokenizers/0",
                      R"({"type":"Split","pattern":{"Regex":"[a&&b]"},"behavior":"Isolated"})"),
              HasSubstr("&&"));
  EXPECT_THAT(message(byte_level, "/post_processor", R"({"type":"BertProcessing"})"), HasSubstr("'BertProcessing'"));
  EXPECT_THAT(message(byte_level, "/added_tokens/0/single_word", "true"), HasSubstr("single_word"));
  EXPECT_THAT(message(fallback, "/pre_tokenizer", R"({"type":"Whitespace"})"), HasSubstr("'Whitespace'"));
  EXPECT_THAT(message(fallback, "/normalizer", R"({"type":"NFKC"})"), HasSubstr("'NFKC'"));
  EXPECT_THAT(message(fallback, "/model/byte_fallback", "false"), HasSubstr("byte_fallback"));
}

}  // namespace
}  // namespace halftone
