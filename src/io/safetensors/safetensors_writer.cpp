// Writing of safetensors files, with the order and padding of the original's serialiser, so that the same tensors give
// the same bytes.
#include <algorithm>
#include <cstring>
#include <functional>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/json.h"
#include "io/byte_reader.h"
#include "io/safetensors/safetensors.h"

namespace halftone {
namespace {

using Sink = std::function<void(std::span<const std::byte>)>;

/// `text` as a JSON string with its quotes.
std::string quoted(const std::string& text) {
  try {
    return Json(text).dump();
  } catch (const Json::type_error&) {
    throw InvalidArgument("'{}' is not UTF-8; safetensors headers hold UTF-8 only", printable(text));
  }
}

void check_tensor(const TensorView& tensor) {
  int64_t bits = bits_of(tensor.type);
  for (const int64_t dim : tensor.shape)
    if (dim < 0 || __builtin_mul_overflow(bits, dim, &bits))
      throw InvalidArgument("tensor '{}' has a dimension of {}, or more than 2^63 bits", printable(tensor.name), dim);
  if (bits % 8 != 0 || tensor.bytes.size() != static_cast<uint64_t>(bits) / 8)
    throw InvalidArgument("tensor '{}' was given {} bytes, its shape in {} takes {} bits (whole bytes only)",
                          printable(tensor.name), tensor.bytes.size(), to_string(tensor.type), bits);
  if (tensor.name == "__metadata__") throw InvalidArgument("no tensor may be called '__metadata__'");
}

/// By descending type, then by name.
std::vector<const TensorView*> in_file_order(std::span<const TensorView> tensors) {
  std::vector<const TensorView*> order;
  for (const TensorView& tensor : tensors) {
    check_tensor(tensor);
    order.push_back(&tensor);
  }
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) { return a->name < b->name; });
  for (size_t i = 1; i < order.size(); ++i)
    if (order[i]->name == order[i - 1]->name)
      throw InvalidArgument("two tensors are called '{}'; names must differ", printable(order[i]->name));
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) { return a->type > b->type; });
  return order;
}

std::string header_json(const std::vector<const TensorView*>& order, const SafetensorsMetadata& metadata) {
  std::string json = "{";
  const auto comma = [&json] {
    if (json.back() != '{') json += ',';
  };
  if (!metadata.empty()) {
    json += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) {
      comma();
      json += quoted(key) + ':' + quoted(value);
    }
    json += '}';
  }
  uint64_t offset = 0;
  for (const TensorView* tensor : order) {
    comma();
    std::string shape;
    for (const int64_t dim : tensor->shape) shape += (shape.empty() ? "" : ",") + std::to_string(dim);
    json += fmt::format(R"({}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", quoted(tensor->name),
                        to_string(tensor->type), shape, offset, offset + tensor->bytes.size());
    offset += tensor->bytes.size();
  }
  json += '}';
  json.resize((json.size() + 7) / 8 * 8, ' ');
  if (json.size() > kMaxSafetensorsHeaderBytes)
    throw InvalidArgument("the header takes {} bytes, safetensors allows {}; write fewer tensors or less metadata",
                          json.size(), kMaxSafetensorsHeaderBytes);
  return json;
}

void write_to(const Sink& sink, std::span<const TensorView> tensors, const SafetensorsMetadata& metadata) {
  const auto order = in_file_order(tensors);
  const std::string header = header_json(order, metadata);
  const uint64_t header_bytes = header.size();
  sink(std::as_bytes(std::span(&header_bytes, 1)));
  sink(std::as_bytes(std::span(header)));
  for (const TensorView* tensor : order)
    if (!tensor->bytes.empty()) sink(tensor->bytes);  // an empty view may hold a null pointer
}

}  // namespace

void write_safetensors(const std::filesystem::path& path, std::span<const TensorView> tensors,
                       const SafetensorsMetadata& metadata) {
  AtomicFile file(path);
  write_to([&](std::span<const std::byte> bytes) { file.write(bytes); }, tensors, metadata);
  file.commit();
}

std::string to_safetensors(std::span<const TensorView> tensors, const SafetensorsMetadata& metadata) {
  std::string all;
  write_to(
      [&](std::span<const std::byte> bytes) { all.append(reinterpret_cast<const char*>(bytes.data()), bytes.size()); },
      tensors, metadata);
  return all;
}

}  // namespace halftone
