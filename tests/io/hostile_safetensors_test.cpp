// Hostile safetensors files, made one rule broken at a time, each with a name and words that its error must hold. Also
// harmless variations, which must open.
#include <cstring>

#include "base/json.h"
#include "hostile.h"
#include "io/strict_json.h"

namespace halftone::test {
namespace {

constexpr const char* kSeed =
    R"({"__metadata__":{"format":"pt","note":"x"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
    R"("b":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]},"c":{"dtype":"U8","shape":[],"data_offsets":[32,33]}})";
constexpr size_t kSeedData = 33;

std::string file_of(const std::string& header, size_t data_bytes, uint64_t header_bytes) {
  std::string out(8, '\0');
  std::memcpy(out.data(), &header_bytes, 8);
  return out + header + std::string(data_bytes, '\x22');
}

std::string file_of(const std::string& header, size_t data_bytes) { return file_of(header, data_bytes, header.size()); }

/// {"t": {...}} with the fields given.
std::string tensor(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return "{\"t\":{\"dtype\":" + dtype + ",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}}";
}

class Cases {
 public:
  void fails(const std::string& name, const std::string& error, const std::string& header, size_t data = 0) {
    cases_.push_back({name, file_of(header, data), false, error});
  }
  void opens(const std::string& name, const std::string& header, size_t data = 0) {
    cases_.push_back({name, file_of(header, data), true});
  }
  void raw(const std::string& name, const std::string& error, std::string bytes) {
    cases_.push_back({name, std::move(bytes), false, error});
  }
  std::vector<HostileCase> take() { return std::move(cases_); }

 private:
  std::vector<HostileCase> cases_;
};

void add_length_cases(Cases& cases) {
  const std::string seed = kSeed;
  cases.raw("empty_file", "header length", "");
  cases.raw("seven_bytes", "header length", "1234567");
  cases.raw("length_only", "starts with", std::string(8, '\0'));
  cases.raw("length_0_with_data", "starts with", file_of(seed, kSeedData, 0));
  for (const uint64_t length : {UINT64_MAX, uint64_t{1} << 63, uint64_t{1} << 32, uint64_t{100'000'001}})
    cases.raw("length_" + std::to_string(length), "header length", file_of(seed, kSeedData, length));
  cases.raw("length_past_end", "header", file_of(seed, kSeedData, seed.size() + kSeedData + 1));
  cases.raw("length_one_short", "not JSON", file_of(seed, kSeedData, seed.size() - 1));
  cases.raw("length_one_long", "not JSON", file_of(seed, kSeedData, seed.size() + 1));
  cases.raw("length_takes_all_data", "not JSON", file_of(seed, kSeedData, seed.size() + kSeedData));
  cases.raw("big_endian_length", "header length", std::string(7, '\0') + "\x02{}");
}

void add_json_cases(Cases& cases) {
  for (const char* text : {" {}", "[]", "null", "1", "\"a\"", "\xef\xbb\xbf{}", "\n{}"})
    cases.fails(std::string("starts_with_") + std::to_string(static_cast<unsigned char>(text[0])), "starts with", text);
  for (const char* text : {"{", "{\"a\"", "{\"a\":", "{,}", "{'a':1}", "{} x", "{}{}", "{}]", "{/* */}", "{\"a\":}",
                           "{\"\\x\":{}}", "{\"\\ud800\":{}}", "{\"\\u12\":{}}", "{\"a\n\":{}}", "{\"\xff\":{}}",
                           "{\"\xc0\x80\":{}}", "{\"a\":tru}", "{\"a\":{},}"})
    cases.fails(std::string("malformed ") + text, "", text);
  cases.fails("nul_padding", "NUL", std::string("{}\0\0", 4));
  cases.fails("text_after_nul", "NUL", std::string("{}\0{\"a\":1}", 10));
  cases.fails("nan_literal", "not JSON", tensor("NaN", "[]", "[0,1]"));
  cases.fails("deep_arrays", "array", "{\"a\":" + std::string(100000, '['));
  cases.fails("deep_objects", "unknown field", [] {
    std::string text;
    for (int i = 0; i < 100000; ++i) text += "{\"a\":";
    return text;
  }());
  cases.fails("long_token", "not JSON", "{\"a\":\"" + std::string(200000, '\x01'));
  cases.opens("no_tensors", "{}");
  cases.opens("space_padding", "{}      ");
  cases.opens("white_space_inside", "{ \"t\" :\t{ \"dtype\":\"U8\",\n\"shape\":[ 1 ] ,\"data_offsets\":[0, 1]}}", 1);
}

void add_repeat_cases(Cases& cases) {
  const std::string one = R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  const std::string two = R"("a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]})";
  cases.fails("tensor_twice", "repeats the tensor 'a'", "{" + one + "," + two + "}", 2);
  cases.fails("tensor_twice_escaped", "repeats the tensor 'a'",
              "{" + one + R"(,"\u0061":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", 2);
  cases.fails("dtype_twice", "twice", R"({"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1);
  cases.fails("shape_twice", "twice", R"({"a":{"dtype":"U8","shape":[1],"shape":[1],"data_offsets":[0,1]}})", 1);
  cases.fails("offsets_twice", "twice", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"data_offsets":[0,1]}})",
              1);
  cases.fails("metadata_twice", "repeats '__metadata__'", R"({"__metadata__":{},"__metadata__":{}})");
  cases.fails("metadata_key_twice", "repeats the key 'k'", R"({"__metadata__":{"k":"1","k":"2"}})");
  cases.fails("no_dtype", "lacks", R"({"a":{"shape":[1],"data_offsets":[0,1]}})", 1);
  cases.fails("no_shape", "lacks", R"({"a":{"dtype":"U8","data_offsets":[0,1]}})", 1);
  cases.fails("no_offsets", "lacks", R"({"a":{"dtype":"U8","shape":[1]}})", 1);
  cases.fails("no_fields", "lacks", R"({"a":{}})");
  cases.fails("unknown_field", "unknown field 'device'",
              R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"device":"cpu"}})", 1);
}

