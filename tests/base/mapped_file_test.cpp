// Memory-mapped files: contents, moves, and files that cannot be mapped.
#include "base/mapped_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

#include "base/atomic_file.h"
#include "base/error.h"

namespace halftone {
namespace {

std::string text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

class MappedFileTest : public testing::Test {
 protected:
  MappedFileTest()
      : path_(std::filesystem::temp_directory_path() /
              ("halftone_mapped_" + std::to_string(::getpid()) + "_" +
               testing::UnitTest::GetInstance()->current_test_info()->name())) {}
  ~MappedFileTest() override { std::filesystem::remove_all(path_); }
  std::filesystem::path path_;
};

TEST_F(MappedFileTest, ShowsTheWholeFile) {
  std::string text(100000, 'x');
  text[4096] = '\0';
  text.back() = 'y';
  write_file(path_, text);
  const MappedFile file(path_);
  EXPECT_EQ(text_of(file), text);
  EXPECT_EQ(file.path(), path_);
}

TEST_F(MappedFileTest, EmptyFile) {
  write_file(path_, "");
  EXPECT_TRUE(MappedFile(path_).bytes().empty());
}

TEST_F(MappedFileTest, MovesKeepTheBytesInPlace) {
  write_file(path_, "first");
  MappedFile first(path_);
  const auto* where = first.bytes().data();
  MappedFile moved(std::move(first));
  EXPECT_EQ(moved.bytes().data(), where);
  EXPECT_EQ(text_of(moved), "first");
  write_file(path_, "second");  // a new file under the same name: the mapping keeps the old one
  MappedFile other(path_);
  EXPECT_EQ(text_of(moved), "first");
  other = std::move(moved);
  EXPECT_EQ(other.bytes().data(), where);
}

TEST_F(MappedFileTest, ErrorsNameThePath) {
  const auto message = [&] {
    try {
      MappedFile file(path_);
    } catch (const IoError& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  EXPECT_THAT(message(), testing::AllOf(testing::HasSubstr(path_.string()), testing::HasSubstr("No such file")));
  std::filesystem::create_directory(path_);
  EXPECT_THAT(message(), testing::AllOf(testing::HasSubstr(path_.string()), testing::HasSubstr("not a regular file")));
}

}  // namespace
}  // namespace halftone
