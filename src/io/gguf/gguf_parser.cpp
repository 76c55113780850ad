// Parsing and checking of GGUF (layout: docs/gguf.md of ggml). Nothing is allocated before the count it is sized by was
// compared with the bytes left, so memory stays below a small multiple of the file's size.
//
//   magic "GGUF" | u32 version | u64 tensors | u64 entries | entries | tensor infos | padding to alignment | data
//   entry: string key | u32 type | value          string: u64 length | bytes          array: u32 type | u64 count |
//   values tensor info: string name | u32 rank | u64 dims[rank] | u32 type | u64 offset from the start of the data
#include <algorithm>
#include <bit>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "io/byte_reader.h"
#include "io/gguf/gguf.h"

namespace halftone {
namespace {

constexpr uint64_t kMaxKeyBytes = 65535;
constexpr uint64_t kMaxAlignment = uint64_t{1} << 20;
constexpr int kMaxArrayDepth = 4;
constexpr uint64_t kMinEntryBytes = 8 + 1 + 4 + 1;
constexpr uint64_t kMinTensorInfoBytes = 8 + 1 + 4 + 8 + 4 + 8;

bool has_control_characters(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

/// a * b, or nothing when it exceeds int64.
std::optional<int64_t> product(int64_t a, int64_t b) {
  int64_t result;
  if (__builtin_mul_overflow(a, b, &result)) return {};
  return result;
}

}  // namespace

/// Fills one GgufFile from one block of bytes.
class GgufParser {
 public:
  GgufParser(std::span<const std::byte> bytes, GgufFile& file) : bytes_(bytes), in_(bytes, file.name_), file_(file) {}

  void run() {
    read_header();
    file_.metadata_.reserve(entry_count_);
    for (uint64_t i = 0; i < entry_count_; ++i) read_entry();
    in_.check_count(tensor_count_, kMinTensorInfoBytes, "tensor count");
    file_.tensors_.reserve(tensor_count_);
    places_.reserve(tensor_count_);
    for (uint64_t i = 0; i < tensor_count_; ++i) read_tensor_info();
    file_.index_names();
    place_tensors();
    check_overlaps();
  }

 private:
  struct Place {
    uint64_t offset, bytes;
  };

  const std::string& name() const { return file_.name_; }

  void read_header() {
    const auto magic = in_.take(4, "magic");
    if (std::memcmp(magic.data(), "GGUF", 4) != 0)
      throw IoError("{}: the first four bytes are '{}', a GGUF file has 'GGUF'", name(),
                    printable({reinterpret_cast<const char*>(magic.data()), 4}));
    file_.version_ = in_.read<uint32_t>("version");
    if (file_.version_ != 0 && (file_.version_ & 0xffff) == 0)
      throw Unsupported("{}: version {:#x} marks a big-endian file; convert it for little-endian machines", name(),
                        file_.version_);
    if (file_.version_ != 2 && file_.version_ != 3)
      throw Unsupported("{}: GGUF version {}, halftone reads 2 and 3; convert the model again", name(), file_.version_);
    tensor_count_ = in_.read<uint64_t>("tensor count");
    entry_count_ = in_.read<uint64_t>("metadata count");
    in_.check_count(tensor_count_, kMinTensorInfoBytes, "tensor count");
    in_.check_count(entry_count_, kMinEntryBytes, "metadata count");
  }

  void read_entry() {
    GgufEntry entry;
    entry.key = in_.read_string("metadata key");
    if (entry.key.empty() || entry.key.size() > kMaxKeyBytes || has_control_characters(entry.key))
      throw IoError("{}: metadata key '{}' of {} bytes, wanted 1..{} without control characters", name(),
                    printable(entry.key), entry.key.size(), kMaxKeyBytes);
    entry.type = read_value_type(entry.key);
    const uint64_t begin = in_.position();
    entry.element_type = entry.type;
    entry.count = 1;
    if (entry.type == GgufValueType::Array) {
      ByteReader peek = in_;
      entry.element_type = static_cast<GgufValueType>(peek.read<uint32_t>("array element type"));
      entry.count = peek.read<uint64_t>("array length");
    }
    skip_value(entry.type, entry.key, 1);
    entry.payload = bytes_.subspan(begin, in_.position() - begin);
    file_.metadata_.push_back(entry);
  }

  GgufValueType read_value_type(std::string_view key) {
    const auto id = in_.read<uint32_t>("metadata value type");
    if (id > static_cast<uint32_t>(GgufValueType::F64))
      throw IoError("{}: metadata key '{}' has value type {}, wanted 0..12; the file is damaged", name(),
                    printable(key), id);
    return static_cast<GgufValueType>(id);
  }

