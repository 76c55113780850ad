// What a progress bar prints when standard error is no terminal: one line at the end of short work, nothing else.
#include "base/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstdio>
#include <string>

namespace halftone {
namespace {

/// What `action` writes to standard error while that is a file.
template <class Action>
std::string captured(Action action) {
  testing::internal::CaptureStderr();
  action();
  return testing::internal::GetCapturedStderr();
}

TEST(Progress, OneLineWhenDone) {
  const std::string text = captured([] {
    Progress progress("layers", 30);
    for (int64_t i = 1; i <= 30; ++i) progress.update(i);
  });
  EXPECT_THAT(text, testing::MatchesRegex("layers: 30/30 [0-9]+s\n"));
}

TEST(Progress, DetailFollows) {
  EXPECT_THAT(captured([] { Progress("layers", 2).update(2, "ppl 18.3"); }),
              testing::MatchesRegex("layers: 2/2 [0-9]+s ppl 18.3\n"));
}

TEST(Progress, EndingTwiceOrRunningOverPrintsNoMore) {
  const std::string text = captured([] {
    Progress progress("layers", 3);
    progress.update(-5);
    progress.update(3);
    progress.update(3);
    progress.update(4);
    progress.finish();
    progress.finish();
    progress.update(3);
  });
  EXPECT_THAT(text, testing::MatchesRegex("layers: 3/3 [0-9]+s\n"));
}

TEST(Progress, BriefWorkEndsWithoutAWord) {
  const auto steps = [](bool brief) {
    return captured([brief] {
      Progress progress("load", 2, brief);
      progress.update(1);
      progress.update(2);
    });
  };
  EXPECT_EQ(steps(true), "");
  EXPECT_NE(steps(false), "");
}

TEST(Progress, NothingWithoutStepsOrWhenDisabled) {
  EXPECT_EQ(captured([] { Progress("empty", 0).update(0); }), "");
  EXPECT_EQ(captured([] { Progress("abandoned", 5).update(1); }), "");
  Progress::set_enabled(false);
  EXPECT_EQ(captured([] { Progress("quiet", 1).update(1); }), "");
  Progress::set_enabled(true);
}

/// Standard error on a pseudo-terminal; what `action` wrote there.
template <class Action>
std::string on_terminal(Action action) {
  const int master = ::posix_openpt(2 /* O_RDWR */);
  if (master < 0 || ::grantpt(master) != 0 || ::unlockpt(master) != 0) return "no terminal";
  std::FILE* slave = std::fopen(::ptsname(master), "w");
  if (slave == nullptr) return "no terminal";
  const int saved = ::dup(STDERR_FILENO);
  ::dup2(::fileno(slave), STDERR_FILENO);
  action();
  std::fputs("|", stderr);
  std::fflush(stderr);
  ::dup2(saved, STDERR_FILENO);
  ::close(saved);
  std::string text;
  char byte = 0;
  while (::read(master, &byte, 1) == 1 && byte != '|') text += byte;
  std::fclose(slave);
  ::close(master);
  return text;
}

TEST(Progress, BarOnATerminalEndsItsLine) {
  const std::string text = on_terminal([] { Progress("steps", 4).update(4); });
  if (text == "no terminal") GTEST_SKIP() << "no pseudo-terminal here";
  EXPECT_THAT(text, testing::HasSubstr("steps [############################] 4/4"));
  EXPECT_TRUE(text.ends_with("\r\n")) << text;
  EXPECT_EQ(on_terminal([] { Progress("none", 4).update(1); }), "") << "a bar never drawn needs no newline";
}

}  // namespace
}  // namespace halftone
