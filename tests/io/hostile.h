// Hostile input files for the readers, and the check that every one is answered: an Error that says why, or success
// where the change is harmless; never a crash, never memory out of proportion to the file.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "../fuzz/targets.h"
#include "base/atomic_file.h"

namespace halftone::test {

/// One input and what becomes of it: `error` is a part of the message wanted of those that do not open.
struct HostileCase {
  std::string name;
  std::string bytes;
  bool opens = false;
  std::string error = {};
};

/// Bytes asked of operator new on this thread since the object was made (frees are not subtracted).
class AllocationCount {
 public:
  AllocationCount();
  uint64_t bytes() const;

 private:
  uint64_t start_;
};

/// What a reader may allocate for a file, all requests summed. The largest ratio comes from a safetensors header of
/// empty metadata entries (`"k":"",`, 7 bytes each, a map node of 104 with its key); parsing JSON buffers tokens
/// besides.
inline uint64_t allocation_limit(size_t file_bytes) { return 32 * file_bytes + 64 * 1024; }

inline std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

/// Opens one case; what it says and allocates must be as wanted.
template <class File>
void check_case(const HostileCase& hostile) {
  SCOPED_TRACE(hostile.name);
  bool opened = false;
  std::string message;
  uint64_t allocated = 0;
  const std::vector<std::byte> exact(bytes_of(hostile.bytes).begin(), bytes_of(hostile.bytes).end());
  try {
    const AllocationCount count;
    try {
      const File file = File::parse(exact, "hostile.bin");
      opened = true;
    } catch (...) {
      allocated = count.bytes();
      throw;
    }
    allocated = count.bytes();
  } catch (const Error& error) {
    message = error.what();
  }
  EXPECT_LE(allocated, allocation_limit(hostile.bytes.size()));
  EXPECT_EQ(opened, hostile.opens) << message;
  if (opened) {
    EXPECT_EQ(fuzz::run<File>(exact), fuzz::Outcome::Opened);
  } else {
    EXPECT_NE(message.find("hostile.bin"), std::string::npos) << message;
    EXPECT_NE(message.find(hostile.error), std::string::npos) << message << "\nwanted '" << hostile.error << "' in it";
    EXPECT_TRUE(std::all_of(message.begin(), message.end(), [](char c) { return c >= 0x20 && c < 0x7f; })) << message;
    EXPECT_LT(message.size(), 1000u);
  }
}

/// Runs all cases, which must have names of their own. With HALFTONE_WRITE_CORPUS=DIR writes them there for a fuzzer.
template <class File>
void check_cases(const std::vector<HostileCase>& cases, const std::string& kind) {
  std::set<std::string> names;
  for (const HostileCase& hostile : cases) {
    EXPECT_TRUE(names.insert(hostile.name).second) << hostile.name << " appears twice";
    check_case<File>(hostile);
  }
  if (const char* directory = std::getenv("HALFTONE_WRITE_CORPUS")) {
    const auto folder = std::filesystem::path(directory) / kind;
    std::filesystem::create_directories(folder);
    for (size_t i = 0; i < cases.size(); ++i) write_file(folder / std::to_string(i), cases[i].bytes);
  }
}

/// Flips every bit of `whole` before `header_bytes`, one at a time: each file opens or gives an Error, within the
/// limit. Returns how many were refused.
template <class File>
int sweep_bit_flips(std::string whole, size_t header_bytes) {
  int refused = 0;
  for (size_t bit = 0; bit < header_bytes * 8; ++bit) {
    char& byte = whole[bit / 8];
    byte = static_cast<char>(byte ^ (1 << bit % 8));
    const AllocationCount count;
    try {
      const File file = File::parse(bytes_of(whole), "flipped.bin");
    } catch (const Error&) {
      ++refused;
    }
    EXPECT_LE(count.bytes(), allocation_limit(whole.size())) << "bit " << bit;
    fuzz::run<File>(bytes_of(whole));
    byte = static_cast<char>(byte ^ (1 << bit % 8));
  }
  return refused;
}

}  // namespace halftone::test
