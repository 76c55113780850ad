// The safetensors reader and writer on files that are right, and indices of sharded models right and wrong.
#include "io/safetensors/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

#include "base/atomic_file.h"
#include "base/error.h"
#include "hostile.h"

namespace halftone::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class SafetensorsTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::temp_directory_path() / (std::string("halftone_safetensors_") + info->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_ / "model");
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  void write_shard(const std::string& file, const std::vector<std::string>& names) {
    std::vector<TensorView> views;
    for (const std::string& name : names) views.push_back({name, SafetensorsType::U8, {4}, data_});
    write_safetensors(folder_ / file, views);
  }
  std::string index_error(const std::string& index) {
    write_file(folder_ / "model/model.safetensors.index.json", index);
    try {
      SafetensorsModel::open(folder_ / "model");
    } catch (const IoError& error) {
      return error.what();
    }
    ADD_FAILURE() << "opened with " << index;
    return "";
  }
  std::filesystem::path folder_;
  std::vector<std::byte> data_ = std::vector<std::byte>(4, std::byte{0x33});
};

/// The bytes that the original's Python package gives for these tensors.
TEST_F(SafetensorsTest, WritesTheBytesOfTheOriginal) {
  const float f32[] = {1.0f, -2.0f};
  const uint8_t u8[] = {1, 2, 3};
  const uint16_t f16[] = {0x3c00};
  const std::vector<TensorView> tensors = {{"b", SafetensorsType::U8, {3}, std::as_bytes(std::span(u8))},
                                           {"c", SafetensorsType::F16, {}, std::as_bytes(std::span(f16))},
                                           {"a\"x", SafetensorsType::F32, {1, 2}, std::as_bytes(std::span(f32))}};
  const std::string want_header =
      R"({"__metadata__":{"format":"pt"},"a\"x":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},)"
      R"("c":{"dtype":"F16","shape":[],"data_offsets":[8,10]},"b":{"dtype":"U8","shape":[3],"data_offsets":[10,13]}})";
  const std::string bytes = to_safetensors(tensors, {{"format", "pt"}});
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), 8);
  EXPECT_EQ(header_bytes, (want_header.size() + 7) / 8 * 8);
  const std::string padded = want_header + std::string(header_bytes - want_header.size(), ' ');
  const std::string data("\x00\x00\x80\x3f\x00\x00\x00\xc0\x00\x3c\x01\x02\x03", 13);
  EXPECT_EQ(bytes.substr(8), padded + data);
}

TEST_F(SafetensorsTest, ReadsBackWhatItWrites) {
  std::vector<std::byte> bytes(96);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i);
  const std::span<const std::byte> all = bytes;
  const std::vector<TensorView> tensors = {{"w", SafetensorsType::F32, {2, 3, 4}, all},
                                           {"empty", SafetensorsType::F64, {0, 5}, {}},
                                           {"scalar", SafetensorsType::I64, {}, all.first(8)},
                                           {"w4", SafetensorsType::F4, {3, 2}, all.first(3)},
                                           {"\xc3\xa9\n", SafetensorsType::F8E4M3, {2}, all.first(2)}};
  const SafetensorsMetadata metadata = {{"k", "v"}, {"quote", "\"{}\\"}, {"line", "a\nb"}};
  write_safetensors(folder_ / "x.safetensors", tensors, metadata);
  const SafetensorsFile file = SafetensorsFile::open(folder_ / "x.safetensors");
  EXPECT_EQ(file.metadata(), metadata);
  ASSERT_EQ(file.tensors().size(), tensors.size());
  for (const TensorView& want : tensors) {
    const TensorView& is = file.tensor(want.name);
    EXPECT_EQ(is.type, want.type);
    EXPECT_EQ(is.shape, want.shape);
    ASSERT_EQ(is.bytes.size(), want.bytes.size());
    EXPECT_TRUE(std::equal(is.bytes.begin(), is.bytes.end(), want.bytes.begin())) << want.name;
  }
  EXPECT_EQ(file.tensor("w").elements(), 24);
  EXPECT_EQ(file.tensor("empty").elements(), 0);
  EXPECT_EQ(file.tensor("scalar").elements(), 1);
  EXPECT_EQ(file.find("none"), nullptr);
  EXPECT_THROW(file.tensor("none"), IoError);
}

TEST_F(SafetensorsTest, TypeNamesAndSizes) {
  EXPECT_EQ(find_safetensors_type("F6_E3M2"), SafetensorsType::F6E3M2);
  EXPECT_EQ(find_safetensors_type("F16"), SafetensorsType::F16);
  EXPECT_EQ(find_safetensors_type("U64"), SafetensorsType::U64);
  EXPECT_EQ(find_safetensors_type("f16"), std::nullopt);
  EXPECT_EQ(bits_of(SafetensorsType::F4), 4);
  EXPECT_EQ(bits_of(SafetensorsType::F6E2M3), 6);
  EXPECT_EQ(bits_of(SafetensorsType::Bool), 8);
  EXPECT_EQ(bits_of(SafetensorsType::F8E5M2Fnuz), 8);
  EXPECT_EQ(bits_of(SafetensorsType::I16), 16);
  EXPECT_EQ(bits_of(SafetensorsType::C64), 64);
  for (int i = 0; i <= static_cast<int>(SafetensorsType::U64); ++i) {
    const auto type = static_cast<SafetensorsType>(i);
    EXPECT_EQ(find_safetensors_type(to_string(type)), type);
  }
}

