// Names of weight formats and the rule that assigns their storages.
#include "numerics/formats/weight_format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "numerics/formats/codebook.h"

namespace halftone {
namespace {

using testing::HasSubstr;

template <class Call>
std::string error_of(const Call& call) {
  try {
    call();
  } catch (const InvalidArgument& problem) {
    return problem.what();
  }
  return "accepted";
}

TEST(WeightFormat, NamesAndSpecs) {
  EXPECT_EQ(to_string(parse_weight_format("mxfp4")), "e2m1 group:32 e8m0 ocp-floor");
  EXPECT_EQ(to_string(parse_weight_format("mxfp4 truncation-free")), "e2m1 group:32 e8m0 truncation-free");
  EXPECT_EQ(to_string(parse_weight_format("nvfp4")), "e2m1 group:16 e4m3_f32 absmax");
  EXPECT_EQ(to_string(parse_weight_format("e2m1 group:32 e8m0")), "e2m1 group:32 e8m0 ocp-floor");
  EXPECT_EQ(to_string(parse_weight_format("ternary row f16")), "ternary row f16 absmean");
  EXPECT_EQ(to_string(parse_weight_format("complex tensor f32")), "complex tensor f32 absmean");
  EXPECT_EQ(to_string(parse_weight_format("complex tensor f32x2")), "complex tensor f32x2 absmean");
  EXPECT_EQ(to_string(parse_weight_format("complex group:32 f16x2 absmax")), "complex group:32 f16x2 absmax");
  EXPECT_EQ(to_string(parse_weight_format("nf4 group:64 f16")), "nf4 group:64 f16 absmax");
  EXPECT_EQ(to_string(parse_weight_format("e4m3 block:128x128 f32 ceil")), "e4m3 block:128x128 f32 ceil");
}

TEST(WeightFormat, ANameReadsBackAsTheSameFormat) {
  for (const char* text : {"mxfp8_e4m3", "mxfp8_e5m2", "mxfp6_e3m2", "mxfp6_e2m3", "mxfp4", "nvfp4"})
    EXPECT_EQ(weight_format_name(parse_weight_format(text)), text);
  for (const char* text : {"mxfp4 truncation-free", "e4m3 tensor f32", "uint5 channel bf16", "complex row f16"}) {
    const MatrixFormat format = parse_weight_format(text);
    EXPECT_EQ(to_string(parse_weight_format(weight_format_name(format))), to_string(format));
  }
}

TEST(WeightFormat, ErrorsSayWhatIsKnown) {
  const auto message = [](const char* text) { return error_of([&] { parse_weight_format(text); }); };
  for (const char* part : {"'mxfp5'", "mxfp8_e4m3", "mxfp4", "nvfp4", "ELEMENT GRANULARITY SCALE"})
    EXPECT_THAT(message("mxfp5"), HasSubstr(part));
  EXPECT_THAT(message(""), HasSubstr("nvfp4"));
  EXPECT_THAT(message("mxfp4 nonsense"), HasSubstr("ocp-floor"));
  EXPECT_THAT(message("e9m9 row f16"), HasSubstr("e4m3"));
  EXPECT_THAT(message("e4m3 rows f16"), HasSubstr("block:RxC"));
  EXPECT_THAT(message("e4m3 row f17"), HasSubstr("e4m3_f32"));
  EXPECT_THAT(message("e4m3 row"), HasSubstr("ELEMENT GRANULARITY SCALE"));
  EXPECT_THAT(message("e4m3 row f16 absmax more"), HasSubstr("ELEMENT GRANULARITY SCALE"));
  EXPECT_THAT(message("e4m3 token f16"), HasSubstr("activations"));
  EXPECT_THAT(message("e4m3 token-head:64 f16"), HasSubstr("activations"));
  EXPECT_THAT(message("e8m0 row f16"), HasSubstr("holds scales"));
}

TEST(WeightFormat, CodebooksOfOnesOwnNeedAStorageWithATable) {
  const Codebook vectors("pairs", {0, 0, 1, 1}, 2), impostor("nf4", {-1, 0, 1});
  for (const Codebook* codebook : {&vectors, &impostor}) {
    MatrixFormat format;
    format.element = codebook->format();
    EXPECT_THAT(error_of([&] { require_weight_format(format); }), HasSubstr("codebook of one's own"));
  }
}

TEST(WeightFormat, OnlyWhatASchemeExpressesHasOne) {
  const auto scheme = [](const char* text) {
    const auto found = scheme_of(parse_weight_format(text));
    return found ? to_string(*found) : std::string("none");
  };
  EXPECT_EQ(scheme("int4 group:64 f16"), "int4 group 64 symmetric");
  EXPECT_EQ(scheme("int4_full group:32 f16 truncation-free"), "int4 group 32 symmetric");
  EXPECT_EQ(scheme("uint4 group:128 f16"), "int4 group 128 asymmetric");
  EXPECT_EQ(scheme("int8 row f16"), "int8 row symmetric");
  EXPECT_EQ(scheme("uint8 row f16"), "int8 row asymmetric");
  EXPECT_EQ(scheme("int3 group:64 f16"), "int3 group 64 symmetric");
  EXPECT_EQ(scheme("ternary row f16"), "ternary row symmetric");
  EXPECT_EQ(scheme("ternary group:96 f16"), "ternary group 96 symmetric");
  for (const char* text : {"int4 group:64 f32", "int4 group:64 u4_f16", "int4 tensor f16", "int4 block:64x64 f16",
                           "int5 group:64 f16", "nf4 group:64 f16", "int2_midrise row f16", "ternary row f32",
                           "ternary tensor f16", "e2m1 group:32 f16", "int4 channel f16", "mxfp4"})
    EXPECT_EQ(scheme(text), "none") << text;
}

}  // namespace
}  // namespace halftone
