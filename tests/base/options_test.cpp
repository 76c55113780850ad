// Options: reading, describing, writing and, above all, refusing.
#include "base/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/json.h"

namespace halftone {
namespace {

using testing::HasSubstr;

void check_even(const std::string& text) {
  if (text.size() != 1 || (text[0] - '0') % 2 != 0) throw InvalidArgument("{} is odd", text);
}

struct Sample {
  int64_t group_size = 64;
  double damping = 0.01;
  bool symmetric = true;
  std::string rule = "absmax";
  std::string note;
  std::string even = "2";
  template <class Visitor>
  void visit(Visitor& v) {
    v("group_size", group_size, Range{32, 256}, "weights that share a scale");
    v("damping", damping, Range{1e-6, 1.0}, "added to the diagonal");
    v("symmetric", symmetric, "no zero points");
    v("rule", rule, Choices{"absmax", "mse"}, "how a scale is found");
    v("note", note, "kept in the artifact");
    v("even", even, Checked{"an even digit", check_even}, "half of it is used");
  }
};

std::string refusal(const OptionValues& values) {
  Sample options;
  try {
    read_options("method sample", values, options);
  } catch (const InvalidArgument& error) {
    return error.what();
  }
  ADD_FAILURE() << "accepted " << values.begin()->first << "=" << values.begin()->second;
  return {};
}

TEST(Options, ReadsEveryType) {
  Sample options;
  read_options(
      "method sample",
      {{"group_size", "128"}, {"damping", "2.5e-3"}, {"symmetric", "off"}, {"rule", "mse"}, {"note", "a=b, c"}},
      options);
  EXPECT_EQ(options.group_size, 128);
  EXPECT_EQ(options.damping, 2.5e-3);
  EXPECT_FALSE(options.symmetric);
  EXPECT_EQ(options.rule, "mse");
  EXPECT_EQ(options.note, "a=b, c");
  read_options("method sample", {{"even", "8"}}, options);
  EXPECT_EQ(options.even, "8");
  read_options("method sample", {}, options);
  EXPECT_EQ(options.group_size, 128) << "what is not named stays";
}

TEST(Options, BoundsAreInclusive) {
  Sample options;
  read_options("method sample", {{"group_size", "32"}, {"damping", "1"}}, options);
  EXPECT_EQ(options.group_size, 32);
  read_options("method sample", {{"group_size", "256"}, {"damping", "1e-6"}}, options);
  EXPECT_EQ(options.group_size, 256);
}

TEST(Options, RefusalsNameOwnerOptionValueAndRange) {
  for (const char* bad : {"31", "257", "64.5", "64x", " 64", "", "-64", "99999999999999999999", "0x40"}) {
    const std::string message = refusal({{"group_size", bad}});
    EXPECT_THAT(message, HasSubstr("method sample"));
    EXPECT_THAT(message, HasSubstr("group_size"));
    EXPECT_THAT(message, HasSubstr("'" + std::string(bad) + "'"));
    EXPECT_THAT(message, HasSubstr("32 .. 256"));
  }
  for (const char* bad : {"nan", "inf", "-0.5", "1.0001", "0", "1e-7", "half"})
    EXPECT_THAT(refusal({{"damping", bad}}), HasSubstr("damping"));
  EXPECT_THAT(refusal({{"symmetric", "maybe"}}), HasSubstr("true | false"));
  EXPECT_THAT(refusal({{"rule", "max"}}), HasSubstr("absmax | mse"));
  for (const char* part : {"method sample", "even = '3'", "3 is odd", "an even digit", "half of it"})
    EXPECT_THAT(refusal({{"even", "3"}}), HasSubstr(part));
}

TEST(Options, UnknownNameListsTheKnownOnes) {
  const std::string message = refusal({{"groupsize", "64"}});
  EXPECT_THAT(message, HasSubstr("'groupsize'"));
  EXPECT_THAT(message, HasSubstr("group_size, damping, symmetric, rule, note, even"));
}

TEST(Options, ARefusalLeavesTheOptionsAlone) {
  Sample options;
  EXPECT_THROW(read_options("method sample", {{"group_size", "128"}, {"rule", "none"}}, options), InvalidArgument);
  EXPECT_EQ(options.group_size, 64);
}

TEST(Options, DescribesInOrder) {
  const auto infos = describe_options<Sample>();
  ASSERT_EQ(infos.size(), 6u);
  EXPECT_EQ(infos[0].name, "group_size");
  EXPECT_EQ(infos[0].type, "int");
  EXPECT_EQ(infos[0].default_value, "64");
  EXPECT_EQ(infos[0].accepted, "32 .. 256");
  EXPECT_EQ(infos[1].type, "float");
  EXPECT_EQ(infos[1].default_value, "0.01");
  EXPECT_EQ(infos[2].accepted, "true | false");
  EXPECT_EQ(infos[3].accepted, "absmax | mse");
  EXPECT_EQ(infos[4].accepted, "any text");
  EXPECT_EQ(infos[4].help, "kept in the artifact");
  EXPECT_EQ(infos[5].accepted, "an even digit");
  EXPECT_EQ(infos[5].default_value, "2");
}

TEST(Options, WritesJson) {
  Sample options;
  options.rule = "mse";
  Json object = Json::object();
  write_options(options, object);
  EXPECT_EQ(object["group_size"], 64);
  EXPECT_EQ(object["damping"], 0.01);
  EXPECT_EQ(object["symmetric"], true);
  EXPECT_EQ(object["rule"], "mse");
  EXPECT_EQ(object["even"], "2");
  EXPECT_EQ(object.size(), 6u);
}

TEST(Options, ParseOption) {
  EXPECT_EQ(parse_option("a=b"), (std::pair<std::string, std::string>("a", "b")));
  EXPECT_EQ(parse_option("a=b=c").second, "b=c");
  EXPECT_EQ(parse_option("a=").second, "");
  EXPECT_THROW(parse_option("a"), InvalidArgument);
  EXPECT_THROW(parse_option("=b"), InvalidArgument);
  EXPECT_THROW(parse_option(""), InvalidArgument);
}

}  // namespace
}  // namespace halftone
