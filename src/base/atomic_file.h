// Writing files so that a reader, or a crash, sees the old file or the new one and nothing between.
#pragma once

#include <cstdio>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace halftone {

/// Writes to a temporary file beside `path` and renames it onto `path` in commit().
/// Destroyed without commit() (an exception, say), it removes the temporary file and `path` is untouched.
class AtomicFile {
 public:
  /// Throws IoError when the directory does not exist or is not writable.
  explicit AtomicFile(const std::filesystem::path& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Appends; throws IoError when the disk is full.
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text);
  /// Flushes to disk and renames; throws IoError when either fails.
  void commit();

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  std::FILE* file_ = nullptr;
};

/// Replaces the file at `path` with `text`, whole or not at all.
void write_file(const std::filesystem::path& path, std::string_view text);

/// The whole file as text; throws IoError when it cannot be read. "-" reads standard input.
std::string read_text(const std::filesystem::path& path);

}  // namespace halftone
