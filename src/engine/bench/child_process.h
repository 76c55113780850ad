// Another program, run beside ours: its standard input and output are pipes, its standard error is kept for messages.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace halftone::engine {

class ChildProcess {
 public:
  /// Starts `command` (program, then arguments) with our environment and CPU affinity. Throws IoError when it cannot.
  explicit ChildProcess(std::vector<std::string> command);
  /// Closes its input, asks it to end, and waits for that.
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  /// Writes `line` and a newline. Throws IoError, with the end of its standard error, when it no longer reads.
  void write_line(std::string_view line);
  /// The next line without its newline. Throws IoError, with the end of its standard error, when there is none.
  std::string read_line();
  /// All that is left of its output; waits for its end. Throws IoError when it ends with anything but exit code 0.
  std::string read_to_end();

 private:
  bool read_some();
  void close_input();
  int wait();
  /// "llama-bench ended with exit code 1: ..."
  std::string failure(int status) const;

  std::vector<std::string> command_;
  int pid_ = -1, input_ = -1, output_ = -1, errors_ = -1;
  std::string buffer_;
};

}  // namespace halftone::engine
