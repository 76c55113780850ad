// Weight formats: exact sizes, names, JSON, and what validation refuses.
#include "numerics/quant_scheme.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/json.h"

namespace halftone {
namespace {

using testing::HasSubstr;

constexpr QuantScheme kTwoLevel64{ElementType::Int4, Granularity::TwoLevel, 64, true};
constexpr QuantScheme kQ4_1{ElementType::Int4, Granularity::Group, 32, false, true};
constexpr QuantScheme kQ4_K{ElementType::Int4, Granularity::SuperGroup, 32, false, true};
constexpr QuantScheme kQ6_K{ElementType::Int8, Granularity::SuperGroup, 16};

template <class Action>
std::string message_of(Action&& action) {
  try {
    action();
  } catch (const InvalidArgument& problem) {
    return problem.what();
  }
  ADD_FAILURE() << "no InvalidArgument";
  return "";
}

TEST(QuantSchemeTest, TwoLevelBitsPerWeight) {
  // QoQ: 4 bits, an 8-bit scale and an 8-bit zero point per 64 weights, one f16 scale a row.
  EXPECT_DOUBLE_EQ(kTwoLevel64.bits_per_weight(576, 576), 4 + 8.0 * 2 / 64 + 16.0 / 576);
  EXPECT_EQ(kTwoLevel64.bytes(576, 576), 576 * (288 + 9 + 9 + 2));
}

TEST(QuantSchemeTest, BytesOfEveryGranularity) {
  const auto bytes = [](ElementType e, Granularity g, int64_t group, bool zeros, int64_t k) {
    return QuantScheme{e, g, group, zeros}.bytes(3, k);
  };
  EXPECT_EQ(bytes(ElementType::Int8, Granularity::Row, 0, false, 100), 3 * (100 + 2));
  EXPECT_EQ(bytes(ElementType::Int8, Granularity::Row, 0, true, 100), 3 * (100 + 3));
  EXPECT_EQ(bytes(ElementType::Int4, Granularity::Group, 32, false, 576), 3 * (288 + 18 * 2));  // GGUF's Q4_0: 4.5 bits
  EXPECT_EQ(bytes(ElementType::Int4, Granularity::Group, 64, true, 100), 3 * (64 + 2 * 3));     // short last group
  EXPECT_EQ(bytes(ElementType::Int2, Granularity::Group, 64, true, 640), 3 * (160 + 10 * 3));
  EXPECT_DOUBLE_EQ(kQ4_1.bits_per_weight(3, 576), 5);               // as GGUF's blocks
  EXPECT_DOUBLE_EQ(kQ4_K.bits_per_weight(3, 512), 4.5 + 4.0 / 32);  // GGUF's scales have 6 bits, ours 8
  EXPECT_EQ(kQ4_K.bytes(3, 640), 3 * (320 + 2 * (3 * 2 + 20)));     // half a super-group at the end
  EXPECT_EQ(bytes(ElementType::Int3, Granularity::Group, 32, true, 100), 3 * (48 + 4 * 3));
  EXPECT_DOUBLE_EQ((QuantScheme{ElementType::Int2, Granularity::TwoLevel, 16, true}.bits_per_weight(8, 512)),
                   2 + 16.0 / 16 + 16.0 / 512);
  EXPECT_EQ(kQ6_K.bytes(3, 512), 3 * (512 + 2 * 2 + 32));
  EXPECT_EQ(bytes(ElementType::Ternary, Granularity::Group, 64, false, 576), 3 * (116 + 9 * 2));  // five codes a byte
}

TEST(QuantSchemeTest, CountsShortGroups) {
  EXPECT_EQ(kTwoLevel64.groups(576), 9);
  EXPECT_EQ(kTwoLevel64.groups(577), 10);
  EXPECT_EQ((QuantScheme{ElementType::Int8, Granularity::Row, 64, false}.groups(577)), 1);
}

TEST(QuantSchemeTest, FittingGroup) {
  EXPECT_EQ(fitting_group(576, 128), 64);
  EXPECT_EQ(fitting_group(1536, 128), 128);
  EXPECT_EQ(fitting_group(640, 256), 128);
  EXPECT_EQ(fitting_group(1024, 64), 64);
  EXPECT_EQ(fitting_group(96, 128), 32);
  EXPECT_EQ(fitting_group(100, 64), 64);  // nothing divides: a short last group
}

TEST(QuantSchemeTest, NamesAndJsonRoundTrip) {
  EXPECT_EQ(to_string(kTwoLevel64), "int4 two-level 64 asymmetric");
  EXPECT_EQ(to_string(QuantScheme{ElementType::Int8, Granularity::Row, 64, false}), "int8 row symmetric");
  EXPECT_EQ(to_string(kQ4_1), "int4 group 32 minimums");
  EXPECT_EQ(to_string(kQ4_K), "int4 super-group 32 minimums");
  for (const auto granularity :
       {Granularity::Row, Granularity::Group, Granularity::TwoLevel, Granularity::SuperGroup}) {
    EXPECT_EQ(parse_granularity(to_string(granularity)), granularity);
    const QuantScheme scheme{ElementType::Int4, granularity, 128, true};
    EXPECT_EQ(quant_scheme_from_json(to_json(scheme)), scheme);
  }
  EXPECT_EQ(quant_scheme_from_json(to_json(kQ4_K)), kQ4_K);
  Json older = to_json(kTwoLevel64);  // artifacts from before there were minimums
  older.erase("minimums");
  EXPECT_EQ(quant_scheme_from_json(older), kTwoLevel64);
}

TEST(QuantSchemeTest, RefusesDamagedJson) {
  Json json = to_json(kTwoLevel64);
  json.erase("zero_points");
  EXPECT_THAT(message_of([&] { quant_scheme_from_json(json); }), HasSubstr("'zero_points'"));
  json = to_json(kTwoLevel64);
  json["group"] = "many";
  EXPECT_THAT(message_of([&] { quant_scheme_from_json(json); }), HasSubstr("wrong type"));
  json = to_json(kTwoLevel64);
  json["granularity"] = "column";
  EXPECT_THAT(message_of([&] { quant_scheme_from_json(json); }), HasSubstr("'column'"));
  EXPECT_THROW(quant_scheme_from_json(Json::array()), InvalidArgument);
}

TEST(QuantSchemeTest, ValidationNamesTheField) {
  const auto refused = [](QuantScheme scheme, int64_t k) { return message_of([&] { scheme.validate(k); }); };
  EXPECT_THAT(refused({ElementType::Float16, Granularity::Row, 0, false}, 64), HasSubstr("f16"));
  EXPECT_THAT(refused({ElementType::Int4, Granularity::Group, 0, true}, 64), HasSubstr("group size 0"));
  EXPECT_THAT(refused({ElementType::Int4, Granularity::TwoLevel, 64, false}, 64), HasSubstr("without zero points"));
  EXPECT_THAT(refused({ElementType::Int8, Granularity::TwoLevel, 64, true}, 64), HasSubstr("int8"));
  EXPECT_THAT(refused(kTwoLevel64, 0), HasSubstr("at least 1"));
  EXPECT_THAT(refused({ElementType::Ternary, Granularity::Group, 64, true}, 64), HasSubstr("with zero points"));
  EXPECT_THAT(refused({ElementType::Ternary, Granularity::SuperGroup, 32}, 64), HasSubstr("super-group"));
  EXPECT_THAT(refused({ElementType::Int4, Granularity::Group, 32, true, true}, 64), HasSubstr("minimums"));
  EXPECT_THAT(refused({ElementType::Int4, Granularity::Row, 0, false, true}, 64), HasSubstr("row scales"));
  EXPECT_THAT(refused({ElementType::Int4, Granularity::SuperGroup, 64}, 64), HasSubstr("16 or 32"));
  EXPECT_THAT(refused({ElementType::Int4, Granularity::SuperGroup, 32, true}, 64), HasSubstr("with zero points"));
  EXPECT_NO_THROW(kQ6_K.validate(100));
  EXPECT_NO_THROW(kTwoLevel64.validate(1));
}

}  // namespace
}  // namespace halftone
