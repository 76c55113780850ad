// Parsing of one safetensors file. The header goes through JSON events straight into tensors: no JSON tree is built,
// and a repeated name or field, which a tree would hide, is an error.
#include "io/safetensors/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "base/json.h"
#include "io/byte_reader.h"

namespace halftone {
namespace {

constexpr size_t kMaxRank = 16;

struct TypeRow {
  std::string_view name;
  int bits;
};
constexpr std::array<TypeRow, 22> kTypes = {
    {{"BOOL", 8},    {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6},     {"U8", 8},          {"I8", 8},
     {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},
     {"U16", 16},    {"F16", 16},    {"BF16", 16},   {"I32", 32},        {"U32", 32},        {"F32", 32},
     {"C64", 64},    {"F64", 64},    {"I64", 64},    {"U64", 64}}};

struct Entry {
  TensorView tensor;
  uint64_t begin = 0, end = 0;
};

/// Receives the events of the header's JSON. Depth 1 is the header's object, 2 a tensor or the metadata, 3 an array.
class HeaderReader : public nlohmann::json_sax<Json> {
 public:
  HeaderReader(const std::string& file, SafetensorsMetadata& metadata) : file_(file), metadata_(metadata) {}

  std::vector<Entry>& entries() { return entries_; }

  bool null() override { fail("null"); }
  bool boolean(bool) override { fail("a bool"); }
  bool number_integer(number_integer_t) override { fail("a negative number"); }
  bool number_float(number_float_t, const string_t&) override { fail("a fraction or a number beyond 2^64"); }
  bool binary(binary_t&) override { fail("binary"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (depth_ != 3) fail("a number");
    if (value > INT64_MAX) fail("a number beyond 2^63");
    if (numbers_.size() >= kMaxRank) fail("more than 16 numbers");
    numbers_.push_back(static_cast<int64_t>(value));
    return true;
  }

  bool string(string_t& value) override {
    if (depth_ != 2) fail("a string");
    if (in_metadata_) {
      metadata_[field_] = std::move(value);
    } else {
      if (field_ != "dtype") fail("a string");
      const auto type = find_safetensors_type(value);
      if (!type)
        throw Unsupported("{}: tensor '{}' has dtype '{}', which halftone does not know; cast it to F32, F16 or BF16",
                          file_, printable(name_), printable(value));
      entries_.back().tensor.type = *type;
    }
    return true;
  }

  bool start_object(size_t) override {
    if (depth_ >= 2) fail("an object");
    ++depth_;
    if (depth_ == 1) return true;
    in_metadata_ = name_ == "__metadata__";
    fields_ = 0;
    if (!in_metadata_) entries_.emplace_back().tensor.name = name_;
    return true;
  }

  bool key(string_t& name) override {
    if (depth_ == 1) {
      if (name == "__metadata__" && std::exchange(has_metadata_, true))
        throw IoError("{}: the header repeats '__metadata__'", file_);
      name_ = std::move(name);
      field_.clear();
      return true;
    }
    field_ = std::move(name);
    if (in_metadata_) {
      if (!metadata_.try_emplace(field_).second)
        throw IoError("{}: the metadata repeats the key '{}'", file_, printable(field_));
    } else {
      mark_field();
    }
    return true;
  }

  bool end_object() override {
    if (depth_ == 2 && !in_metadata_ && fields_ != 7)
      throw IoError("{}: tensor '{}' lacks one of 'dtype', 'shape' and 'data_offsets'", file_, printable(name_));
    --depth_;
    return true;
  }

  bool start_array(size_t) override {
    if (depth_ != 2 || in_metadata_ || field_ == "dtype") fail("an array");
    ++depth_;
    numbers_.clear();
    return true;
  }

  bool end_array() override {
    --depth_;
    if (field_ == "shape") {
      entries_.back().tensor.shape = numbers_;
    } else {
      if (numbers_.size() != 2) fail("an array of other than two numbers");
      entries_.back().begin = static_cast<uint64_t>(numbers_[0]);
      entries_.back().end = static_cast<uint64_t>(numbers_[1]);
    }
    return true;
  }

  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& why) override {
    throw IoError("{}: the header is not JSON at byte {}: {}", file_, position, printable(why.what()));
  }

 private:
  void mark_field() {
    const unsigned bit = field_ == "dtype" ? 1 : field_ == "shape" ? 2 : field_ == "data_offsets" ? 4 : 0;
    if (bit == 0 || (fields_ & bit) != 0)
      throw IoError("{}: tensor '{}' has {} field '{}', wanted 'dtype', 'shape' and 'data_offsets' once each", file_,
                    printable(name_), bit == 0 ? "the unknown" : "twice the", printable(field_));
    fields_ |= bit;
  }

  [[noreturn]] void fail(std::string_view found) const {
    throw IoError("{}: the header has {} where it cannot be, at '{}' '{}'", file_, found, printable(name_),
                  printable(field_));
  }

