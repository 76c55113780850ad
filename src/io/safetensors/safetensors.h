// Reader and writer of safetensors files (format: README and tensor.rs of huggingface/safetensors).
//   u64 N | N bytes of JSON, padded with spaces | data
//   JSON: {"__metadata__": {string: string}, name: {"dtype", "shape", "data_offsets": [begin, end)}, ...}
// Files are mapped and checked whole before use: no tensor may overlap another or leave a hole, and the file ends with
// the last tensor. Stricter than the original: ranks up to 16, no fields beside the three above.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"

namespace halftone {

/// In the order in which the format sorts them: by alignment, then as the original lists them.
enum class SafetensorsType : uint8_t {
  Bool,
  F4,
  F6E2M3,
  F6E3M2,
  U8,
  I8,
  F8E5M2,
  F8E4M3,
  F8E8M0,
  F8E4M3Fnuz,
  F8E5M2Fnuz,
  I16,
  U16,
  F16,
  BF16,
  I32,
  U32,
  F32,
  C64,
  F64,
  I64,
  U64
};

/// "BOOL", "F4", "F6_E2M3", ..., "U64", as in the header.
std::string_view to_string(SafetensorsType type);
/// Inverse of to_string; nothing for other names.
std::optional<SafetensorsType> find_safetensors_type(std::string_view name);
/// Bits of one element: 4, 6, 8, 16, 32 or 64.
int bits_of(SafetensorsType type);

/// A tensor of a file, or one to write; row-major, little-endian. An empty shape is a scalar.
struct TensorView {
  std::string name;
  SafetensorsType type = SafetensorsType::U8;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;

  int64_t elements() const;
};

inline constexpr uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;

using SafetensorsMetadata = std::map<std::string, std::string>;

class SafetensorsFile {
 public:
  /// Maps and checks the file. Throws IoError naming the file, the tensor, the value and the limit when it is damaged,
  /// Unsupported for a dtype that we do not know.
  static SafetensorsFile open(const std::filesystem::path& path);
  /// The same checks on bytes that the caller keeps alive; `name` stands for the path in errors.
  static SafetensorsFile parse(std::span<const std::byte> bytes, std::string name);

  const std::string& name() const { return name_; }
  const SafetensorsMetadata& metadata() const { return metadata_; }
  /// In order of name.
  const std::vector<TensorView>& tensors() const { return tensors_; }
  /// nullptr when there is none of that name.
  const TensorView* find(std::string_view tensor_name) const;
  /// Throws IoError naming the file and the tensor when it is missing.
  const TensorView& tensor(std::string_view tensor_name) const;

 private:
  std::string name_;
  std::optional<MappedFile> map_;
  SafetensorsMetadata metadata_;
  std::vector<TensorView> tensors_;
};

/// The tensors of a model that may be spread over several files.
class SafetensorsModel {
 public:
  /// `path` is a directory with model.safetensors.index.json or model.safetensors, an index, or one .safetensors file.
  /// Shards must lie in the directory of the index. Throws as SafetensorsFile::open, and IoError when the index and the
  /// shards disagree.
  static SafetensorsModel open(const std::filesystem::path& path);

  const std::vector<SafetensorsFile>& files() const { return files_; }
  /// Names in order.
  std::vector<std::string_view> names() const;
  const TensorView* find(std::string_view tensor_name) const;
  /// Throws IoError naming the model and the tensor when it is missing.
  const TensorView& tensor(std::string_view tensor_name) const;

 private:
  static SafetensorsModel open_index(const std::filesystem::path& path);

  std::string name_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, size_t, std::less<>> file_of_;  // by tensor name
};

/// Writes tensors by descending type, then name, as the original does; the header is padded to 8 bytes. The whole file
/// is replaced or none of it. Throws InvalidArgument for a repeated name, the name "__metadata__", a negative
/// dimension, a wrong number of bytes or text that is not UTF-8; IoError when it cannot be written.
void write_safetensors(const std::filesystem::path& path, std::span<const TensorView> tensors,
                       const SafetensorsMetadata& metadata = {});
/// The same bytes in memory.
std::string to_safetensors(std::span<const TensorView> tensors, const SafetensorsMetadata& metadata = {});

}  // namespace halftone
