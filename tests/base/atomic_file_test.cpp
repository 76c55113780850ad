// Files appear whole or not at all.
#include "base/atomic_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "base/error.h"

namespace halftone {
namespace {

class AtomicFileTest : public testing::Test {
 protected:
  AtomicFileTest() {
    folder_ = std::filesystem::temp_directory_path() / ("halftone_atomic_" + std::to_string(::getpid()) + "_" +
                                                        testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directory(folder_);
  }
  ~AtomicFileTest() override { std::filesystem::remove_all(folder_); }

  size_t entries() const {
    return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(folder_), {}));
  }
  std::filesystem::path folder_;
};

TEST_F(AtomicFileTest, OldUntilCommitThenNew) {
  const auto path = folder_ / "a.txt";
  write_file(path, "old");
  {
    AtomicFile file(path);
    file.write("new ");
    const std::byte bytes[] = {std::byte{'x'}, std::byte{0}, std::byte{'y'}};
    file.write(bytes);
    EXPECT_EQ(read_text(path), "old");
    file.commit();
    EXPECT_EQ(read_text(path), std::string("new x\0y", 7));
  }
  EXPECT_EQ(read_text(path), std::string("new x\0y", 7));
  EXPECT_EQ(entries(), 1u) << "the temporary file is gone";
}

TEST_F(AtomicFileTest, AbandonedLeavesNothing) {
  const auto path = folder_ / "a.txt";
  write_file(path, "old");
  try {
    AtomicFile file(path);
    file.write("half");
    throw NumericError("something failed");
  } catch (const NumericError&) {
  }
  EXPECT_EQ(read_text(path), "old");
  EXPECT_EQ(entries(), 1u);
}

TEST_F(AtomicFileTest, TwoWritersOfOnePathDoNotMix) {
  const auto path = folder_ / "a.txt";
  AtomicFile first(path), second(path);
  first.write("first");
  second.write("second");
  first.commit();
  EXPECT_EQ(read_text(path), "first");
  second.commit();
  EXPECT_EQ(read_text(path), "second");
  EXPECT_EQ(entries(), 1u);
}

TEST_F(AtomicFileTest, EmptyWritesAddNothing) {
  const auto path = folder_ / "a.txt";
  AtomicFile file(path);
  file.write(std::span<const std::byte>());  // a null pointer: the sanitizers' builds see it if it reaches fwrite
  file.write("text");
  file.write(std::string_view());
  file.commit();
  EXPECT_EQ(read_text(path), "text");
  EXPECT_THROW(file.write(std::string_view()), IoError) << "empty or not, a committed file takes no more";
}

TEST_F(AtomicFileTest, UseAfterCommitIsAnError) {
  AtomicFile file(folder_ / "a.txt");
  file.commit();
  EXPECT_THROW(file.commit(), IoError);
  EXPECT_THROW(file.write("more"), IoError);
  EXPECT_EQ(read_text(folder_ / "a.txt"), "");
}

TEST_F(AtomicFileTest, ErrorsNameThePathAndTheReason) {
  const auto message = [](auto action) -> std::string {
    try {
      action();
    } catch (const IoError& error) {
      return error.what();
    }
    return "no error";
  };
  EXPECT_THAT(message([&] { AtomicFile file(folder_ / "no" / "a.txt"); }), testing::HasSubstr("No such file"));
  EXPECT_THAT(message([&] { read_text(folder_ / "missing"); }), testing::HasSubstr("missing: No such file"));
  EXPECT_THAT(message([&] { read_text(folder_); }), testing::HasSubstr("directory"));
  std::filesystem::create_directories(folder_ / "taken" / "inside");
  EXPECT_THAT(message([&] { write_file(folder_ / "taken", "x"); }), testing::HasSubstr("taken"));
  EXPECT_EQ(entries(), 1u) << "the temporary file of a failed rename is gone";
}

}  // namespace
}  // namespace halftone
