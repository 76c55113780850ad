// Temporary file, fsync, rename; see atomic_file.h.
#include "base/atomic_file.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>

#include "base/error.h"

namespace halftone {

AtomicFile::AtomicFile(const std::filesystem::path& path) : path_(path) {
  temporary_ = path;
  temporary_ += ".tmp." + std::to_string(::getpid());
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
  if (std::fwrite(bytes.data(), 1, bytes.size(), file_) != bytes.size())
    throw IoError("cannot write {} bytes to {}: {}", bytes.size(), path_.string(), std::strerror(errno));
}

void AtomicFile::write(std::string_view text) { write(std::as_bytes(std::span(text))); }

void AtomicFile::commit() {
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
  std::ifstream file(path, std::ios::binary);
  if (!file || std::filesystem::is_directory(path))
    throw IoError("cannot read {}: {}", path.string(), std::strerror(errno));
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace halftone
