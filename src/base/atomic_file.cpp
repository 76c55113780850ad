// Temporary file, fsync, rename; see atomic_file.h.
#include "base/atomic_file.h"

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>

#include "base/error.h"

namespace halftone {

AtomicFile::AtomicFile(const std::filesystem::path& path) : path_(path) {
  static std::atomic<unsigned> count{0};  // two files of one process may be headed for the same path
  temporary_ = path;
  temporary_ += ".tmp." + std::to_string(::getpid()) + "." + std::to_string(count++);
  file_ = std::fopen(temporary_.c_str(), "wbe");
  if (file_ == nullptr) throw IoError("cannot write {}: {}", path_.string(), std::strerror(errno));
}

AtomicFile::~AtomicFile() {
  if (file_ == nullptr) return;
  std::fclose(file_);
  std::error_code ignored;
  std::filesystem::remove(temporary_, ignored);
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  if (file_ == nullptr) throw IoError("{} was committed before; open another AtomicFile", path_.string());
  if (bytes.empty()) return;  // an empty span may hold a null pointer, which fwrite must not see
  if (std::fwrite(bytes.data(), 1, bytes.size(), file_) != bytes.size())
    throw IoError("cannot write {} bytes to {}: {}", bytes.size(), path_.string(), std::strerror(errno));
}

void AtomicFile::write(std::string_view text) { write(std::as_bytes(std::span(text))); }

void AtomicFile::commit() {
  if (file_ == nullptr) throw IoError("{} was committed before; open another AtomicFile", path_.string());
  const bool flushed = std::fflush(file_) == 0 && ::fsync(::fileno(file_)) == 0;
  const int reason = errno;
  if (!flushed) throw IoError("cannot flush {}: {}", path_.string(), std::strerror(reason));
  std::fclose(file_);
  file_ = nullptr;
  std::error_code failure;
  std::filesystem::rename(temporary_, path_, failure);
  if (failure) {
    std::error_code ignored;
    std::filesystem::remove(temporary_, ignored);
    throw IoError("cannot rename {} to {}: {}", temporary_.string(), path_.string(), failure.message());
  }
}

void write_file(const std::filesystem::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

std::string read_text(const std::filesystem::path& path) {
  if (path == "-") return {std::istreambuf_iterator<char>(std::cin), {}};
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored))
    throw IoError("cannot read {}: it is a directory, a file is wanted", path.string());
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) throw IoError("cannot read {}: {}", path.string(), std::strerror(errno));
  std::string text{std::istreambuf_iterator<char>(file), {}};
  if (file.bad()) throw IoError("cannot read {} to its end: {}", path.string(), std::strerror(errno));
  return text;
}

}  // namespace halftone
