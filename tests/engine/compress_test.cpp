// The compress flow on a tiny model: every method, resuming, being killed, thread counts, bad requests.
#include "engine/compress/compress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/progress.h"
#include "engine/interrupted.h"
#include "engine/model.h"
#include "models/language/language_model.h"
#include "tiny_gguf.h"

namespace halftone::engine {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

class CompressTest : public ::testing::Test {
 protected:
  void SetUp() override {
    Progress::set_enabled(false);
    use_single_threaded_torch();  // as the program does; it also keeps fork() safe
    register_all_methods(catalogue_);
    folder_ = fs::temp_directory_path() / ("halftone-compress-" + std::to_string(::getpid()));
    fs::create_directories(folder_);
    halftone::testing::TinyGguf(7).write(folder_ / "tiny.gguf");
    std::string text;
    for (int i = 0; i < 400; ++i)
      text += "Sentence " + std::to_string(i * 37 % 101) + " talks about printing in dots. ";
    write_file(folder_ / "text.txt", text);
  }
  void TearDown() override { fs::remove_all(folder_); }

  CompressRequest request(const std::string& method, const std::string& output, OptionValues options = {}) const {
    CompressRequest r{.model = folder_ / "tiny.gguf", .output = folder_ / output, .method = method};
    r.method_options = std::move(options);
    r.calibration = folder_ / "text.txt";
    r.calibration_tokens = 256;
    r.window = 64;
    return r;
  }
  CompressReport run(const CompressRequest& r, int threads = 2) const {
    OwnedExecContext exec(threads);
    return compress(exec.get(), catalogue_, r);
  }
  std::string bytes_of_file(const std::string& name) const { return read_text(folder_ / name); }

  Catalogue catalogue_;
  fs::path folder_;
};

TEST_F(CompressTest, EveryMethodWritesAnArtifactThatLoadsAndIsSmaller) {
  for (const MethodInfo* method : catalogue_.methods()) {
    SCOPED_TRACE(method->name);
    const CompressReport report = run(request(method->name, method->name + ".halftone"));
    const auto model = models::load_language_model(folder_ / (method->name + ".halftone"));
    EXPECT_EQ(model.decoder.weight_bytes(), report.compressed_bytes);
    EXPECT_LT(report.compressed_bytes, report.original_bytes * 6 / 10);  // 16-bit weights beside f32 norms at most
    EXPECT_EQ(model.provenance.at("method"), method->name);
    EXPECT_FALSE(fs::exists(folder_ / (method->name + ".halftone.partial")));
  }
}

TEST_F(CompressTest, SavingAndLoadingKeepsEveryBit) {
  run(request("qoq", "a.halftone"));
  const auto model = models::load_language_model(folder_ / "a.halftone");
  models::save_artifact(model, model.provenance, folder_ / "b.halftone");
  EXPECT_EQ(bytes_of_file("a.halftone"), bytes_of_file("b.halftone"));
}

TEST_F(CompressTest, TheResultDoesNotDependOnTheNumberOfThreads) {
  run(request("qoq", "one.halftone"), 1);
  run(request("qoq", "three.halftone"), 3);
  EXPECT_EQ(bytes_of_file("one.halftone"), bytes_of_file("three.halftone"));
}

TEST_F(CompressTest, AnotherCalibrationTextGivesAnotherModel) {
  run(request("gptq", "a.halftone"));
  std::string text = bytes_of_file("text.txt");
  std::reverse(text.begin(), text.end());
  write_file(folder_ / "text.txt", text);
  run(request("gptq", "b.halftone"));
  EXPECT_NE(bytes_of_file("a.halftone"), bytes_of_file("b.halftone"));
}

// A child process is killed at moments spread over its whole run; whatever it leaves, the output is absent (there was
// no old one), and the next run completes it with the same bits.
TEST_F(CompressTest, KilledAtAnyMomentItLeavesNoOutputAndResumes) {
  run(request("qoq", "whole.halftone"));
  const std::string expected = bytes_of_file("whole.halftone");
  int64_t resumed = 0;
  int killed = 0;
  for (int attempt = 0; attempt < 12; ++attempt) {
    fs::remove(folder_ / "cut.halftone");
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      run(request("qoq", "cut.halftone"));
      ::_exit(0);
    }
    // Wait for a given number of finished blocks rather than for a time: machines differ.
    const fs::path block = folder_ / "cut.halftone.partial" / ("block-" + std::to_string(attempt % 3) + ".safetensors");
    int status = 0;
    while (::waitpid(child, &status, WNOHANG) == 0) {
      if (!fs::exists(block)) continue;
      std::this_thread::sleep_for(std::chrono::microseconds(300 * attempt));
      ::kill(child, SIGKILL);
      ::waitpid(child, &status, 0);
      break;
    }
    killed += WIFSIGNALED(status) ? 1 : 0;
    if (fs::exists(folder_ / "cut.halftone")) {
      EXPECT_EQ(bytes_of_file("cut.halftone"), expected);
    } else {
      resumed += run(request("qoq", "cut.halftone")).resumed_blocks;
      EXPECT_EQ(bytes_of_file("cut.halftone"), expected);
    }
  }
  EXPECT_GT(killed, 0);
  EXPECT_GT(resumed, 0);
}

