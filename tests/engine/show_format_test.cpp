// What `halftone show format` says: every format is listed and described, and the numbers are those of the tables.
#include "engine/inspect/show_format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/json.h"

namespace halftone::engine {
namespace {

TEST(ShowFormat, EveryListedFormatIsDescribed) {
  const Json list = list_formats();
  EXPECT_GE(list.size(), 40u);
  const std::string text = format_list_text();
  for (const Json& entry : list) {
    const std::string name = entry["name"];
    const Json facts = describe_format(name);
    EXPECT_EQ(facts["name"], name);
    EXPECT_EQ(facts["summary"], entry["summary"]);
    EXPECT_EQ(facts.contains("values"), facts.contains("min") && facts["bits"] <= 8) << name;
    if (facts.contains("values")) {
      EXPECT_EQ(facts["values"].size(), 1u << facts["bits"].get<int>()) << name;
    }
    EXPECT_THAT(text, testing::HasSubstr(name));
    EXPECT_THAT(format_text(name), testing::HasSubstr(entry["summary"].get<std::string>()));
  }
}

TEST(ShowFormat, FactsOfKnownFormats) {
  const Json e5m2 = describe_format("e5m2");
  EXPECT_EQ(e5m2["exponent"], 5);
  EXPECT_EQ(e5m2["mantissa"], 2);
  EXPECT_EQ(e5m2["bias"], 15);
  EXPECT_EQ(e5m2["max"], 57344);
  EXPECT_EQ(e5m2["min_normal"], 0x1p-14);
  EXPECT_EQ(e5m2["min_subnormal"], 0x1p-16);
  EXPECT_EQ(e5m2["values"][0x7c], "inf");
  EXPECT_EQ(e5m2["values"][0xfc], "-inf");
  EXPECT_EQ(e5m2["values"][0xff], "nan");
  EXPECT_EQ(describe_format("complex")["values"][1], Json::array({0.0, 1.0}));
  EXPECT_EQ(describe_format("f16x2")["bits"], 32);
  EXPECT_EQ(describe_format("f16x2")["kind"], "pair of scales");
  EXPECT_EQ(describe_format("mxfp6_e3m2")["block_bytes"], 25);
  EXPECT_EQ(describe_format("nvfp4")["bits_per_element"], 4.5);
  EXPECT_FALSE(describe_format("bf16").contains("values"));
}

TEST(ShowFormat, AnUnknownNameIsAnErrorThatListsAll) {
  try {
    describe_format("e9m9");
    FAIL() << "no error";
  } catch (const InvalidArgument& error) {
    EXPECT_THAT(error.what(), testing::AllOf(testing::HasSubstr("e9m9"), testing::HasSubstr("e2m1"),
                                             testing::HasSubstr("u4_f16"), testing::HasSubstr("nvfp4")));
  }
}

}  // namespace
}  // namespace halftone::engine
