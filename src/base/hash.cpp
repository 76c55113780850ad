// Fowler-Noll-Vo hashing in 8-byte strides; see hash.h.
#include "base/hash.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/mapped_file.h"

namespace halftone {
namespace {

constexpr uint64_t kPrime = 0x100000001b3u;

}  // namespace

uint64_t hash_bytes(std::string_view bytes, uint64_t seed) {
  uint64_t hash = seed ^ bytes.size();
  size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    uint64_t word;
    std::memcpy(&word, bytes.data() + i, 8);
    hash = (hash ^ word) * kPrime;
    hash ^= hash >> 29;  // FNV's low bits never see a word's high bits otherwise
  }
  for (; i < bytes.size(); ++i) hash = (hash ^ static_cast<unsigned char>(bytes[i])) * kPrime;
  return hash;
}

uint64_t hash_file(const std::filesystem::path& path) {
  if (!std::filesystem::is_directory(path)) {
    const MappedFile file(path);
    return hash_bytes({reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()});
  }
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(path))
    if (entry.is_regular_file()) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  uint64_t hash = hash_bytes({});
  for (const auto& file : files) {
    hash = hash_bytes(file.filename().string(), hash);
    const uint64_t content = hash_file(file);
    hash = hash_bytes({reinterpret_cast<const char*>(&content), sizeof content}, hash);
  }
  return hash;
}

}  // namespace halftone
