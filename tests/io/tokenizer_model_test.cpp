// Compares our ids with llama.cpp's on the vocabularies of real models (tests/goldens/tokenizer_*.json, written by
// make_tokenizer_goldens.py), and checks round trips and speed there.
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/json.h"
#include "base/philox.h"
#include "io/gguf/gguf.h"
#include "io/tokenizer/tokenizer.h"
#include "io/utf8.h"

namespace halftone {
namespace {

struct Model {
  const char* golden;
  const char* file;
};

void PrintTo(const Model& model, std::ostream* out) { *out << model.golden; }

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::string read_text(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

class TokenizerModel : public testing::TestWithParam<Model> {
 protected:
  void SetUp() override {
    const std::filesystem::path path = std::filesystem::path("models") / GetParam().file;
    if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is missing; fetch it with `make models`";
    const auto start = std::chrono::steady_clock::now();
    const GgufFile file = GgufFile::open(path);
    tokenizer_ = std::make_unique<Tokenizer>(tokenizer_spec_from_gguf(file));
    load_seconds_ = seconds_since(start);
  }

  std::unique_ptr<Tokenizer> tokenizer_;
  double load_seconds_ = 0;
};

TEST_P(TokenizerModel, IdsEqualTheGoldens) {
  const Json golden = Json::parse(read_text(std::string("tests/goldens/tokenizer_") + GetParam().golden + ".json"));
  ASSERT_GE(golden.at("cases").size(), 200u);
  for (const Json& item : golden.at("cases")) {
    const auto text = item.at("text").get<std::string>();
    const EncodeOptions options{.add_special = item.at("add_special"), .parse_special = item.at("parse_special")};
    EXPECT_EQ(tokenizer_->encode(text, options), item.at("ids").get<std::vector<int32_t>>())
        << item.at("text").dump() << " parse_special=" << options.parse_special;
  }
}

// Random text over all planes, with runs of spaces and damaged bytes in between. Dropped bytes (those without a token)
// and U+2581 (which SPM reads as a space) are left out of the draw; everything else must come back bit for bit.
TEST_P(TokenizerModel, RandomTextRoundTrips) {
  const bool spm = tokenizer_->spec().kind == TokenizerKind::Spm;
  PhiloxStream random(2026);
  const auto can_encode = [&](const std::string& bytes) {
    return tokenizer_->decode(tokenizer_->encode(bytes, {.add_special = false})) == bytes;
  };
  size_t dropped = 0;
  for (int trial = 0; trial < 300; ++trial) {
    std::string text;
    for (uint32_t n = random() % 60; n > 0; --n) {
      std::string unit;
      const uint32_t kind = random() % 6;
      if (kind == 0) {
        unit.assign(1 + random() % 5, ' ');
      } else if (kind == 1) {
        unit.push_back(static_cast<char>(random()));
      } else {
        const uint32_t limit = kind == 2 ? 0x80 : kind == 3 ? 0x600 : kind == 4 ? 0x10000 : 0x110000;
        uint32_t code = random() % limit;
        if (code >= 0xD800 && code < 0xE000) code = 'a';
        utf8_append(code == 0x2581 && spm ? ' ' : code, unit);
      }
      if (can_encode(unit))
        text += unit;
      else
        ++dropped;
    }
    const std::vector<int32_t> ids = tokenizer_->encode(text, {.add_special = false});
    ASSERT_EQ(tokenizer_->decode(ids), text) << Json(text).dump(-1, ' ', true, Json::error_handler_t::replace);
    StreamingDecoder stream(*tokenizer_);
    std::string streamed;
    for (const int32_t id : ids) streamed += stream.push(id);
    streamed += stream.flush();
    ASSERT_TRUE(utf8_valid(streamed));
    if (utf8_valid(text)) {
      ASSERT_EQ(streamed, text);
    }
  }
  if (spm) {
    EXPECT_EQ(dropped, 0u);  // byte tokens cover everything
  }
}

TEST_P(TokenizerModel, SpecSurvivesJson) {
  const TokenizerSpec& spec = tokenizer_->spec();
  const TokenizerSpec again = tokenizer_spec_from_json(std::string_view(tokenizer_spec_to_json(spec).dump()));
  EXPECT_EQ(again.tokens, spec.tokens);
  EXPECT_EQ(again.merges, spec.merges);
  EXPECT_EQ(again.scores, spec.scores);
  EXPECT_EQ(again.types, spec.types);
  EXPECT_EQ(again.chat_template, spec.chat_template);
  EXPECT_EQ(Tokenizer(again).encode("The 3 quick foxes"), tokenizer_->encode("The 3 quick foxes"));
}

// Our own sources serve as text: prose, code and white space in one.
TEST_P(TokenizerModel, LoadsAndEncodesFast) {
  std::string text;
  for (const auto& entry : std::filesystem::recursive_directory_iterator("src"))
    if (entry.is_regular_file() && text.size() < (4u << 20)) text += read_text(entry.path());
  ASSERT_GT(text.size(), 100'000u);
  for (size_t at; (at = text.find("\xE2\x96\x81")) != std::string::npos;) text.replace(at, 3, "_");  // SPM's space
  double best = 1e9;
  std::vector<int32_t> ids;
  for (int run = 0; run < 3; ++run) {
    const auto start = std::chrono::steady_clock::now();
    ids = tokenizer_->encode(text);
    best = std::min(best, seconds_since(start));
  }
  EXPECT_EQ(tokenizer_->decode(ids), text);
  const auto start = std::chrono::steady_clock::now();
  const size_t long_word = tokenizer_->encode(std::string(1 << 20, 'a')).size();
  const double word_seconds = seconds_since(start);
  std::printf("%s: load %.3f s, encode %.1f MB/s (%zu bytes, %zu tokens), 1 MiB word %.3f s (%zu tokens)\n",
              GetParam().golden, load_seconds_, static_cast<double>(text.size()) / best / 1e6, text.size(), ids.size(),
              word_seconds, long_word);
  // Guards against quadratic behaviour and a linear vocabulary search, with a wide margin for a loaded machine.
  EXPECT_LT(load_seconds_, 30.0);
  EXPECT_LT(word_seconds, 30.0);
}

INSTANTIATE_TEST_SUITE_P(Real, TokenizerModel,
                         testing::Values(Model{"smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"},
                                         Model{"gemma3", "gemma-3-270m.Q4_K_M.gguf"}),
                         [](const auto& info) { return std::string(info.param.golden); });

}  // namespace
}  // namespace halftone
