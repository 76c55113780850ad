// Blocks of GGUF files into the layouts of numerics/formats.h; see gguf_storage.h.
//
// A block of Q4_0 holds element j in the low nibble of byte j and element 16 + j in the high one; a chunk of ours holds
// the first of two blocks in the low nibbles of its 32 bytes and the second in the high ones. Both count codes from
// zero 8, and both scale by f16, so moving nibbles loses nothing.
#include "models/language/gguf_storage.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <cstring>

#include "base/error.h"

namespace halftone::models {
namespace {

constexpr int64_t kBlock = 32;

void place_codes(const Q4_0Block& block, int64_t index, uint8_t* row) {
  uint8_t* chunk = row + index / 2 * kBlock;
  const int shift = index % 2 == 0 ? 0 : 4;
  for (int j = 0; j < 16; ++j) {
    chunk[j] = static_cast<uint8_t>(chunk[j] | (block.qs[j] & 15) << shift);
    chunk[16 + j] = static_cast<uint8_t>(chunk[16 + j] | block.qs[j] >> 4 << shift);
  }
}

void place_codes(const Q8_0Block& block, int64_t index, uint8_t* row) {
  std::memcpy(row + index * kBlock, block.qs, sizeof block.qs);
}

constexpr QuantScheme groups_of(ElementType element) {
  return {.element = element, .granularity = Granularity::Group, .group = kBlock};
}

template <class Block>
QuantizedStorage relaid(const GgufTensor& tensor, ElementType element) {
  const int64_t groups = tensor.columns() / kBlock, bytes_of_row = row_bytes(element, tensor.columns());
  QuantizedStorage q{.scheme = groups_of(element),
                     .rows = tensor.rows(),
                     .columns = tensor.columns(),
                     .codes = at::zeros({tensor.rows(), bytes_of_row}, at::kByte),
                     .scales = at::empty({tensor.rows(), groups}, at::kHalf)};
  auto* scales = reinterpret_cast<uint16_t*>(q.scales.data_ptr<at::Half>());
  auto* codes = q.codes.data_ptr<uint8_t>();
  const std::byte* next = tensor.bytes.data();
  for (int64_t row = 0; row < q.rows; ++row)
    for (int64_t group = 0; group < groups; ++group, next += sizeof(Block)) {
      Block block;
      std::memcpy(&block, next, sizeof block);
      scales[row * groups + group] = block.d;
      place_codes(block, group, codes + row * bytes_of_row);
    }
  return q;
}

Storage dense(const GgufTensor& tensor) {
  const bool half = tensor.type == GgufType::F16, bfloat = tensor.type == GgufType::BF16;
  at::Tensor out = at::empty({tensor.rows(), tensor.columns()}, half ? at::kHalf : bfloat ? at::kBFloat16 : at::kFloat);
  if (half || bfloat)
    std::memcpy(out.mutable_data_ptr(), tensor.bytes.data(), tensor.bytes.size());
  else
    decode_tensor(tensor, out.data_ptr<float>());
  return DenseStorage{std::move(out)};
}

}  // namespace

std::string_view to_string(Weights weights) { return weights == Weights::Stored ? "stored" : "f32"; }

Weights parse_weights(std::string_view name) {
  if (name == "stored") return Weights::Stored;
  if (name == "f32") return Weights::Float32;
  throw InvalidArgument("weights '{}' is unknown; it is stored or f32", name);
}

bool keeps_format(GgufType type, Weights weights) {
  switch (type) {
    case GgufType::F32:
    case GgufType::F16:
    case GgufType::BF16:
      return true;
    case GgufType::Q4_0:
    case GgufType::Q8_0:
      return weights == Weights::Stored;
    default:
      return false;
  }
}

std::string loaded_format(GgufType type, Weights weights) {
  if (!keeps_format(type, weights)) return "f32";
  switch (type) {
    case GgufType::Q4_0:
      return to_string(groups_of(ElementType::Int4));
    case GgufType::Q8_0:
      return to_string(groups_of(ElementType::Int8));
    case GgufType::F16:
      return "f16";
    case GgufType::BF16:
      return "bf16";
    default:
      return "f32";
  }
}

Storage storage_from_gguf(const GgufTensor& tensor, Weights weights) {
  if (keeps_format(tensor.type, weights)) {
    if (tensor.type == GgufType::Q4_0) return relaid<Q4_0Block>(tensor, ElementType::Int4);
    if (tensor.type == GgufType::Q8_0) return relaid<Q8_0Block>(tensor, ElementType::Int8);
  }
  return dense(tensor);
}

}  // namespace halftone::models
