// The GGUF reader and writer on files that are right: typed metadata, shapes, copies, split models.
#include "io/gguf/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

#include "base/error.h"
#include "base/philox.h"
#include "hostile_gguf.h"
#include "io/gguf/gguf_writer.h"

namespace halftone::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class GgufTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::temp_directory_path() / (std::string("halftone_gguf_") + info->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::filesystem::path folder_;
};

template <class E, class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const E& error) {
    return error.what();
  }
  ADD_FAILURE() << "no error was thrown";
  return "";
}

TEST_F(GgufTest, ReadsEveryValueType) {
  const std::string bytes = gguf_seed().bytes();
  const GgufFile file = GgufFile::parse(bytes_of(bytes), "seed");
  EXPECT_EQ(file.version(), 3u);
  EXPECT_EQ(file.metadata().size(), 18u);
  EXPECT_EQ(file.metadata()[0].key, "general.architecture");
  EXPECT_EQ(file.get_string("general.architecture"), "llama");
  EXPECT_EQ(file.get_u64("u8"), 200u);
  EXPECT_EQ(file.get_i64("i8"), -100);
  EXPECT_EQ(file.get_u64("u16"), 60000u);
  EXPECT_EQ(file.get_i64("i16"), -30000);
  EXPECT_EQ(file.get_i64("u32"), 4000000000);
  EXPECT_EQ(file.get_i64("i32"), -2000000000);
  EXPECT_EQ(file.get_u64("u64"), UINT64_MAX);
  EXPECT_EQ(file.get_i64("i64"), INT64_MIN);
  EXPECT_EQ(file.get_f32("f32"), 1.5f);
  EXPECT_EQ(file.get_f32("f64"), 0.1f);
  EXPECT_EQ(file.get_f32("i8"), -100.0f);
  EXPECT_TRUE(file.get_bool("bool"));
  EXPECT_THAT(file.get_strings("strings"), ElementsAre("a", "", "cd"));
  EXPECT_THAT(file.get_strings("general.architecture"), ElementsAre("llama"));
  EXPECT_THAT(file.get_strings("empty"), ElementsAre());
  EXPECT_THAT(file.get_i64s("ints"), ElementsAre(-1, 7));
  EXPECT_THAT(file.get_i64s("bools"), ElementsAre(0, 1));
  EXPECT_THAT(file.get_i64s("u8"), ElementsAre(200));
  EXPECT_THAT(file.get_f32s("floats"), ElementsAre(0.5f, -2.0f));
  EXPECT_THAT(file.get_f32s("ints"), ElementsAre(-1.0f, 7.0f));
}

TEST_F(GgufTest, DefaultsAndErrors) {
  const std::string bytes = gguf_seed().bytes();
  const GgufFile file = GgufFile::parse(bytes_of(bytes), "seed.gguf");
  EXPECT_FALSE(file.has("absent"));
  EXPECT_EQ(file.get_u64("absent", 7), 7u);
  EXPECT_EQ(file.get_i64("absent", -7), -7);
  EXPECT_EQ(file.get_f32("absent", 1e4f), 1e4f);
  EXPECT_TRUE(file.get_bool("absent", true));
  EXPECT_EQ(file.get_string("absent", "none"), "none");
  EXPECT_THAT(message_of<IoError>([&] { file.get_u64("absent"); }),
              testing::AllOf(HasSubstr("seed.gguf"), HasSubstr("'absent' is missing")));
  // A value that is there but wrong is an error with a default too.
  EXPECT_THAT(message_of<IoError>([&] { file.get_u64("i8", 1); }), HasSubstr("holds -100, wanted a value in 0.."));
  EXPECT_THAT(message_of<IoError>([&] { file.get_i64("u64", 1); }), HasSubstr("18446744073709551615"));
  EXPECT_THAT(message_of<IoError>([&] { file.get_u64("f32"); }), HasSubstr("is f32, wanted an integer"));
  EXPECT_THAT(message_of<IoError>([&] { file.get_u64("bool"); }), HasSubstr("is bool"));
  EXPECT_THAT(message_of<IoError>([&] { file.get_f32("strings"); }), HasSubstr("is array of 3 string"));
  EXPECT_THROW(file.get_f32("general.architecture"), IoError);
  EXPECT_THROW(file.get_bool("u8"), IoError);
  EXPECT_THROW(file.get_string("u8"), IoError);
  EXPECT_THROW(file.get_strings("ints"), IoError);
  EXPECT_THROW(file.get_i64s("floats"), IoError);
  EXPECT_THROW(file.get_i64s("nested"), IoError);
  EXPECT_THROW(file.get_f32s("strings"), IoError);
  EXPECT_THROW(file.get_strings("absent"), IoError);
}

