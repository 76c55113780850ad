// The pieces that llama 3's and Qwen 2's pre-tokenisers cut text into, against those of the `tokenizers` package
// (tests/goldens/splits.json, written by make_split_goldens.py).
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/json.h"
#include "io/tokenizer/pretokenizer.h"

namespace halftone {
namespace {

class SplitGolden : public testing::TestWithParam<const char*> {};

TEST_P(SplitGolden, PiecesEqual) {
  std::ifstream in("tests/goldens/splits.json", std::ios::binary);
  ASSERT_TRUE(in) << "tests run in the repository's root";
  const Json cases = Json::parse(in).at("cases");
  ASSERT_GE(cases.size(), 200u);
  const PreTokenizerRow* row = find_pretokenizer(GetParam());
  ASSERT_NE(row, nullptr);
  const PreTokenizer pretokenizer({row->patterns.begin(), row->patterns.end()});
  for (const Json& item : cases) {
    const auto text = item.at("text").get<std::string>();
    std::vector<uint32_t> ends, expected;
    pretokenizer.split(text, ends);
    for (const Json& length : item.at(GetParam()))
      expected.push_back((expected.empty() ? 0 : expected.back()) + length.get<uint32_t>());
    EXPECT_EQ(ends, expected) << item.at("text").dump(-1, ' ', true);
  }
}

INSTANTIATE_TEST_SUITE_P(Rows, SplitGolden, testing::Values("llama3", "qwen2"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace halftone