  void skip_value(GgufValueType type, std::string_view key, int depth) {
    if (type == GgufValueType::String) {
      in_.read_string("metadata string");
    } else if (type == GgufValueType::Array) {
      skip_array(key, depth);
    } else {
      skip_scalars(type, 1, key);
    }
  }

  void skip_array(std::string_view key, int depth) {
    if (depth > kMaxArrayDepth)
      throw IoError("{}: metadata key '{}' nests arrays more than {} deep", name(), printable(key), kMaxArrayDepth);
    const GgufValueType type = read_value_type(key);
    const auto count = in_.read<uint64_t>("array length");
    const uint64_t element_bytes = gguf_value_bytes(type);
    if (element_bytes != 0) {
      in_.check_count(count, element_bytes, "array length");
      return skip_scalars(type, count, key);
    }
    in_.check_count(count, type == GgufValueType::String ? sizeof(uint64_t) : kGgufArrayHeaderBytes, "array length");
    for (uint64_t i = 0; i < count; ++i) skip_value(type, key, depth + 1);
  }

  void skip_scalars(GgufValueType type, uint64_t count, std::string_view key) {
    const auto values = in_.take(count * gguf_value_bytes(type), "metadata value");
    if (type != GgufValueType::Bool) return;
    for (const std::byte value : values)
      if (value > std::byte{1})
        throw IoError("{}: metadata key '{}' holds the bool {}, wanted 0 or 1", name(), printable(key),
                      std::to_integer<int>(value));
  }

  void read_tensor_info() {
    GgufTensor tensor{};
    tensor.name = in_.read_string("tensor name");
    if (tensor.name.empty() || tensor.name.size() > kMaxGgufTensorName || has_control_characters(tensor.name))
      throw IoError("{}: tensor name '{}' of {} bytes, wanted 1..{} without control characters", name(),
                    printable(tensor.name), tensor.name.size(), kMaxGgufTensorName);
    const auto rank = in_.read<uint32_t>("tensor rank");
    if (rank < 1 || rank > tensor.dims.size())
      throw IoError("{}: tensor '{}' has {} dimensions, wanted 1..{}", name(), tensor.name, rank, tensor.dims.size());
    tensor.rank = static_cast<int>(rank);
    tensor.dims.fill(1);
    for (uint32_t i = 0; i < rank; ++i) {
      const auto dim = in_.read<uint64_t>("tensor dimension");
      if (dim == 0 || dim > INT64_MAX)
        throw IoError("{}: tensor '{}' has dimension {} of size {}, wanted 1..{}", name(), tensor.name, i, dim,
                      INT64_MAX);
      tensor.dims[i] = static_cast<int64_t>(dim);
    }
    const GgufTypeInfo& info = read_tensor_type(tensor);
    tensor.type = info.type;
    const uint64_t bytes = checked_bytes(tensor, info);
    places_.push_back({in_.read<uint64_t>("tensor offset"), bytes});
    file_.tensors_.push_back(tensor);
  }

  const GgufTypeInfo& read_tensor_type(const GgufTensor& tensor) {
    const auto id = in_.read<uint32_t>("tensor type");
    const GgufTypeInfo* info = find_gguf_type(id);
    if (info == nullptr)
      throw Unsupported(
          "{}: tensor '{}' has type id {}, which halftone does not read; use a file with F32, F16, BF16, "
          "Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K..Q6_K or MXFP4 tensors",
          name(), tensor.name, id);
    return *info;
  }

  uint64_t checked_bytes(const GgufTensor& tensor, const GgufTypeInfo& info) const {
    std::optional<int64_t> elements = 1;
    for (const int64_t dim : tensor.dims) elements = elements ? product(*elements, dim) : elements;
    const auto bytes = elements ? product(*elements / info.block_elements, info.block_bytes) : std::nullopt;
    if (!bytes)
      throw IoError("{}: tensor '{}' of {} x {} x {} x {} {} exceeds 2^63 bytes; the file is damaged", name(),
                    tensor.name, tensor.dims[0], tensor.dims[1], tensor.dims[2], tensor.dims[3], info.name);
    if (tensor.dims[0] % info.block_elements != 0)
      throw IoError("{}: tensor '{}' has rows of {} elements, {} needs a multiple of {}", name(), tensor.name,
                    tensor.dims[0], info.name, info.block_elements);
    return static_cast<uint64_t>(*bytes);
  }

