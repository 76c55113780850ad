// Layout of GGUF version 3 (docs/gguf.md of ggml); the drawing is in gguf_parser.cpp.
#include "io/gguf/gguf_writer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/atomic_file.h"
#include "base/error.h"
#include "io/byte_reader.h"

namespace halftone {
namespace {

constexpr uint64_t kAlignment = 32;
constexpr size_t kMaxNameForLlamaCpp = 63;

uint64_t align(uint64_t position) { return (position + kAlignment - 1) / kAlignment * kAlignment; }

template <class T>
void append(std::string& to, T value) {
  char bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  to.append(bytes, sizeof bytes);
}

void append_string(std::string& to, std::string_view text) {
  append<uint64_t>(to, text.size());
  to += text;
}

template <class T>
std::string scalar(T value) {
  std::string payload;
  append(payload, value);
  return payload;
}

std::string array_header(GgufValueType type, size_t count) {
  std::string payload;
  append(payload, static_cast<uint32_t>(type));
  append<uint64_t>(payload, count);
  return payload;
}

template <class T>
std::string array(GgufValueType type, std::span<const T> values) {
  std::string payload = array_header(type, values.size());
  for (const T value : values) append(payload, value);
  return payload;
}

bool has_control_characters(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

}  // namespace

void GgufWriter::set(std::string_view key, GgufValueType type, std::string payload) {
  if (key.empty() || key.size() > 65535 || has_control_characters(key))
    throw InvalidArgument("metadata key '{}' of {} bytes, wanted 1..65535 without control characters", printable(key),
                          key.size());
  const auto at = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) { return entry.key == key; });
  if (at == entries_.end())
    entries_.push_back({std::string(key), type, std::move(payload)});
  else
    *at = {std::string(key), type, std::move(payload)};
}

void GgufWriter::set_u32(std::string_view key, uint32_t value) { set(key, GgufValueType::U32, scalar(value)); }
void GgufWriter::set_i32(std::string_view key, int32_t value) { set(key, GgufValueType::I32, scalar(value)); }
void GgufWriter::set_u64(std::string_view key, uint64_t value) { set(key, GgufValueType::U64, scalar(value)); }
void GgufWriter::set_f32(std::string_view key, float value) { set(key, GgufValueType::F32, scalar(value)); }
void GgufWriter::set_bool(std::string_view key, bool value) {
  set(key, GgufValueType::Bool, scalar<uint8_t>(value ? 1 : 0));
}

void GgufWriter::set_string(std::string_view key, std::string_view value) {
  std::string payload;
  append_string(payload, value);
  set(key, GgufValueType::String, std::move(payload));
}

void GgufWriter::set_strings(std::string_view key, std::span<const std::string_view> values) {
  std::string payload = array_header(GgufValueType::String, values.size());
  for (const std::string_view value : values) append_string(payload, value);
  set(key, GgufValueType::Array, std::move(payload));
}

void GgufWriter::set_i32s(std::string_view key, std::span<const int32_t> values) {
  set(key, GgufValueType::Array, array(GgufValueType::I32, values));
}

void GgufWriter::set_f32s(std::string_view key, std::span<const float> values) {
  set(key, GgufValueType::Array, array(GgufValueType::F32, values));
}

void GgufWriter::remove(std::string_view key) {
  std::erase_if(entries_, [&](const Entry& entry) { return entry.key == key; });
}

void GgufWriter::copy_metadata(const GgufFile& source) {
  for (const GgufEntry& entry : source.metadata()) {
    if (entry.key == "general.alignment" || entry.key.starts_with("split.")) continue;
    set(entry.key, entry.type, std::string(reinterpret_cast<const char*>(entry.payload.data()), entry.payload.size()));
  }
}