TEST_F(GgufTest, TensorsKeepTheOrderOfTheFile) {
  const std::string bytes = gguf_seed().bytes();
  const GgufFile file = GgufFile::parse(bytes_of(bytes), "seed");
  ASSERT_EQ(file.tensors().size(), 3u);
  const GgufTensor& b = file.tensor("b.weight");
  EXPECT_EQ(&b, &file.tensors()[1]);
  EXPECT_EQ(b.type, GgufType::Q4_0);
  EXPECT_EQ(b.rank, 2);
  EXPECT_EQ(b.columns(), 64);
  EXPECT_EQ(b.rows(), 3);
  EXPECT_EQ(b.bytes.size(), 3u * 2 * 18);
  EXPECT_EQ(static_cast<const void*>(b.bytes.data()), bytes.data() + bytes.size() - 256 + 64);
  EXPECT_EQ(file.find("d.weight"), nullptr);
  EXPECT_THAT(message_of<IoError>([&] { file.tensor("d.weight"); }), HasSubstr("'d.weight' is missing"));
}

TEST_F(GgufTest, WritesAndReadsBack) {
  PhiloxStream random(3);
  std::vector<float> weights(96 * 5), halves(7);
  for (float& value : weights) value = random.uniform() - 0.5f;
  for (float& value : halves) value = random.uniform() - 0.5f;
  const auto half_bytes = std::as_bytes(std::span(halves));
  const std::vector<std::string_view> words = {"hello", "", "w\xc3\xb6rld"};
  const std::vector<int32_t> numbers = {-5, 0, 9};
  const std::vector<float> scores = {-1.5f, 2.0f};
  GgufWriter writer;
  writer.set_string("general.architecture", "llama");
  writer.set_u32("u32", 1);
  writer.set_u32("u32", 2);  // replaces
  writer.set_i32("i32", -3);
  writer.set_u64("u64", uint64_t{1} << 40);
  writer.set_f32("f32", 0.25f);
  writer.set_bool("bool", true);
  writer.set_strings("words", words);
  writer.set_i32s("numbers", numbers);
  writer.set_f32s("scores", scores);
  writer.set_f32("gone", 1.0f);
  writer.remove("gone");
  writer.add_tensor("norm.weight", std::array<int64_t, 1>{7}, GgufType::F32, half_bytes);
  writer.add_tensor("ffn.weight", std::array<int64_t, 2>{96, 5}, GgufType::Q8_0, [&](std::span<std::byte> out) {
    ASSERT_EQ(out.size(), 5u * 3 * 34);
    encode_blocks(GgufType::Q8_0, weights.data(), 96 * 5, out.data());
  });
  const auto path = folder_ / "model.gguf";
  writer.write(path);
  EXPECT_EQ(read_text(path), writer.to_bytes());

  const GgufFile file = GgufFile::open(path);
  EXPECT_EQ(file.metadata().size(), 9u);
  EXPECT_EQ(file.get_u64("u32"), 2u);
  EXPECT_EQ(file.get_i64("i32"), -3);
  EXPECT_EQ(file.get_u64("u64"), uint64_t{1} << 40);
  EXPECT_EQ(file.get_f32("f32"), 0.25f);
  EXPECT_TRUE(file.get_bool("bool"));
  EXPECT_EQ(file.get_strings("words"), words);
  EXPECT_THAT(file.get_i64s("numbers"), ElementsAre(-5, 0, 9));
  EXPECT_EQ(file.get_f32s("scores"), scores);
  EXPECT_EQ(file.tensors()[0].name, "norm.weight");
  EXPECT_EQ(std::memcmp(file.tensors()[0].bytes.data(), halves.data(), 28), 0);
  const GgufTensor& tensor = file.tensor("ffn.weight");
  std::vector<float> decoded(480, -9.0f);
  decode_tensor(tensor, decoded.data());
  // Half a step of 0.5 / 127, and the rounding of the step to binary16.
  for (size_t i = 0; i < weights.size(); ++i) EXPECT_NEAR(decoded[i], weights[i], 0.25 / 127 + 0x1p-12);
}