void add_type_cases(Cases& cases) {
  for (const char* dtype : {"\"F128\"", "\"f32\"", "\"\"", "\"F32 \"", "\"\\u0000\""})
    cases.fails(std::string("dtype_") + dtype, "dtype", tensor(dtype, "[]", "[0,4]"), 4);
  for (const char* dtype : {"1", "null", "true", "[]", "{}", "[\"F32\"]", "-1", "1.5"})
    cases.fails(std::string("dtype_is_") + dtype, "where it cannot be", tensor(dtype, "[]", "[0,4]"), 4);
  for (const char* value : {"1", "null", "\"text\"", "[]", "true", "0.5"})
    cases.fails(std::string("tensor_is_") + value, "where it cannot be", std::string("{\"t\":") + value + "}");
  for (const char* value : {"1", "null", "{}", "[]", "true", "-3"})
    cases.fails(std::string("metadata_value_is_") + value, "where it cannot be",
                std::string("{\"__metadata__\":{\"k\":") + value + "}}");
  for (const char* value : {"1", "null", "\"text\"", "[]"})
    cases.fails(std::string("metadata_is_") + value, "where it cannot be",
                std::string("{\"__metadata__\":") + value + "}");
  cases.fails("f4_half_byte", "whole bytes", tensor("\"F4\"", "[3]", "[0,2]"), 2);
  for (const char* count : {"1", "2", "3"})
    cases.fails(std::string("f6_elements_") + count, "whole bytes",
                tensor("\"F6_E2M3\"", std::string("[") + count + "]", "[0,3]"), 3);
  cases.opens("f4_pairs", tensor("\"F4\"", "[3,2]", "[0,3]"), 3);
  cases.opens("f6_fours", tensor("\"F6_E3M2\"", "[4]", "[0,3]"), 3);
  cases.opens("metadata_empty", R"({"__metadata__":{}})");
  cases.opens("metadata_many", [] {
    std::string text = R"({"__metadata__":{)";
    for (int i = 0; i < 5000; ++i) text += (i == 0 ? "\"" : ",\"") + std::to_string(i) + R"(":"")";
    return text + "}}";
  }());
}

