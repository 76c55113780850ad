// The generate flow on models that recite: text, stop texts across tokens, whole characters, finish reasons, sessions.
#include "engine/generate/generate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "base/error.h"
#include "chain_model.h"
#include "engine/generate/prompt.h"
#include "engine/generate/stop_filter.h"
#include "io/utf8.h"

namespace halftone::engine {
namespace {

using halftone::testing::chain_model;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
namespace fs = std::filesystem;

// No byte twice: "a", "b", U+20AC (E2 82 AC), "c", U+1F389 (F0 9F 8E 89), "d", "e".
const std::string kChain = "ab\u20acc\U0001F389de";

class GenerateTest : public ::testing::Test {
 protected:
  GenerateResult run(const models::LanguageModel& model, GenerateRequest request) {
    if (request.prompt.empty()) request.prompt = {'a'};
    if (request.sampling.seed == 0) request.sampling.temperature = 0;
    return generate(exec_.get(), model, request);
  }
  OwnedExecContext exec_{2};
};

TEST_F(GenerateTest, RecitesToTheEndToken) {
  const auto result = run(chain_model(kChain), {});
  EXPECT_EQ(result.text, kChain.substr(1));
  EXPECT_EQ(result.finish_reason, "stop");
  EXPECT_EQ(result.tokens.size(), kChain.size() - 1);  // the end token is not among them
  EXPECT_EQ(result.tokens.back(), 'e');
  EXPECT_EQ(result.prompt_tokens, 1);
}

TEST_F(GenerateTest, StreamsWholeCharacters) {
  std::vector<std::string> pieces;
  GenerateRequest request;
  request.on_text = [&](std::string_view piece) {
    pieces.emplace_back(piece);
    return true;
  };
  run(chain_model(kChain), request);
  EXPECT_THAT(pieces, ElementsAre("b", "\u20ac", "c", "\U0001F389", "d", "e"));
}

TEST_F(GenerateTest, ACharacterThatIsCutOffBecomesOneReplacement) {
  const auto result = run(chain_model(kChain), {.prompt = {}, .max_tokens = 3});
  EXPECT_EQ(result.text, "b\uFFFD");
  EXPECT_EQ(result.finish_reason, "length");
  EXPECT_EQ(result.tokens.size(), 3u);
}

TEST_F(GenerateTest, StopTextsSpanTokensAndAreWithheld) {
  std::string streamed;
  GenerateRequest request;
  request.stop = {"\U0001F389d", "never"};
  request.on_text = [&](std::string_view piece) {
    streamed += piece;
    return true;
  };
  const auto result = run(chain_model(kChain), request);
  EXPECT_EQ(result.text, "b\u20acc");
  EXPECT_EQ(streamed, result.text);
  EXPECT_EQ(result.finish_reason, "stop");
}

TEST_F(GenerateTest, HeldTextIsReleasedAtTheEnd) {
  const auto result = run(chain_model(kChain), {.prompt = {}, .max_tokens = 128, .stop = {"de!"}});
  EXPECT_EQ(result.text, kChain.substr(1));
  EXPECT_EQ(result.finish_reason, "stop");  // by the end token
}

TEST_F(GenerateTest, CancellingEnds) {
  int calls = 0;
  GenerateRequest request;
  request.on_text = [&](std::string_view) { return ++calls < 2; };
  auto result = run(chain_model(kChain), request);
  EXPECT_EQ(result.finish_reason, "cancelled");
  EXPECT_EQ(result.text, "b\u20ac");
  request = {};
  request.cancelled = [] { return true; };
  result = run(chain_model(kChain), request);
  EXPECT_EQ(result.finish_reason, "cancelled");
  EXPECT_EQ(result.text, "");
}

TEST_F(GenerateTest, EndsWhenTheContextIsFull) {
  // After the prompt and its successor the 4 positions hold 'a' to the first byte of U+20AC; one more token is drawn.
  const auto result = generate(exec_.get(), chain_model("abcdefghij"),
                               {.prompt = {'a'}, .max_tokens = 9, .sampling = {.temperature = 0}}, 4);
  EXPECT_EQ(result.text, "bcde");
  EXPECT_EQ(result.finish_reason, "length");
}

TEST_F(GenerateTest, BadRequestsNameBothNumbers) {
  const auto model = chain_model(kChain, 8);
  const GenerateRequest request{.prompt = std::vector<int32_t>(9, 'a')};
  EXPECT_THAT([&] { run(model, request); }, ThrowsMessage<InvalidArgument>(HasSubstr("has 9 tokens, the context 8")));
  EXPECT_THAT([&] { generate(exec_.get(), model, request, 99); }, ThrowsMessage<InvalidArgument>(HasSubstr("99")));
  EXPECT_THROW(generate(exec_.get(), model, {}), InvalidArgument);  // no prompt
  EXPECT_THROW(run(model, {.prompt = {'a'}, .max_tokens = 4, .stop = {""}}), InvalidArgument);
  EXPECT_THROW(run(model, {.prompt = {'a'}, .max_tokens = -1}), InvalidArgument);
}

class SessionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const fs::path path = fs::temp_directory_path() / fmt::format("halftone-generate-{}.gguf", ::getpid());
    halftone::testing::TinyGguf(11).write(path);
    model_ = std::make_unique<models::LanguageModel>(models::load_language_model(path));
    fs::remove(path);
  }
  GenerateRequest request(const std::string& prompt) const {
    return {.prompt = encode_prompt(*model_, prompt, false),
            .max_tokens = 20,
            .sampling = {.temperature = 30, .top_k = 0, .top_p = 1, .min_p = 0, .seed = 5}};  // flat: any slip shows
  }
  std::unique_ptr<models::LanguageModel> model_;
  OwnedExecContext exec_{2};
};

