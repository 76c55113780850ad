// posix_spawn with two pipes and an unnamed file; see child_process.h.
#include "engine/bench/child_process.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "base/error.h"

extern char** environ;

namespace halftone::engine {
namespace {

constexpr size_t kShownErrorBytes = 600;
constexpr int kNotStarted = 127;

struct Pipe {
  int read_end = -1, write_end = -1;
};

Pipe make_pipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw IoError("no pipe to another program: {}", std::strerror(errno));
  return {ends[0], ends[1]};
}

void close_end(int& descriptor) {
  if (descriptor >= 0) close(descriptor);
  descriptor = -1;
}

/// The last lines that a program wrote to the file behind `descriptor`.
std::string end_of_file(int descriptor) {
  const off_t size = lseek(descriptor, 0, SEEK_END);
  const off_t begin = size > static_cast<off_t>(kShownErrorBytes) ? size - static_cast<off_t>(kShownErrorBytes) : 0;
  std::string text(static_cast<size_t>(size > 0 ? size - begin : 0), '\0');
  const ssize_t got = pread(descriptor, text.data(), text.size(), begin);
  text.resize(static_cast<size_t>(got > 0 ? got : 0));
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

}  // namespace

ChildProcess::ChildProcess(std::vector<std::string> command) : command_(std::move(command)) {
  std::vector<char*> arguments;
  for (auto& word : command_) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  errors_ = memfd_create("errors", MFD_CLOEXEC);
  if (errors_ < 0) throw IoError("no room for the messages of {}: {}", command_[0], std::strerror(errno));
  Pipe input = make_pipe(), output = make_pipe();
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, input.read_end, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, output.write_end, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, errors_, STDERR_FILENO);
  const int error = posix_spawn(&pid_, command_[0].c_str(), &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close_end(input.read_end);
  close_end(output.write_end);
  input_ = input.write_end;
  output_ = output.read_end;
  if (error == 0) return;
  pid_ = -1;
  close_end(input_);
  close_end(output_);
  close_end(errors_);
  throw IoError("{} cannot be started: {}", command_[0], std::strerror(error));
}

ChildProcess::~ChildProcess() {
  close_input();
  if (pid_ > 0) {
    kill(pid_, SIGTERM);
    wait();
  }
  close_end(output_);
  close_end(errors_);
}

void ChildProcess::close_input() { close_end(input_); }

int ChildProcess::wait() {
  int status = 0;
  while (pid_ > 0 && waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  return status;
}

std::string ChildProcess::failure(int status) const {
  std::string how = "ended before it answered";
  if (WIFSIGNALED(status))
    how = fmt::format("was ended by signal {} ({})", WTERMSIG(status), strsignal(WTERMSIG(status)));
  if (WIFEXITED(status) && WEXITSTATUS(status) != 0) how = fmt::format("ended with exit code {}", WEXITSTATUS(status));
  if (WIFEXITED(status) && WEXITSTATUS(status) == kNotStarted) how += " (it could not be started)";
  const std::string said = end_of_file(errors_);
  return fmt::format("{} {}{}{}", command_[0], how, said.empty() ? "" : ": ", said);
}

void ChildProcess::write_line(std::string_view line) {
  const std::string text = std::string(line) + "\n";
  // A program that is gone must give an error here, not end ours.
  const auto before = std::signal(SIGPIPE, SIG_IGN);
  size_t done = 0;
  bool open = true;
  while (open && done < text.size()) {
    const ssize_t wrote = ::write(input_, text.data() + done, text.size() - done);
    if (wrote > 0) done += static_cast<size_t>(wrote);
    open = wrote > 0 || errno == EINTR;
  }
  std::signal(SIGPIPE, before);
  if (!open) throw IoError("{}", failure(wait()));
}

bool ChildProcess::read_some() {
  char block[1 << 14];
  ssize_t got = 0;
  do {
    got = ::read(output_, block, sizeof block);
  } while (got < 0 && errno == EINTR);
  if (got > 0) buffer_.append(block, static_cast<size_t>(got));
  return got > 0;
}

std::string ChildProcess::read_line() {
  size_t end = 0;
  while ((end = buffer_.find('\n')) == std::string::npos)
    if (!read_some()) {
      close_input();
      throw IoError("{}", failure(wait()));
    }
  std::string line = buffer_.substr(0, end);
  buffer_.erase(0, end + 1);
  return line;
}

std::string ChildProcess::read_to_end() {
  close_input();
  while (read_some()) {
  }
  const int status = wait();
  if (status != 0) throw IoError("{}", failure(status));
  return std::move(buffer_);
}

}  // namespace halftone::engine