TEST_F(GgufTest, CopiesMetadataByteForByte) {
  GgufSpec spec = gguf_seed();
  spec.entries.push_back({"general.alignment", 4, packed<uint32_t>(32)});
  spec.entries.push_back({"split.count", 4, packed<uint32_t>(1)});
  const std::string bytes = spec.bytes();
  const GgufFile source = GgufFile::parse(bytes_of(bytes), "source");
  GgufWriter writer;
  writer.copy_metadata(source);
  writer.set_u32("u32", 5);
  const std::string copied = writer.to_bytes();
  const GgufFile copy = GgufFile::parse(bytes_of(copied), "copy");
  ASSERT_EQ(copy.metadata().size(), 18u);  // without general.alignment and split.count
  for (size_t i = 0; i < 18; ++i) {
    const GgufEntry &was = source.metadata()[i], &is = copy.metadata()[i];
    EXPECT_EQ(is.key, was.key);
    EXPECT_EQ(is.type, was.type);
    if (is.key == "u32")
      EXPECT_EQ(copy.get_u64("u32"), 5u);
    else
      EXPECT_TRUE(std::equal(is.payload.begin(), is.payload.end(), was.payload.begin(), was.payload.end())) << is.key;
  }
}

TEST_F(GgufTest, WriterRefusesWhatReadersWould) {
  GgufWriter writer;
  const std::vector<std::byte> bytes(64);
  using Dims = std::vector<int64_t>;
  const auto add = [&](const std::string& name, const Dims& dims, GgufType type) {
    writer.add_tensor(name, dims, type, bytes);
  };
  EXPECT_THROW(writer.set_u32("", 1), InvalidArgument);
  EXPECT_THROW(writer.set_u32("a\n", 1), InvalidArgument);
  EXPECT_THROW(add("", {16}, GgufType::F32), InvalidArgument);
  EXPECT_THROW(add(std::string(64, 'n'), {16}, GgufType::F32), InvalidArgument);
  EXPECT_THROW(add("a", {}, GgufType::F32), InvalidArgument);
  EXPECT_THROW(add("a", {16, 1, 1, 1, 1}, GgufType::F32), InvalidArgument);
  EXPECT_THROW(add("a", {0}, GgufType::F32), InvalidArgument);
  EXPECT_THROW(add("a", {INT64_MAX, 2}, GgufType::F32), InvalidArgument);
  EXPECT_THROW(add("a", {33}, GgufType::Q4_0), InvalidArgument);
  EXPECT_THROW(add("a", {17}, GgufType::F32), InvalidArgument);
  EXPECT_THROW(writer.add_tensor("a", Dims{16}, GgufType::F32, GgufWriter::Producer{}), InvalidArgument);
  add("a", {16}, GgufType::F32);
  EXPECT_THROW(add("a", {16}, GgufType::F32), InvalidArgument);
  EXPECT_EQ(GgufFile::parse(bytes_of(writer.to_bytes()), "x").tensors().size(), 1u);  // refused ones left nothing
}