TEST_F(SafetensorsTest, WriterRefusesWhatReadersWould) {
  const auto write = [&](const TensorView& view, const SafetensorsMetadata& metadata = {}) {
    return to_safetensors(std::span(&view, 1), metadata);
  };
  EXPECT_THROW(write({"__metadata__", SafetensorsType::U8, {4}, data_}), InvalidArgument);
  EXPECT_THROW(write({"a", SafetensorsType::U8, {5}, data_}), InvalidArgument);
  EXPECT_THROW(write({"a", SafetensorsType::U8, {-4}, data_}), InvalidArgument);
  EXPECT_THROW(write({"a", SafetensorsType::U8, {INT64_MAX, 4}, data_}), InvalidArgument);
  EXPECT_THROW(write({"a", SafetensorsType::F4, {7}, data_}), InvalidArgument);
  EXPECT_THROW(write({"a\xff", SafetensorsType::U8, {4}, data_}), InvalidArgument);
  EXPECT_THROW(write({"a", SafetensorsType::U8, {4}, data_}, {{"k", "\xff"}}), InvalidArgument);
  const std::vector<TensorView> twice(2, {"a", SafetensorsType::U8, {4}, data_});
  EXPECT_THROW(to_safetensors(twice), InvalidArgument);
  write_file(folder_ / "kept", "old");
  EXPECT_THROW(write_safetensors(folder_ / "kept", twice), InvalidArgument);
  EXPECT_EQ(read_text(folder_ / "kept"), "old");
}

TEST_F(SafetensorsTest, OpensShardedModels) {
  write_shard("model/one.safetensors", {"a", "b"});
  write_shard("model/two.safetensors", {"c", "unlisted"});
  write_file(
      folder_ / "model/model.safetensors.index.json",
      R"({"metadata":{"total_size":12},"weight_map":{"c":"two.safetensors","a":"one.safetensors","b":"one.safetensors"}})");
  for (const auto& path : {folder_ / "model", folder_ / "model/model.safetensors.index.json"}) {
    const SafetensorsModel model = SafetensorsModel::open(path);
    EXPECT_THAT(model.names(), ElementsAre("a", "b", "c"));
    EXPECT_EQ(model.files().size(), 2u);
    EXPECT_EQ(model.tensor("c").bytes[3], std::byte{0x33});
    EXPECT_EQ(model.find("unlisted"), nullptr);
    EXPECT_THROW(model.tensor("d"), IoError);
  }
}

TEST_F(SafetensorsTest, OpensSingleFilesAndDirectories) {
  write_shard("model/model.safetensors", {"a"});
  EXPECT_THAT(SafetensorsModel::open(folder_ / "model").names(), ElementsAre("a"));
  EXPECT_THAT(SafetensorsModel::open(folder_ / "model/model.safetensors").names(), ElementsAre("a"));
  EXPECT_THROW(SafetensorsModel::open(folder_), IoError);
  EXPECT_THROW(SafetensorsModel::open(folder_ / "nothing.safetensors"), IoError);
}

TEST_F(SafetensorsTest, ShardsStayInTheDirectory) {
  write_shard("outside.safetensors", {"a"});
  std::filesystem::create_directories(folder_ / "model/sub");
  write_shard("model/sub/inner.safetensors", {"a"});
  const std::string absolute = (folder_ / "outside.safetensors").string();
  for (const std::string& name :
       {std::string("../outside.safetensors"), absolute, std::string("sub/inner.safetensors"),
        std::string("..\\\\outside.safetensors"), std::string(".."), std::string("."), std::string(""),
        std::string(".hidden.safetensors"), std::string("a\\u0000.safetensors"), std::string("weights.bin")})
    EXPECT_THAT(index_error(R"({"weight_map":{"a":")" + name + "\"}}"), HasSubstr("plain name")) << name;
}

TEST_F(SafetensorsTest, IndexMustAgreeWithShards) {
  write_shard("model/one.safetensors", {"a"});
  EXPECT_THAT(index_error(R"({"weight_map":{"b":"one.safetensors"}})"), HasSubstr("does not hold it"));
  EXPECT_THAT(index_error(R"({"weight_map":{"a":"none.safetensors"}})"), HasSubstr("none.safetensors"));
  EXPECT_THAT(index_error(R"({"weight_map":{"a":1}})"), HasSubstr("is no string"));
  EXPECT_THAT(index_error(R"({"weight_map":["a"]})"), HasSubstr("weight_map"));
  EXPECT_THAT(index_error(R"({})"), HasSubstr("weight_map"));
  EXPECT_THAT(index_error(R"([])"), HasSubstr("weight_map"));
  EXPECT_THAT(index_error(R"({"weight_map":{"a":"one.safetensors","a":"one.safetensors"}})"), HasSubstr("repeats"));
  EXPECT_THAT(index_error(R"({"weight_map":)"), HasSubstr("not JSON"));
  EXPECT_THAT(index_error(std::string(100000, '[')), HasSubstr("nests deeper"));
}

}  // namespace
}  // namespace halftone::test
