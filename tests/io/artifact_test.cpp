// Artifacts written, read and refused, and the recognition of model files.
#include "io/artifact.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/atomic_file.h"
#include "base/error.h"
#include "io/gguf/gguf_writer.h"

namespace halftone {
namespace {

using testing::HasSubstr;

class ArtifactTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto* info = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::temp_directory_path() / (std::string("halftone_artifact_") + info->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  /// A safetensors file with this metadata and no tensors.
  std::filesystem::path with_metadata(const SafetensorsMetadata& metadata) {
    write_safetensors(folder_ / "m", {}, metadata);
    return folder_ / "m";
  }
  std::string detect_error(const std::filesystem::path& path) {
    try {
      detect_model_file(path);
    } catch (const IoError& error) {
      return error.what();
    }
    ADD_FAILURE() << path << " was recognised";
    return "";
  }
  std::filesystem::path folder_;
};

TEST_F(ArtifactTest, KeepsDocumentAndTensors) {
  const Json document = Json::parse(R"({"z":1,"a":{"text":"\"quoted\" \u00e9","list":[1,2.5,null,true]}})");
  const std::vector<std::byte> bytes(12, std::byte{7});
  const std::vector<TensorView> tensors = {{"w", SafetensorsType::I32, {3}, bytes}};
  write_artifact(folder_ / "m.halftone", document, tensors);
  EXPECT_TRUE(is_artifact(folder_ / "m.halftone"));
  const Artifact artifact = open_artifact(folder_ / "m.halftone");
  EXPECT_EQ(artifact.document.dump(), document.dump());  // the order of members too
  EXPECT_EQ(artifact.file.tensor("w").bytes.size(), 12u);
  EXPECT_EQ(artifact.file.metadata().at("version"), "1");
  EXPECT_EQ(detect_model_file(folder_ / "m.halftone"), ModelFileKind::Artifact);
}

TEST_F(ArtifactTest, RefusesOtherFormatsVersionsAndDocuments) {
  const std::string name = "halftone";
  EXPECT_THROW(open_artifact(with_metadata({})), Unsupported);
  EXPECT_FALSE(is_artifact(folder_ / "m"));
  EXPECT_THROW(open_artifact(with_metadata({{"format", "pt"}})), Unsupported);
  EXPECT_THROW(open_artifact(with_metadata({{"format", name}, {name, "{}"}})), Unsupported);
  EXPECT_THROW(open_artifact(with_metadata({{"format", name}, {"version", "2"}, {name, "{}"}})), Unsupported);
  EXPECT_TRUE(is_artifact(folder_ / "m"));  // ours, of a later version
  for (const char* document : {"", "[]", "1", "{", R"({"a":1,"a":2})", "{} {}"})
    EXPECT_THROW(open_artifact(with_metadata({{"format", name}, {"version", "1"}, {name, document}})), IoError)
        << document;
  EXPECT_NO_THROW(open_artifact(with_metadata({{"format", name}, {"version", "1"}, {name, "{}"}})));
}

TEST_F(ArtifactTest, WriterRefusesBadDocuments) {
  EXPECT_THROW(write_artifact(folder_ / "m", Json::array(), {}), InvalidArgument);
  EXPECT_THROW(write_artifact(folder_ / "m", Json{{"a", "\xff"}}, {}), InvalidArgument);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "m"));
}

TEST_F(ArtifactTest, IsArtifactNeverThrows) {
  EXPECT_FALSE(is_artifact(folder_));
  EXPECT_FALSE(is_artifact(folder_ / "none"));
  write_file(folder_ / "m", "nonsense");
  EXPECT_FALSE(is_artifact(folder_ / "m"));
}

TEST_F(ArtifactTest, DetectsModels) {
  GgufWriter().write(folder_ / "named.bin");
  EXPECT_EQ(detect_model_file(folder_ / "named.bin"), ModelFileKind::Gguf);
  write_safetensors(folder_ / "model.safetensors", {});
  EXPECT_EQ(detect_model_file(folder_), ModelFileKind::SafetensorsDirectory);
  EXPECT_THAT(detect_error(folder_ / "model.safetensors"), HasSubstr("pass the directory"));
  std::filesystem::create_directories(folder_ / "sharded");
  write_file(folder_ / "sharded/model.safetensors.index.json", "{}");
  EXPECT_EQ(detect_model_file(folder_ / "sharded"), ModelFileKind::SafetensorsDirectory);
}

TEST_F(ArtifactTest, SaysWhatUnknownFilesAre) {
  const auto error_for = [&](const std::string& content) {
    write_file(folder_ / "m", content);
    return detect_error(folder_ / "m");
  };
  EXPECT_THAT(error_for("PK\x03\x04zip"), HasSubstr("PyTorch"));
  EXPECT_THAT(error_for("\x80\x02pickle"), HasSubstr("pickle"));
  EXPECT_THAT(error_for("version https://git-lfs.github.com/spec/v1"), HasSubstr("LFS"));
  EXPECT_THAT(error_for("<!DOCTYPE html>"), HasSubstr("web page"));
  EXPECT_THAT(error_for("{\"model_type\": \"llama\"}"), HasSubstr("JSON"));
  EXPECT_THAT(error_for("\x01\x02"), HasSubstr("starts with '\\x01\\x02'"));
  EXPECT_THAT(error_for(""), HasSubstr("no model file"));
  EXPECT_THAT(detect_error(folder_ / "none"), HasSubstr("does not exist"));
  EXPECT_THAT(detect_error(folder_), HasSubstr("holds neither"));
}

}  // namespace
}  // namespace halftone