TEST_F(CompressTest, InterruptedItKeepsItsBlocksAndSaysSo) {
  run(request("gptq", "whole.halftone"));
  CompressRequest r = request("gptq", "cut.halftone");
  int asked = 0;
  r.cancelled = [&] { return asked++ == 2; };
  try {
    run(r);
    FAIL() << "the run was not interrupted";
  } catch (const Interrupted& stop) {
    EXPECT_THAT(stop.what(), ::testing::AllOf(HasSubstr("2 of 3 blocks"), HasSubstr("cut.halftone.partial"),
                                              HasSubstr("same command again")));
  }
  EXPECT_FALSE(fs::exists(folder_ / "cut.halftone"));
  EXPECT_EQ(run(request("gptq", "cut.halftone")).resumed_blocks, 2);
  EXPECT_EQ(bytes_of_file("cut.halftone"), bytes_of_file("whole.halftone"));
}

TEST_F(CompressTest, AFailedRunKeepsTheOldFile) {
  write_file(folder_ / "old.halftone", "precious");
  CompressRequest r = request("gptq", "old.halftone");
  r.calibration = folder_ / "absent.txt";
  EXPECT_THROW(run(r), IoError);
  EXPECT_EQ(bytes_of_file("old.halftone"), "precious");
}

TEST_F(CompressTest, AChangedRequestDoesNotResume) {
  const fs::path partial = folder_ / "out.halftone.partial";
  fs::create_directories(partial);
  write_file(partial / "fingerprint", "something else");
  write_file(partial / "block-0.safetensors", "stale");
  EXPECT_EQ(run(request("rtn", "out.halftone")).resumed_blocks, 0);
}

TEST_F(CompressTest, GgufOutputHoldsTheSameValues) {
  const OptionValues q4 = {{"bits", "4"}, {"group_size", "32"}, {"symmetric", "true"}};
  run(request("rtn", "q4.gguf", q4));
  run(request("rtn", "q4.halftone", q4));
  const auto from_gguf = models::load_language_model(folder_ / "q4.gguf");
  const auto from_artifact = models::load_language_model(folder_ / "q4.halftone");
  for (size_t i = 0; i < from_gguf.decoder.blocks().size(); ++i) {
    const auto ours = from_artifact.decoder.blocks()[i].linears(), theirs = from_gguf.decoder.blocks()[i].linears();
    for (size_t j = 0; j < ours.size(); ++j)
      EXPECT_TRUE(dequantize(ours[j]->weight()).equal(dequantize(theirs[j]->weight()))) << ours[j]->site();
  }
}

TEST_F(CompressTest, BadRequestsNameValueAndRemedy) {
  const auto message = [&](const CompressRequest& r) {
    try {
      run(r);
    } catch (const Error& problem) {
      return std::string(problem.what());
    }
    return std::string("no error");
  };
  EXPECT_THAT(message(request("nonsense", "x.halftone")), HasSubstr("the methods are"));
  EXPECT_THAT(message(request("rtn", "no/such/folder/x.halftone")), HasSubstr("there is no folder"));
  EXPECT_THAT(message(request("rtn", "tiny.gguf")), HasSubstr("choose another name"));
  CompressRequest r = request("gptq", "x.halftone");
  r.calibration.clear();
  EXPECT_THAT(message(r), HasSubstr("--calibrate"));
  r = request("rtn", "x.halftone");
  r.sites = "layers.*";
  EXPECT_THAT(message(r), HasSubstr("no linear layer matches 'layers.*'"));
  EXPECT_THAT(message(request("qoq", "x.gguf")), HasSubstr("rotate=false"));
  EXPECT_FALSE(fs::exists(folder_ / "x.gguf"));
}

}  // namespace
}  // namespace halftone::engine