GgufWriter::Tensor& GgufWriter::append_tensor(std::string_view name, std::span<const int64_t> dims, GgufType type) {
  if (name.empty() || name.size() > kMaxNameForLlamaCpp || has_control_characters(name))
    throw InvalidArgument("tensor name '{}' of {} bytes, wanted 1..{} without control characters", printable(name),
                          name.size(), kMaxNameForLlamaCpp);
  if (std::any_of(tensors_.begin(), tensors_.end(), [&](const Tensor& tensor) { return tensor.name == name; }))
    throw InvalidArgument("tensor '{}' was added before; names must differ", name);
  if (dims.empty() || dims.size() > 4)
    throw InvalidArgument("tensor '{}' has {} dimensions, wanted 1..4", name, dims.size());
  int64_t elements = 1;
  for (const int64_t dim : dims)
    if (dim < 1 || __builtin_mul_overflow(elements, dim, &elements) || elements > INT64_MAX / 8)
      throw InvalidArgument("tensor '{}' has a dimension of {}, or more than 2^60 elements", name, dim);
  const GgufTypeInfo* info = find_gguf_type(static_cast<uint32_t>(type));
  if (info == nullptr) throw InvalidArgument("tensor '{}' has no known type", name);
  if (dims[0] % info->block_elements != 0)
    throw InvalidArgument(
        "tensor '{}' has rows of {} elements, {} needs a multiple of {}; choose a type with smaller "
        "blocks",
        name, dims[0], info->name, info->block_elements);
  const uint64_t offset = tensors_.empty() ? 0 : align(tensors_.back().offset + tensors_.back().size_bytes);
  const auto size_bytes = static_cast<uint64_t>(gguf_bytes(type, elements));
  tensors_.push_back({std::string(name), {dims.begin(), dims.end()}, type, offset, size_bytes, {}, {}});
  return tensors_.back();
}

void GgufWriter::add_tensor(std::string_view name, std::span<const int64_t> dims, GgufType type,
                            std::span<const std::byte> bytes) {
  Tensor& tensor = append_tensor(name, dims, type);
  tensor.bytes = bytes;
  if (const uint64_t wanted = tensor.size_bytes; bytes.size() != wanted) {
    tensors_.pop_back();
    throw InvalidArgument("tensor '{}' was given {} bytes, its dimensions in {} take {}", name, bytes.size(),
                          to_string(type), wanted);
  }
}

void GgufWriter::add_tensor(std::string_view name, std::span<const int64_t> dims, GgufType type, Producer produce) {
  if (!produce) throw InvalidArgument("tensor '{}' was given an empty producer", name);
  append_tensor(name, dims, type).produce = std::move(produce);
}

std::string GgufWriter::header() const {
  std::string out = "GGUF";
  append<uint32_t>(out, 3);
  append<uint64_t>(out, tensors_.size());
  append<uint64_t>(out, entries_.size());
  for (const Entry& entry : entries_) {
    append_string(out, entry.key);
    append(out, static_cast<uint32_t>(entry.type));
    out += entry.payload;
  }
  for (const Tensor& tensor : tensors_) {
    append_string(out, tensor.name);
    append(out, static_cast<uint32_t>(tensor.dims.size()));
    for (const int64_t dim : tensor.dims) append(out, dim);
    append(out, static_cast<uint32_t>(tensor.type));
    append(out, tensor.offset);
  }
  out.resize(align(out.size()), '\0');
  return out;
}

void GgufWriter::write_to(const Sink& sink) const {
  static constexpr std::byte kZeros[kAlignment] = {};
  const std::string front = header();
  sink(std::as_bytes(std::span(front)));
  std::vector<std::byte> buffer;
  for (const Tensor& tensor : tensors_) {
    if (tensor.produce) {
      buffer.resize(tensor.size_bytes);
      tensor.produce(buffer);
    }
    sink(tensor.produce ? std::span<const std::byte>(buffer) : tensor.bytes);
    sink(std::span(kZeros).first(align(tensor.size_bytes) - tensor.size_bytes));
  }
}

void GgufWriter::write(const std::filesystem::path& path) const {
  AtomicFile file(path);
  write_to([&](std::span<const std::byte> bytes) { file.write(bytes); });
  file.commit();
}

std::string GgufWriter::to_bytes() const {
  std::string all;
  write_to(
      [&](std::span<const std::byte> bytes) { all.append(reinterpret_cast<const char*>(bytes.data()), bytes.size()); });
  return all;
}

}  // namespace halftone
