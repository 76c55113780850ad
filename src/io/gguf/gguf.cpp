// Access to a parsed GGUF file: lookup by name and typed reads of metadata; see gguf.h. Parsing is in gguf_parser.cpp.
#include "io/gguf/gguf.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "io/byte_reader.h"

namespace halftone {
namespace {

constexpr std::array<std::string_view, 13> kValueTypeNames = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                                              "bool", "string", "array", "u64", "i64", "f64"};

/// The index of the element of `items` called `name`, by binary search in `order`; -1 when there is none.
template <class Items, class Name>
int64_t find_by_name(const Items& items, const std::vector<uint32_t>& order, std::string_view name, Name name_of) {
  const auto at = std::lower_bound(order.begin(), order.end(), name,
                                   [&](uint32_t i, std::string_view wanted) { return name_of(items[i]) < wanted; });
  return at != order.end() && name_of(items[*at]) == name ? int64_t{*at} : -1;
}

template <class T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

/// Calls f with the number at `from`, in its own type; false when `type` is not a number (or, if wanted, a bool).
template <class F>
bool visit_number(GgufValueType type, const std::byte* from, F&& f) {
  switch (type) {
    case GgufValueType::U8:
      return f(load<uint8_t>(from)), true;
    case GgufValueType::I8:
      return f(load<int8_t>(from)), true;
    case GgufValueType::U16:
      return f(load<uint16_t>(from)), true;
    case GgufValueType::I16:
      return f(load<int16_t>(from)), true;
    case GgufValueType::U32:
      return f(load<uint32_t>(from)), true;
    case GgufValueType::I32:
      return f(load<int32_t>(from)), true;
    case GgufValueType::U64:
      return f(load<uint64_t>(from)), true;
    case GgufValueType::I64:
      return f(load<int64_t>(from)), true;
    case GgufValueType::F32:
      return f(load<float>(from)), true;
    case GgufValueType::F64:
      return f(load<double>(from)), true;
    default:
      return false;
  }
}

std::string describe(const GgufEntry& entry) {
  if (entry.type != GgufValueType::Array) return std::string(to_string(entry.type));
  return fmt::format("array of {} {}", entry.count, to_string(entry.element_type));
}

[[noreturn]] void throw_wrong_type(const std::string& file, const GgufEntry& entry, std::string_view wanted) {
  throw IoError("{}: metadata key '{}' is {}, wanted {}", file, printable(entry.key), describe(entry), wanted);
}

/// An integer as `Result`; throws when it is not an integer or does not fit.
template <class Result>
Result integer_at(const std::string& file, const GgufEntry& entry, GgufValueType type, const std::byte* from,
                  std::string_view wanted) {
  Result result{};
  const bool number = visit_number(type, from, [&](auto value) {
    if constexpr (std::is_integral_v<decltype(value)>) {
      if (!std::in_range<Result>(value))
        throw IoError("{}: metadata key '{}' holds {}, wanted a value in {}..{}", file, printable(entry.key), value,
                      std::numeric_limits<Result>::min(), std::numeric_limits<Result>::max());
      result = static_cast<Result>(value);
    } else {
      throw_wrong_type(file, entry, wanted);
    }
  });
  if (!number) throw_wrong_type(file, entry, wanted);
  return result;
}

float float_at(const std::string& file, const GgufEntry& entry, GgufValueType type, const std::byte* from,
               std::string_view wanted) {
  float result = 0;
  if (!visit_number(type, from, [&](auto value) { result = static_cast<float>(value); }))
    throw_wrong_type(file, entry, wanted);
  return result;
}

/// The elements of an array, or the one value of a scalar.
const std::byte* first_element(const GgufEntry& entry) {
  return entry.payload.data() + (entry.type == GgufValueType::Array ? kGgufArrayHeaderBytes : 0);
}

}  // namespace

std::string_view to_string(GgufValueType type) {
  const auto index = static_cast<size_t>(type);
  return index < kValueTypeNames.size() ? kValueTypeNames[index] : "unknown";
}

void GgufFile::index_names() {
  metadata_by_key_.resize(metadata_.size());
  std::iota(metadata_by_key_.begin(), metadata_by_key_.end(), 0u);
  std::sort(metadata_by_key_.begin(), metadata_by_key_.end(),
            [&](uint32_t a, uint32_t b) { return metadata_[a].key < metadata_[b].key; });
  tensors_by_name_.resize(tensors_.size());
  std::iota(tensors_by_name_.begin(), tensors_by_name_.end(), 0u);
  std::sort(tensors_by_name_.begin(), tensors_by_name_.end(),
            [&](uint32_t a, uint32_t b) { return tensors_[a].name < tensors_[b].name; });
  for (size_t i = 1; i < metadata_by_key_.size(); ++i)
    if (const std::string_view key = metadata_[metadata_by_key_[i]].key; key == metadata_[metadata_by_key_[i - 1]].key)
      throw IoError("{}: metadata key '{}' appears twice; the file is damaged, write it again", name_, printable(key));
  for (size_t i = 1; i < tensors_by_name_.size(); ++i)
    if (const std::string_view name = tensors_[tensors_by_name_[i]].name;
        name == tensors_[tensors_by_name_[i - 1]].name)
      throw IoError("{}: tensor name '{}' appears twice; the file is damaged, write it again", name_, printable(name));
}

