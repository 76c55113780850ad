// Progress of long work: a bar on a terminal, a plain line now and then otherwise, always on standard error.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace halftone {

/// Reports steps of known count. Quiet when `enabled` is false (set from --quiet by the CLI).
class Progress {
 public:
  /// `brief` work ends without a word if it was done before anything was due to be shown.
  Progress(std::string title, int64_t total_steps, bool brief = false);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// Moves to `done` finished steps; `detail` is shown after the bar.
  void update(int64_t done, std::string_view detail = {});
  /// Ends the bar with a newline; called by the destructor if it was not.
  void finish();

  /// Process-wide switch for all bars.
  static void set_enabled(bool enabled);

 private:
  void draw(std::string_view detail);

  std::string title_;
  int64_t total_;
  int64_t done_ = 0;
  bool terminal_;
  bool brief_;
  bool drawn_ = false;
  bool finished_ = false;
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point last_draw_;
};

}  // namespace halftone