  /// Points every tensor at its bytes.
  void place_tensors() {
    if (tensor_count_ == 0) return;
    const uint64_t alignment = file_.get_u64("general.alignment", 32);
    if (!std::has_single_bit(alignment) || alignment > kMaxAlignment)
      throw IoError("{}: general.alignment is {}, wanted a power of two up to {}", name(), alignment, kMaxAlignment);
    const uint64_t data_begin = (in_.position() + alignment - 1) / alignment * alignment;
    const uint64_t data_bytes = data_begin <= bytes_.size() ? bytes_.size() - data_begin : 0;
    for (size_t i = 0; i < places_.size(); ++i) {
      GgufTensor& tensor = file_.tensors_[i];
      const auto [offset, bytes] = places_[i];
      if (offset % alignment != 0)
        throw IoError("{}: tensor '{}' starts at offset {}, wanted a multiple of the alignment {}", name(), tensor.name,
                      offset, alignment);
      if (offset > data_bytes || bytes > data_bytes - offset)
        throw IoError(
            "{}: tensor '{}' needs {} bytes at offset {}, the data has {}; the file is cut short or damaged, "
            "fetch it again",
            name(), tensor.name, bytes, offset, data_bytes);
      tensor.bytes = bytes_.subspan(data_begin + offset, bytes);
    }
  }

  void check_overlaps() const {
    std::vector<uint32_t> order(file_.tensors_.size());
    std::iota(order.begin(), order.end(), 0u);
    std::sort(order.begin(), order.end(),
              [&](uint32_t a, uint32_t b) { return places_[a].offset < places_[b].offset; });
    for (size_t i = 1; i < order.size(); ++i) {
      const GgufTensor& before = file_.tensors_[order[i - 1]];
      const uint64_t end = places_[order[i - 1]].offset + before.bytes.size();
      if (end > places_[order[i]].offset)
        throw IoError("{}: tensor '{}' ends at offset {}, after tensor '{}' starts at {}; tensors must not overlap",
                      name(), before.name, end, file_.tensors_[order[i]].name, places_[order[i]].offset);
    }
  }

  std::span<const std::byte> bytes_;
  ByteReader in_;
  GgufFile& file_;
  uint64_t tensor_count_ = 0;
  uint64_t entry_count_ = 0;
  std::vector<Place> places_;  // of each tensor, relative to the start of the data
};

namespace {

/// "x-00002-of-00003.gguf" as "x", 3; throws when the file has no such name.
std::pair<std::filesystem::path, uint64_t> split_prefix(const std::filesystem::path& path, uint64_t part,
                                                        uint64_t parts) {
  const std::string name = path.filename().string();
  const std::string suffix = fmt::format("-{:05}-of-{:05}.gguf", part + 1, parts);
  if (!name.ends_with(suffix))
    throw IoError(
        "{}: this is part {} of {} of a split model, its name must end in '{}' so that the others can be found",
        path.string(), part + 1, parts, suffix);
  return {path.parent_path() / name.substr(0, name.size() - suffix.size()), parts};
}

}  // namespace

GgufFile GgufFile::parse_part(std::span<const std::byte> bytes, std::string name) {
  GgufFile file;
  file.name_ = std::move(name);
  GgufParser(bytes, file).run();
  return file;
}

GgufFile GgufFile::parse(std::span<const std::byte> bytes, std::string name) {
  GgufFile file = parse_part(bytes, std::move(name));
  if (const uint64_t parts = file.get_u64("split.count", 1); parts > 1)
    throw Unsupported("{}: one part of {}; open the first file of the split model by its path", file.name_, parts);
  return file;
}

GgufFile GgufFile::open(const std::filesystem::path& path) {
  MappedFile map(path);
  GgufFile file = parse_part(map.bytes(), path.string());
  file.maps_.push_back(std::move(map));
  const uint64_t parts = file.get_u64("split.count", 1);
  if (parts <= 1) return file;
  const auto [prefix, count] = split_prefix(path, file.get_u64("split.no"), parts);
  return open_split(prefix, count);
}

GgufFile GgufFile::open_split(const std::filesystem::path& prefix, uint64_t parts) {
  GgufFile whole;
  for (uint64_t i = 0; i < parts; ++i) {
    std::filesystem::path path = prefix;
    path += fmt::format("-{:05}-of-{:05}.gguf", i + 1, parts);
    MappedFile map(path);
    GgufFile part = parse_part(map.bytes(), path.string());
    if (part.get_u64("split.no") != i || part.get_u64("split.count") != parts)
      throw IoError("{}: split.no {} of split.count {}, wanted {} of {}; the parts are of different models", part.name_,
                    part.get_u64("split.no"), part.get_u64("split.count"), i, parts);
    if (i == 0) {
      whole = std::move(part);
    } else {
      whole.tensors_.insert(whole.tensors_.end(), part.tensors_.begin(), part.tensors_.end());
    }
    whole.maps_.push_back(std::move(map));
  }
  whole.index_names();
  if (const uint64_t wanted = whole.get_u64("split.tensors.count", whole.tensors_.size());
      wanted != whole.tensors_.size())
    throw IoError("{}: split.tensors.count is {}, the {} parts hold {} tensors", whole.name_, wanted, parts,
                  whole.tensors_.size());
  return whole;
}

}  // namespace halftone