  const std::string& file_;
  SafetensorsMetadata& metadata_;
  std::vector<Entry> entries_;
  std::vector<int64_t> numbers_;
  std::string name_, field_;
  int depth_ = 0;
  bool in_metadata_ = false, has_metadata_ = false;
  unsigned fields_ = 0;  // bits: dtype, shape, data_offsets seen
};

/// Bytes that dtype and shape take; throws when they overflow or end inside a byte.
uint64_t tensor_bytes(const std::string& file, const TensorView& tensor) {
  int64_t bits = bits_of(tensor.type);
  for (const int64_t dim : tensor.shape)
    if (__builtin_mul_overflow(bits, dim, &bits))
      throw IoError("{}: tensor '{}' of type {} exceeds 2^63 bits at dimension {}; the file is damaged", file,
                    printable(tensor.name), to_string(tensor.type), dim);
  if (bits % 8 != 0)
    throw IoError("{}: tensor '{}' of type {} takes {} bits, wanted whole bytes", file, printable(tensor.name),
                  to_string(tensor.type), bits);
  return static_cast<uint64_t>(bits) / 8;
}

/// Checks that the entries tile `data` and points them at it.
void place_entries(const std::string& file, std::vector<Entry>& entries, std::span<const std::byte> data) {
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  uint64_t position = 0;
  for (Entry& entry : entries) {
    const std::string& name = entry.tensor.name;
    const uint64_t wanted = tensor_bytes(file, entry.tensor);
    if (entry.begin != position)
      throw IoError("{}: tensor '{}' begins at offset {}, wanted {} where the one before ends (no holes, no overlap)",
                    file, printable(name), entry.begin, position);
    if (entry.end < entry.begin || entry.end - entry.begin != wanted)
      throw IoError("{}: tensor '{}' has data_offsets [{}, {}], its dtype and shape take {} bytes", file,
                    printable(name), entry.begin, entry.end, wanted);
    if (entry.end > data.size())
      throw IoError("{}: tensor '{}' ends at offset {}, the data has {} bytes; the file is cut short, fetch it again",
                    file, printable(name), entry.end, data.size());
    entry.tensor.bytes = data.subspan(entry.begin, wanted);
    position = entry.end;
  }
  if (position != data.size())
    throw IoError("{}: the last tensor ends at offset {}, the data has {} bytes; the file is damaged", file, position,
                  data.size());
}

}  // namespace

std::string_view to_string(SafetensorsType type) { return kTypes[static_cast<size_t>(type)].name; }

int bits_of(SafetensorsType type) { return kTypes[static_cast<size_t>(type)].bits; }

std::optional<SafetensorsType> find_safetensors_type(std::string_view name) {
  for (size_t i = 0; i < kTypes.size(); ++i)
    if (kTypes[i].name == name) return static_cast<SafetensorsType>(i);
  return {};
}

int64_t TensorView::elements() const {
  int64_t count = 1;
  for (const int64_t dim : shape) count *= dim;
  return count;
}

SafetensorsFile SafetensorsFile::parse(std::span<const std::byte> bytes, std::string name) {
  SafetensorsFile file;
  file.name_ = std::move(name);
  ByteReader in(bytes, file.name_);
  const auto header_bytes = in.read<uint64_t>("header length");
  if (header_bytes > kMaxSafetensorsHeaderBytes)
    throw IoError("{}: the header length is {}, wanted at most {}; this is no safetensors file", file.name_,
                  header_bytes, kMaxSafetensorsHeaderBytes);
  const auto header = in.take(header_bytes, "header");
  const std::string_view text(reinterpret_cast<const char*>(header.data()), header.size());
  if (!text.starts_with('{'))
    throw IoError("{}: the header starts with '{}', wanted '{{'", file.name_, printable(text.substr(0, 1)));
  if (const size_t nul = text.find('\0'); nul != text.npos)  // the JSON library would take it for the end of its input
    throw IoError("{}: the header has a NUL at byte {}; pad headers with spaces", file.name_, nul);
  HeaderReader reader(file.name_, file.metadata_);
  Json::sax_parse(text.begin(), text.end(), &reader);
  place_entries(file.name_, reader.entries(), bytes.subspan(in.position()));

  file.tensors_.reserve(reader.entries().size());
  for (Entry& entry : reader.entries()) file.tensors_.push_back(std::move(entry.tensor));
  std::sort(file.tensors_.begin(), file.tensors_.end(),
            [](const TensorView& a, const TensorView& b) { return a.name < b.name; });
  for (size_t i = 1; i < file.tensors_.size(); ++i)
    if (file.tensors_[i].name == file.tensors_[i - 1].name)
      throw IoError("{}: the header repeats the tensor '{}'", file.name_, printable(file.tensors_[i].name));
  return file;
}

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path) {
  MappedFile map(path);
  SafetensorsFile file = parse(map.bytes(), path.string());
  file.map_ = std::move(map);
  return file;
}

const TensorView* SafetensorsFile::find(std::string_view tensor_name) const {
  const auto at = std::lower_bound(tensors_.begin(), tensors_.end(), tensor_name,
                                   [](const TensorView& tensor, std::string_view name) { return tensor.name < name; });
  return at != tensors_.end() && at->name == tensor_name ? &*at : nullptr;
}

const TensorView& SafetensorsFile::tensor(std::string_view tensor_name) const {
  const TensorView* found = find(tensor_name);
  if (found == nullptr)
    throw IoError("{}: tensor '{}' is missing; {} tensors are there", name_, tensor_name, tensors_.size());
  return *found;
}

}  // namespace halftone
