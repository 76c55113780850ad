// GGUF files built field by field, so that any field may lie.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "hostile.h"

namespace halftone::test {

struct GgufKeyValue {
  std::string key;
  uint32_t type;
  std::string payload;
};

struct GgufTensorSpec {
  std::string name;
  std::vector<uint64_t> dims;
  uint32_t type;
  uint64_t offset;
  std::optional<uint32_t> rank = {};
};

struct GgufSpec {
  std::string magic = "GGUF";
  uint32_t version = 3;
  std::optional<uint64_t> tensor_count, entry_count;
  std::vector<GgufKeyValue> entries;
  std::vector<GgufTensorSpec> tensors;
  uint64_t alignment = 32;
  uint64_t data_bytes = 0;

  /// The file; `ends` receives the position after every field.
  std::string bytes(std::vector<size_t>* ends = nullptr) const;
};

// A number of type T, a string with its length, an array, as they lie in a file.
template <class T>
std::string packed(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}
std::string packed_string(const std::string& text);
std::string packed_array(uint32_t type, uint64_t count, const std::string& elements);

/// Every value type, three tensors of different types; it opens, and its last tensor ends with the file.
GgufSpec gguf_seed();

}  // namespace halftone::test
