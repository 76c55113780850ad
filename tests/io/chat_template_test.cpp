// Renders equal those of the real Jinja (tests/goldens/chat_renders.json, written by make_chat_goldens.py); errors name
// lines; limits hold; built-in templates are found by their tokens.
#include "io/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/error.h"
#include "base/json.h"
#include "io/tokenizer/tokenizer.h"

namespace halftone {
namespace {

using testing::HasSubstr;

const Json& goldens() {
  static const Json document = [] {
    std::ifstream in("tests/goldens/chat_renders.json");
    return Json::parse(in);
  }();
  return document;
}

TEST(ChatTemplate, RendersEqualTheGoldens) {
  ASSERT_GE(goldens().at("cases").size(), 80u);
  for (const Json& item : goldens().at("cases")) {
    const Json& extra = item.at("extra");
    const ChatRenderOptions options{.add_generation_prompt = item.at("add_generation_prompt"),
                                    .bos_token = "<s>",
                                    .eos_token = "</s>",
                                    .extra = &extra,
                                    .unix_time = goldens().at("unix_time")};
    const auto name = item.at("template").get<std::string>();
    const Json& messages = goldens().at("conversations").at(item.at("conversation").get<std::string>());
    SCOPED_TRACE(name + " / " + item.at("conversation").get<std::string>());
    std::string rendered, error;
    try {
      rendered = ChatTemplate(goldens().at("templates").at(name).get<std::string>()).render(messages, options);
    } catch (const Error& caught) {
      error = caught.what();
    }
    if (item.contains("error")) {
      EXPECT_THAT(error, HasSubstr("line ")) << "wanted " << item.at("error") << ", rendered " << rendered;
    } else {
      EXPECT_EQ(rendered, item.at("text").get<std::string>()) << error;
    }
  }
}

std::string error_of(const std::string& source) {
  try {
    return "rendered: " + render_chat(source, {{"user", "Hi"}});
  } catch (const Error& error) {
    return error.what();
  }
}

TEST(ChatTemplate, ErrorsNameTheLine) {
  EXPECT_EQ(error_of("a\nb\n{{ raise_exception('no ' ~ messages[0].role) }}"),
            "chat template, line 3: the template refuses this conversation: no user");
  EXPECT_THAT(error_of("\n{% if %}"), HasSubstr("line 2: expected an expression"));
  EXPECT_THAT(error_of("{% for x in y %}\n\n"), HasSubstr("endfor"));
  EXPECT_THAT(error_of("\n\n{{ 'x"), HasSubstr("line 3: a string is not closed"));
  EXPECT_THAT(error_of("{{ nope.x }}"), HasSubstr("'nope' is undefined"));
  EXPECT_THAT(error_of("{{ messages | frobnicate }}"), HasSubstr("no filter 'frobnicate'"));
  EXPECT_THAT(error_of("{{ 1 is frobnicated }}"), HasSubstr("no test 'frobnicated'"));
  EXPECT_THAT(error_of("{{ 'x'.encode() }}"), HasSubstr("a string has no method 'encode'"));
  EXPECT_THAT(error_of("{% include 'x' %}"), HasSubstr("{% include %} is not supported"));
}

TEST(ChatTemplate, LimitsHold) {
  EXPECT_THAT(error_of("{% for i in range(99999999) %}{% endfor %}"), HasSubstr("longer than 100000"));
  EXPECT_THAT(error_of("{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}"),
              HasSubstr("too many steps"));
  EXPECT_THAT(error_of("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"), HasSubstr("nests deeper"));
  EXPECT_THAT(error_of("{{ 'x' * 999999999 }}"), HasSubstr("64 MiB"));
  EXPECT_THAT(error_of("{% set n = namespace(x='ab') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}"),
              HasSubstr("64 MiB"));
  EXPECT_THAT(error_of("{{ " + std::string(5000, '(') + "1" + std::string(5000, ')') + " }}"),
              HasSubstr("nests deeper"));
}

TEST(ChatTemplate, BuiltinsFollowTheSpecialTokens) {
  TokenizerSpec spec;
  spec.tokens = {"<bos>", "<start_of_turn>", "<end_of_turn>"};
  const std::vector<ChatMessage> chat{
      {"system", "Be kind."}, {"user", " Hi "}, {"assistant", "Hello"}, {"user", "Bye"}};
  EXPECT_EQ(render_chat(chat_template_of(spec), chat, {.bos_token = "<bos>"}),
            "<bos><start_of_turn>user\nBe kind.\n\nHi<end_of_turn>\n<start_of_turn>model\nHello<end_of_turn>\n"
            "<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n");
  spec.tokens = {"<|im_start|>"};
  EXPECT_EQ(render_chat(chat_template_of(spec), {{"user", "Hi"}}),
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(render_chat(chat_template_of(spec), {{"user", "Hi"}}, {.add_generation_prompt = false}),
            "<|im_start|>user\nHi<|im_end|>\n");
  spec.tokens = {"<|start_header_id|>"};
  EXPECT_EQ(
      render_chat(chat_template_of(spec), {{"user", "Hi"}}, {.bos_token = "B"}),
      "B<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n");
  spec.chat_template = "own";
  EXPECT_EQ(chat_template_of(spec), "own");
  spec = {};
  spec.tokens = {"x"};
  EXPECT_THROW(chat_template_of(spec), Unsupported);
}

// A namespace that holds itself must not keep the render's memory (the leak check of the sanitizer build sees it).
TEST(ChatTemplate, CircularNamespaceIsFreed) {
  EXPECT_EQ(render_chat("{% set n = namespace(x=1) %}{% set n.x = [n] %}{{ n.x | length }}", {}), "1");
}

}  // namespace
}  // namespace halftone