TEST_F(GgufTest, AnErrorWhileWritingKeepsTheOldFile) {
  const auto path = folder_ / "model.gguf";
  write_file(path, "old");
  GgufWriter writer;
  writer.add_tensor("a", std::vector<int64_t>{4}, GgufType::F32,
                    [](std::span<std::byte>) { throw NumericError("this tensor cannot be made"); });
  EXPECT_THROW(writer.write(path), NumericError);
  EXPECT_EQ(read_text(path), "old");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 1);
}

TEST_F(GgufTest, OpenNamesThePath) {
  EXPECT_THAT(message_of<IoError>([&] { GgufFile::open(folder_ / "none.gguf"); }), HasSubstr("none.gguf"));
  write_file(folder_ / "empty.gguf", "");
  EXPECT_THAT(message_of<IoError>([&] { GgufFile::open(folder_ / "empty.gguf"); }), HasSubstr("empty.gguf: magic"));
  EXPECT_THROW(GgufFile::open(folder_), IoError);
}

std::string split_part(uint16_t number, uint16_t count, uint16_t total, const std::string& tensor) {
  GgufSpec spec;
  spec.entries = {{"split.no", 2, packed(number)},
                  {"split.count", 2, packed(count)},
                  {"split.tensors.count", 5, packed<int32_t>(total)}};
  if (number == 0) spec.entries.push_back({"general.architecture", 8, packed_string("llama")});
  spec.tensors = {{tensor, {8}, 0, 0}};
  spec.data_bytes = 32;
  return spec.bytes();
}

TEST_F(GgufTest, OpensSplitModelsFromAnyPart) {
  write_file(folder_ / "m-00001-of-00002.gguf", split_part(0, 2, 2, "a"));
  write_file(folder_ / "m-00002-of-00002.gguf", split_part(1, 2, 2, "b"));
  for (const char* part : {"m-00001-of-00002.gguf", "m-00002-of-00002.gguf"}) {
    const GgufFile file = GgufFile::open(folder_ / part);
    EXPECT_EQ(file.tensors().size(), 2u);
    EXPECT_EQ(file.tensor("a").bytes.size(), 32u);
    EXPECT_EQ(file.tensor("b").bytes[31], std::byte{0x11});
    EXPECT_EQ(file.get_string("general.architecture"), "llama");
  }
}

TEST_F(GgufTest, SplitModelsMustFit) {
  const auto first = folder_ / "m-00001-of-00002.gguf", second = folder_ / "m-00002-of-00002.gguf";
  const auto error = [&] { return message_of<IoError>([&] { GgufFile::open(first); }); };
  write_file(first, split_part(0, 2, 2, "a"));
  EXPECT_THAT(error(), HasSubstr("m-00002-of-00002.gguf"));  // missing
  write_file(second, split_part(0, 2, 2, "b"));
  EXPECT_THAT(error(), HasSubstr("split.no 0"));
  write_file(second, split_part(1, 3, 2, "b"));
  EXPECT_THAT(error(), HasSubstr("split.count 3"));
  write_file(second, split_part(1, 2, 2, "a"));
  EXPECT_THAT(error(), HasSubstr("'a' appears twice"));
  write_file(second, split_part(1, 2, 2, "b"));
  write_file(first, split_part(0, 2, 3, "a"));
  EXPECT_THAT(error(), HasSubstr("split.tensors.count is 3"));
  write_file(folder_ / "renamed.gguf", split_part(0, 2, 2, "a"));
  EXPECT_THAT(message_of<IoError>([&] { GgufFile::open(folder_ / "renamed.gguf"); }),
              HasSubstr("-00001-of-00002.gguf"));
}

}  // namespace
}  // namespace halftone::test