void add_shape_cases(Cases& cases) {
  const auto shape = [&](const std::string& text, const std::string& error) {
    cases.fails("shape_" + text, error, tensor("\"U8\"", text, "[0,1]"), 1);
  };
  for (const char* text : {"[-1]", "[1.0]", "[1e0]", "[\"1\"]", "[[1]]", "[null]", "[{}]", "[true]", "{}", "null", "1",
                           "\"1\"", "[9223372036854775808]", "[18446744073709551616]", "[1e300]", "[-0]"})
    shape(text, "where it cannot be");
  shape("[4294967296,4294967296]", "2^63");
  shape("[9223372036854775807]", "2^63");
  shape("[4611686018427387904,4,0]", "2^63");
  shape("[8589934593,8589934591,1]", "2^63");
  shape("[2]", "take 2 bytes");
  shape("[0]", "take 0 bytes");
  shape("[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", "more than 16");
  cases.opens("shape_16_ones", tensor("\"U8\"", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", "[0,1]"), 1);
  cases.opens("shape_scalar", tensor("\"F64\"", "[]", "[0,8]"), 8);
  cases.opens("shape_empty_tensor", tensor("\"F32\"", "[0,1099511627776]", "[0,0]"));
}

void add_offset_cases(Cases& cases) {
  const auto offsets = [&](const std::string& text, const std::string& error) {
    cases.fails("offsets_" + text, error, tensor("\"U8\"", "[4]", text), 4);
  };
  for (const char* text : {"[]", "[4]", "[0,4,4]"}) offsets(text, "other than two");
  for (const char* text : {"[-1,3]", "[0.0,4]", "[\"0\",4]", "4", "null", "{}", "[0,[4]]", "[0,9223372036854775808]"})
    offsets(text, "where it cannot be");
  offsets("[1,5]", "wanted 0");
  offsets("[4,0]", "wanted 0");
  offsets("[0,3]", "take 4 bytes");
  offsets("[0,5]", "take 4 bytes");
  offsets("[0,9223372036854775807]", "take 4 bytes");
  offsets("[9223372036854775803,9223372036854775807]", "wanted 0");
  const std::string good = tensor("\"U8\"", "[4]", "[0,4]");
  cases.fails("data_missing", "cut short", good, 0);
  cases.fails("data_one_short", "cut short", good, 3);
  cases.fails("data_one_long", "the last tensor ends", good, 5);
  cases.fails("data_without_tensors", "the last tensor ends", "{}", 1);
  const auto pair = [](const std::string& a, const std::string& b) {
    return R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)" + a +
           R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + b + "}}";
  };
  cases.fails("same_range", "wanted 4", pair("[0,4]", "[0,4]"), 4);
  cases.fails("overlap_by_one", "wanted 4", pair("[0,4]", "[3,7]"), 7);
  cases.fails("hole_of_one", "wanted 4", pair("[0,4]", "[5,9]"), 9);
  cases.opens("later_tensor_first", pair("[4,8]", "[0,4]"), 8);
  cases.opens("empty_name", R"({"":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1);
}

void add_truncations(Cases& cases) {
  const std::string seed = kSeed, whole = file_of(seed, kSeedData);
  for (size_t length = 1; length < 8; ++length)
    cases.raw("cut_at_" + std::to_string(length), "header length", whole.substr(0, length));
  for (size_t i = 1; i < seed.size(); ++i) {
    if (std::string_view("{}[]\":,").find(seed[i]) == std::string_view::npos) continue;
    cases.raw("cut_in_header_at_" + std::to_string(i), "header", whole.substr(0, 8 + i));
    cases.raw("header_cut_at_" + std::to_string(i), "", file_of(seed.substr(0, i), kSeedData));
  }
  for (const size_t length : {size_t{0}, size_t{23}, size_t{24}, size_t{32}})
    cases.raw("cut_in_data_at_" + std::to_string(length), "cut short", file_of(seed, length));
}

std::vector<HostileCase> safetensors_cases() {
  Cases cases;
  add_length_cases(cases);
  add_json_cases(cases);
  add_repeat_cases(cases);
  add_type_cases(cases);
  add_shape_cases(cases);
  add_offset_cases(cases);
  add_truncations(cases);
  return cases.take();
}

TEST(HostileSafetensors, EveryCaseIsAnswered) {
  const std::vector<HostileCase> cases = safetensors_cases();
  const auto cut = [](const HostileCase& hostile) { return hostile.name.find("cut_") != std::string::npos; };
  EXPECT_GE(cases.size() - static_cast<size_t>(std::count_if(cases.begin(), cases.end(), cut)), 100u);
  check_cases<SafetensorsFile>(cases, "safetensors");
}

TEST(HostileSafetensors, SeedOpens) { check_case<SafetensorsFile>({"seed", file_of(kSeed, kSeedData), true}); }

TEST(HostileSafetensors, EveryBitOfTheHeaderFlipped) {
  const size_t header_bytes = 8 + std::string(kSeed).size();
  const int refused = sweep_bit_flips<SafetensorsFile>(file_of(kSeed, kSeedData), header_bytes);
  EXPECT_GT(refused, static_cast<int>(header_bytes) * 4);  // only letters of names and metadata are free
}

TEST(StrictJson, RefusesWhatReadersDisagreeOn) {
  EXPECT_EQ(parse_strict_json(R"({"b":1,"a":[{"a":2},{"a":3}]})", "doc").dump(), R"({"b":1,"a":[{"a":2},{"a":3}]})");
  EXPECT_THROW(parse_strict_json(R"({"a":1,"b":2,"a":3})", "doc"), IoError);
  EXPECT_THROW(parse_strict_json(R"({"a":1)", "doc"), IoError);
  EXPECT_THROW(parse_strict_json(R"({"a":1} 2)", "doc"), IoError);
  EXPECT_THROW(parse_strict_json("", "doc"), IoError);
  EXPECT_THROW(parse_strict_json(std::string_view("{}\0{", 4), "doc"), IoError);
  const auto nested = [](size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_NO_THROW(parse_strict_json(nested(kMaxJsonDepth), "doc"));
  EXPECT_THROW(parse_strict_json(nested(kMaxJsonDepth + 1), "doc"), IoError);
  EXPECT_THROW(parse_strict_json(nested(1000000), "doc"), IoError);
  EXPECT_THROW(check_strict_json(R"({"a":1,"b":2,"c":3})", "doc", 2), IoError);
}

}  // namespace
}  // namespace halftone::test
