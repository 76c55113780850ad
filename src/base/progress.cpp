// Drawing of progress bars; see progress.h.
#include "base/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>

namespace halftone {
namespace {

std::atomic<bool> g_enabled{true};  // set once at start-up from --quiet, read by every bar

constexpr auto kTerminalInterval = std::chrono::milliseconds(100);
constexpr auto kPlainInterval = std::chrono::seconds(10);
constexpr size_t kBarWidth = 28;

/// A closed or full standard error must not end the work (nor throw from a destructor), so failures are ignored.
void write_error(const std::string& text) {
  std::fputs(text.c_str(), stderr);
  std::fflush(stderr);
}

}  // namespace

Progress::Progress(std::string title, int64_t total_steps, bool brief)
    : title_(std::move(title)),
      total_(total_steps),
      terminal_(::isatty(STDERR_FILENO) == 1),
      brief_(brief),
      start_(std::chrono::steady_clock::now()),
      last_draw_(start_) {}

Progress::~Progress() { finish(); }

void Progress::set_enabled(bool enabled) { g_enabled = enabled; }

void Progress::update(int64_t done, std::string_view detail) {
  if (finished_) return;
  done = std::clamp<int64_t>(done, 0, std::max<int64_t>(total_, 0));
  if (done == done_ && done == total_) return;  // the last line is out already
  done_ = done;
  const auto now = std::chrono::steady_clock::now();
  const bool due = terminal_ ? now - last_draw_ >= kTerminalInterval : now - last_draw_ >= kPlainInterval;
  if (!due && (done_ < total_ || (brief_ && !drawn_))) return;
  last_draw_ = now;
  draw(detail);
}

void Progress::draw(std::string_view detail) {
  if (!g_enabled || total_ <= 0) return;
  drawn_ = true;
  const double part = static_cast<double>(done_) / static_cast<double>(total_);
  const double elapsed_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  const double left_s = part > 0 ? elapsed_s * (1 - part) / part : 0;
  const std::string tail = fmt::format("{}/{} {:.0f}s{}", done_, total_, elapsed_s,
                                       done_ < total_ ? fmt::format(", {:.0f}s left", left_s) : "");
  if (terminal_) {
    const auto filled = static_cast<size_t>(part * kBarWidth);
    const std::string bar = std::string(filled, '#') + std::string(kBarWidth - filled, '.');
    write_error(fmt::format("\r\x1b[K{} [{}] {}{}{}", title_, bar, tail, detail.empty() ? "" : " ", detail));
  } else {
    write_error(fmt::format("{}: {}{}{}\n", title_, tail, detail.empty() ? "" : " ", detail));
  }
}

void Progress::finish() {
  if (finished_) return;
  finished_ = true;
  if (drawn_ && terminal_) write_error("\n");
}

}  // namespace halftone