TEST_F(SessionTest, ReuseDoesNotChangeTheText) {
  GenerateSession session(exec_.get(), *model_);
  const auto first = session.generate(request("Once upon a time"));
  const auto longer = request("Once upon a time there was");
  const auto reused = session.generate(longer), fresh = generate(exec_.get(), *model_, longer);
  EXPECT_EQ(first.reused_tokens, 0);
  EXPECT_GE(reused.reused_tokens, 16);
  EXPECT_EQ(reused.tokens, fresh.tokens);
  const auto other = request("Twice");
  const auto unrelated = session.generate(other);
  EXPECT_EQ(unrelated.reused_tokens, 0);
  EXPECT_EQ(unrelated.tokens, generate(exec_.get(), *model_, other).tokens);
}

TEST_F(SessionTest, ThreadsDoNotMatterAndSeedsDo) {
  OwnedExecContext one(1);
  auto asked = request("Hello");
  const auto a = generate(one.get(), *model_, asked), b = generate(exec_.get(), *model_, asked);
  EXPECT_EQ(a.tokens, b.tokens);
  EXPECT_EQ(a.text, b.text);
  asked.sampling.seed = 6;
  EXPECT_NE(generate(exec_.get(), *model_, asked).tokens, a.tokens);
}

TEST_F(SessionTest, PromptsHaveOneBos) {
  TokenizerSpec spec = model_->tokenizer.spec();
  spec.add_bos = true;
  spec.chat_template = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}";
  model_->tokenizer = Tokenizer(spec);
  EXPECT_THAT(encode_prompt(*model_, "a", true), ElementsAre(256, 'a'));
  EXPECT_THAT(encode_prompt(*model_, "<|start|>a", true), ElementsAre(256, 'a'));
  EXPECT_EQ(encode_prompt(*model_, "<|start|>", false).size(), 10u);
  EXPECT_THAT(encode_chat(*model_, {{"user", "ab"}}), ElementsAre(256, 'a', 'b'));
}

/// What passes the filter when `text` comes in pieces of `size` bytes.
std::pair<std::string, bool> filtered(const std::string& text, const std::vector<std::string>& stops, size_t size) {
  StopFilter filter(stops);
  std::string passed;
  for (size_t at = 0; at < text.size() && !filter.stopped(); at += size) passed += filter.push(text.substr(at, size));
  if (!filter.stopped()) passed += filter.flush();
  return {passed, filter.stopped()};
}

TEST(StopFilter, PiecesDoNotMatter) {
  struct Case {
    std::string text;
    std::vector<std::string> stops;
    std::string passed;
    bool stopped;
  };
  const Case cases[] = {{"aabaabaaab", {"aabaaab"}, "aab", true}, {"abcabd", {"abd"}, "abc", true},
                        {"abcab", {"abd"}, "abcab", false},       {"xabcx", {"abcx", "bc"}, "xa", true},
                        {"xabcx", {"bc", "abc"}, "x", true},      {"text", {}, "text", false},
                        {"aaa", {"aaaa"}, "aaa", false},          {"stop", {"stop"}, "", true}};
  for (const auto& c : cases)
    for (size_t size = 1; size <= c.text.size(); ++size)
      EXPECT_EQ(filtered(c.text, c.stops, size), std::make_pair(c.passed, c.stopped)) << c.text << " in " << size;
}

TEST(StopFilter, HoldsBackNoMoreThanIsNeeded) {
  StopFilter filter({"END", "\u20ac\u20ac"});
  EXPECT_EQ(filter.push("to the E"), "to the ");
  EXPECT_EQ(filter.push("N"), "");
  EXPECT_EQ(filter.push("TRY \u20ac"), "ENTRY ");
  EXPECT_EQ(filter.push("5"), "\u20ac5");
  EXPECT_THROW(StopFilter({"\xff"}), InvalidArgument);
}

TEST(QuotePiece, ShowsEveryByte) {
  EXPECT_EQ(quote_piece("a\"\\\n\x01\u20ac\xe2\x82"), "\"a\\\"\\\\\\n\\x01\u20ac\\xe2\\x82\"");
}

}  // namespace
}  // namespace halftone::engine