const GgufTensor* GgufFile::find(std::string_view tensor_name) const {
  const int64_t at = find_by_name(tensors_, tensors_by_name_, tensor_name, [](const auto& t) { return t.name; });
  return at < 0 ? nullptr : &tensors_[static_cast<size_t>(at)];
}

const GgufTensor& GgufFile::tensor(std::string_view tensor_name) const {
  const GgufTensor* found = find(tensor_name);
  if (found == nullptr)
    throw IoError("{}: tensor '{}' is missing; {} tensors are there", name_, tensor_name, tensors_.size());
  return *found;
}

const GgufEntry* GgufFile::find_entry(std::string_view key) const {
  const int64_t at = find_by_name(metadata_, metadata_by_key_, key, [](const auto& e) { return e.key; });
  return at < 0 ? nullptr : &metadata_[static_cast<size_t>(at)];
}

const GgufEntry& GgufFile::entry(std::string_view key) const {
  const GgufEntry* found = find_entry(key);
  if (found == nullptr) throw IoError("{}: metadata key '{}' is missing; the model needs it", name_, key);
  return *found;
}

uint64_t GgufFile::get_u64(std::string_view key, std::optional<uint64_t> missing) const {
  if (missing && !has(key)) return *missing;
  const GgufEntry& found = entry(key);
  return integer_at<uint64_t>(name_, found, found.type, found.payload.data(), "an integer");
}

int64_t GgufFile::get_i64(std::string_view key, std::optional<int64_t> missing) const {
  if (missing && !has(key)) return *missing;
  const GgufEntry& found = entry(key);
  return integer_at<int64_t>(name_, found, found.type, found.payload.data(), "an integer");
}

float GgufFile::get_f32(std::string_view key, std::optional<float> missing) const {
  if (missing && !has(key)) return *missing;
  const GgufEntry& found = entry(key);
  return float_at(name_, found, found.type, found.payload.data(), "a number");
}

bool GgufFile::get_bool(std::string_view key, std::optional<bool> missing) const {
  if (missing && !has(key)) return *missing;
  const GgufEntry& found = entry(key);
  if (found.type != GgufValueType::Bool) throw_wrong_type(name_, found, "a bool");
  return found.payload[0] != std::byte{0};
}

std::string_view GgufFile::get_string(std::string_view key, std::optional<std::string_view> missing) const {
  if (missing && !has(key)) return *missing;
  const GgufEntry& found = entry(key);
  if (found.type != GgufValueType::String) throw_wrong_type(name_, found, "a string");
  const auto text = found.payload.subspan(sizeof(uint64_t));
  return {reinterpret_cast<const char*>(text.data()), text.size()};
}

std::vector<std::string_view> GgufFile::get_strings(std::string_view key) const {
  const GgufEntry& found = entry(key);
  if (found.element_type != GgufValueType::String) throw_wrong_type(name_, found, "an array of strings");
  std::vector<std::string_view> strings(found.count);
  const std::byte* at = first_element(found);  // lengths were checked when the file was opened
  for (std::string_view& text : strings) {
    const auto length = load<uint64_t>(at);
    text = {reinterpret_cast<const char*>(at + sizeof length), length};
    at += sizeof length + length;
  }
  return strings;
}

std::vector<int64_t> GgufFile::get_i64s(std::string_view key) const {
  const GgufEntry& found = entry(key);
  const GgufValueType type = found.element_type == GgufValueType::Bool ? GgufValueType::U8 : found.element_type;
  const std::byte* at = first_element(found);
  const uint64_t stride = gguf_value_bytes(type);
  std::vector<int64_t> values(found.count);
  for (int64_t& value : values) {
    value = integer_at<int64_t>(name_, found, type, at, "an array of integers");
    at += stride;
  }
  return values;
}

std::vector<float> GgufFile::get_f32s(std::string_view key) const {
  const GgufEntry& found = entry(key);
  const std::byte* at = first_element(found);
  const uint64_t stride = gguf_value_bytes(found.element_type);
  std::vector<float> values(found.count);
  for (float& value : values) {
    value = float_at(name_, found, found.element_type, at, "an array of numbers");
    at += stride;
  }
  return values;
}

void decode_tensor(const GgufTensor& tensor, float* out) {
  decode_blocks(tensor.type, tensor.bytes.data(), tensor.elements(), out);
}

}  // namespace halftone
