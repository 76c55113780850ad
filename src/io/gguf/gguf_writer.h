// Writer of GGUF version 3 files, little-endian, alignment 32. The metadata of an existing file can be copied as it is
// and overridden, so that other programs load what we write.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/gguf/gguf.h"

namespace halftone {

/// Collects metadata and tensors, then writes them in the order of addition. Setting a key again replaces its value.
class GgufWriter {
 public:
  /// Fills exactly the bytes of one tensor.
  using Producer = std::function<void(std::span<std::byte> out)>;

  // All setters throw InvalidArgument for a key that is empty, longer than 65535 bytes or has control characters.
  void set_u32(std::string_view key, uint32_t value);
  void set_i32(std::string_view key, int32_t value);
  void set_u64(std::string_view key, uint64_t value);
  void set_f32(std::string_view key, float value);
  void set_bool(std::string_view key, bool value);
  void set_string(std::string_view key, std::string_view value);
  void set_strings(std::string_view key, std::span<const std::string_view> values);
  void set_i32s(std::string_view key, std::span<const int32_t> values);
  void set_f32s(std::string_view key, std::span<const float> values);
  void remove(std::string_view key);

  /// Copies every entry of `source` byte for byte, but for `general.alignment` (ours is 32) and `split.*` (we write one
  /// file).
  void copy_metadata(const GgufFile& source);

  /// dims[0] is the contiguous dimension, as in GgufTensor. The first form views `bytes` until write(); the second
  /// calls `produce` during write(), one tensor at a time.
  /// Throws InvalidArgument for a repeated name or one of 0 or more than 63 bytes (llama.cpp's limit), a rank outside
  /// 1..4, a dimension below 1, rows that are not whole blocks, or a wrong number of bytes.
  void add_tensor(std::string_view name, std::span<const int64_t> dims, GgufType type,
                  std::span<const std::byte> bytes);
  void add_tensor(std::string_view name, std::span<const int64_t> dims, GgufType type, Producer produce);

  /// Writes the whole file or, when anything throws, leaves `path` as it was. Throws IoError when it cannot be written.
  void write(const std::filesystem::path& path) const;
  /// The same bytes in memory.
  std::string to_bytes() const;

 private:
  struct Entry {
    std::string key;
    GgufValueType type;
    std::string payload;  // as GgufEntry::payload
  };
  struct Tensor {
    std::string name;
    std::vector<int64_t> dims;
    GgufType type;
    uint64_t offset, size_bytes;
    Producer produce;  // empty: take `bytes`
    std::span<const std::byte> bytes;
  };
  using Sink = std::function<void(std::span<const std::byte>)>;

  void set(std::string_view key, GgufValueType type, std::string payload);
  Tensor& append_tensor(std::string_view name, std::span<const int64_t> dims, GgufType type);
  std::string header() const;
  void write_to(const Sink& sink) const;

  std::vector<Entry> entries_;
  std::vector<Tensor> tensors_;
};

}  // namespace halftone
