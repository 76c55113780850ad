// Reader of GGUF model files, versions 2 and 3, little-endian, whole or split (NAME-00001-of-0000N.gguf).
// The file is mapped, and everything is checked before use: what a header claims is compared with the bytes that are
// there before anything is allocated, so a damaged or hostile file gives an error, never a crash or a large allocation.
// Names, strings and tensors are views into the map and live as long as the GgufFile.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"
#include "numerics/gguf_blocks.h"

namespace halftone {

/// Type tags of metadata values.
enum class GgufValueType : uint32_t { U8, I8, U16, I16, U32, I32, F32, Bool, String, Array, U64, I64, F64 };

/// "u8", "string", "array", ...
std::string_view to_string(GgufValueType type);

/// Bytes of a value of fixed size; 0 for strings and arrays.
constexpr uint64_t gguf_value_bytes(GgufValueType type) {
  constexpr uint64_t kBytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  return kBytes[static_cast<uint32_t>(type)];
}

/// Element type and count in front of an array's elements.
inline constexpr uint64_t kGgufArrayHeaderBytes = 4 + 8;
inline constexpr uint64_t kMaxGgufTensorName = 64;

/// One metadata entry as it lies in the file.
struct GgufEntry {
  std::string_view key;
  GgufValueType type;
  GgufValueType element_type;          ///< of an array; otherwise equal to `type`
  uint64_t count;                      ///< elements of an array; otherwise 1
  std::span<const std::byte> payload;  ///< the value as stored: with its length, or element type and count, in front
};

struct GgufTensor {
  std::string_view name;
  GgufType type;
  int rank;                          ///< 1..4
  std::array<int64_t, 4> dims;       ///< dims[0] is contiguous (K, in-features); those past `rank` are 1; none is 0
  std::span<const std::byte> bytes;  ///< rows one after another, each of whole blocks

  int64_t elements() const { return dims[0] * dims[1] * dims[2] * dims[3]; }
  int64_t columns() const { return dims[0]; }
  int64_t rows() const { return dims[1] * dims[2] * dims[3]; }
};

class GgufFile {
 public:
  /// Maps and checks the file; given one part of a split model, opens all parts (metadata is the first part's).
  /// Throws IoError for missing, damaged or big-endian files, Unsupported for a version or tensor type we do not read;
  /// both name the file, the field, the value and the limit.
  static GgufFile open(const std::filesystem::path& path);
  /// The same checks on bytes that the caller keeps alive; `name` stands for the path in errors. A part of a split
  /// model is Unsupported here.
  static GgufFile parse(std::span<const std::byte> bytes, std::string name);

  const std::string& name() const { return name_; }
  uint32_t version() const { return version_; }
  /// In file order.
  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  /// nullptr when there is none of that name.
  const GgufTensor* find(std::string_view tensor_name) const;
  /// Throws IoError naming the file and the tensor when it is missing.
  const GgufTensor& tensor(std::string_view tensor_name) const;

  /// In file order.
  const std::vector<GgufEntry>& metadata() const { return metadata_; }
  bool has(std::string_view key) const { return find_entry(key) != nullptr; }

  // Typed reads of metadata. With a default, a missing key gives the default; without, it throws IoError. A value of
  // another kind, or outside the range of the result, throws IoError in both cases. Any integer width serves integers.
  uint64_t get_u64(std::string_view key, std::optional<uint64_t> missing = {}) const;
  int64_t get_i64(std::string_view key, std::optional<int64_t> missing = {}) const;
  /// Any number; f64 rounds to nearest.
  float get_f32(std::string_view key, std::optional<float> missing = {}) const;
  bool get_bool(std::string_view key, std::optional<bool> missing = {}) const;
  std::string_view get_string(std::string_view key, std::optional<std::string_view> missing = {}) const;

  // Arrays; a missing key throws IoError (ask has() first). A scalar reads as an array of one.
  std::vector<std::string_view> get_strings(std::string_view key) const;
  /// Integers of any width, or bools as 0 and 1.
  std::vector<int64_t> get_i64s(std::string_view key) const;
  /// Any numbers.
  std::vector<float> get_f32s(std::string_view key) const;

 private:
  friend class GgufParser;
  static GgufFile parse_part(std::span<const std::byte> bytes, std::string name);
  static GgufFile open_split(const std::filesystem::path& prefix, uint64_t parts);
  const GgufEntry* find_entry(std::string_view key) const;
  const GgufEntry& entry(std::string_view key) const;
  void index_names();

  std::string name_;
  std::vector<MappedFile> maps_;
  uint32_t version_ = 0;
  std::vector<GgufEntry> metadata_;
  std::vector<GgufTensor> tensors_;
  std::vector<uint32_t> metadata_by_key_;  // indices in order of key
  std::vector<uint32_t> tensors_by_name_;  // indices in order of name
};

/// The whole tensor as [rows, columns] f32 in `out` (tensor.elements() values).
void decode_tensor(const GgufTensor& tensor, float* out);

}  // namespace halftone
