// Blocks of GGUF files into the layouts of numerics/formats.h; see gguf_storage.h.
//
// Codes, scales and minimums of a block are taken apart (numerics/gguf_blocks.h) and packed again, so nothing is lost.
// Codes of five and six bits take a byte each; where ggml subtracts dmin * min, minus dmin is stored.
#include "models/language/gguf_storage.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <vector>

#include "base/error.h"
#include "numerics/formats/micro_block.h"
#include "numerics/packing.h"

namespace halftone::models {
namespace {

constexpr int64_t kBlock = 32;

/// The element type that holds a GGUF type's codes. Q2_K is absent: its groups of 16 with minimums have no kernel.
struct KeptType {
  GgufType type;
  ElementType element;
};
constexpr KeptType kKeptTypes[] = {
    {GgufType::Q4_0, ElementType::Int4}, {GgufType::Q4_1, ElementType::Int4}, {GgufType::Q5_0, ElementType::Int8},
    {GgufType::Q5_1, ElementType::Int8}, {GgufType::Q8_0, ElementType::Int8}, {GgufType::Q3_K, ElementType::Int3},
    {GgufType::Q4_K, ElementType::Int4}, {GgufType::Q5_K, ElementType::Int8}, {GgufType::Q6_K, ElementType::Int8},
};

/// The scheme of a type that stays as it is stored, or none.
std::optional<QuantScheme> kept_scheme(GgufType type) {
  for (const KeptType& kept : kKeptTypes)
    if (kept.type == type) {
      const AffineType& info = *find_affine_type(type);
      return QuantScheme{.element = kept.element,
                         .granularity = info.elements == kBlock ? Granularity::Group : Granularity::SuperGroup,
                         .group = info.run,
                         .minimums = info.minimums};
    }
  return std::nullopt;
}

/// Where a tensor's scales or minimums go: an f16 a block, and with super-groups an i8 a run.
struct ScaleRows {
  uint16_t* halves;
  int8_t* factors = nullptr;

  ScaleRows(const QuantScheme& scheme, int64_t rows, int64_t columns, at::Tensor& half_tensor,
            at::Tensor& factor_tensor)
      : halves(nullptr) {
    half_tensor = at::empty({rows, scheme.scales(columns)}, at::kHalf);
    halves = static_cast<uint16_t*>(half_tensor.mutable_data_ptr());
    if (!scheme.has_group_scales()) return;
    factor_tensor = at::empty({rows, scheme.groups(columns)}, at::kChar);
    factors = factor_tensor.data_ptr<int8_t>();
  }
  void add(uint16_t half, const int8_t* runs, int64_t count) {
    *halves++ = half;
    if (factors != nullptr) factors = std::copy_n(runs, count, factors);
  }
};

QuantizedStorage relaid(const GgufTensor& tensor, const QuantScheme& scheme) {
  const AffineType& info = *find_affine_type(tensor.type);
  const int64_t blocks = tensor.columns() / info.elements, bytes_of_row = row_bytes(scheme.element, tensor.columns());
  const int64_t block_bytes = gguf_bytes(tensor.type, info.elements);
  QuantizedStorage q{.scheme = scheme, .rows = tensor.rows(), .columns = tensor.columns()};
  q.codes = at::empty({q.rows, bytes_of_row}, at::kByte);
  ScaleRows scales(scheme, q.rows, q.columns, q.scales, q.group_scales);
  std::optional<ScaleRows> mins;
  if (scheme.minimums) mins.emplace(scheme, q.rows, q.columns, q.mins, q.group_mins);
  std::vector<uint8_t> codes(static_cast<size_t>(q.columns));
  const int zero = scheme.zero_code();  // 0 for Int8, whose codes are signed
  const std::byte* next = tensor.bytes.data();
  BlockIntegers block;
  for (int64_t row = 0; row < q.rows; ++row) {
    for (int64_t b = 0; b < blocks; ++b, next += block_bytes) {
      unpack_block(tensor.type, next, block);
      scales.add(block.d, block.scales, info.elements / info.run);
      if (mins) mins->add(block.m, block.mins, info.elements / info.run);
      std::transform(block.codes, block.codes + info.elements, codes.begin() + b * info.elements,
                     [zero](int8_t code) { return static_cast<uint8_t>(code + zero); });
    }
    pack_codes(scheme.element, codes, q.codes.data_ptr<uint8_t>() + row * bytes_of_row);
  }
  return q;
}

/// Elements j and j + 16 of a byte become elements 2i and 2i + 1 of one.
FormatStorage relaid_mxfp4(const GgufTensor& tensor) {
  const int64_t groups = tensor.columns() / kBlock;
  FormatStorage storage{.format = micro_matrix_format("mxfp4"),
                        .rows = tensor.rows(),
                        .columns = tensor.columns(),
                        .codes = at::zeros({tensor.rows(), tensor.columns() / 2}, at::kByte),
                        .scales = at::empty({tensor.rows(), groups}, at::kByte)};
  auto* scales = storage.scales.data_ptr<uint8_t>();
  auto* codes = storage.codes.data_ptr<uint8_t>();
  const std::byte* next = tensor.bytes.data();
  for (int64_t index = 0; index < tensor.rows() * groups; ++index, next += sizeof(Mxfp4Block), codes += 16) {
    Mxfp4Block block;
    std::memcpy(&block, next, sizeof block);
    if (block.e == 0xff)
      throw IoError("tensor {}: block {} has the scale NaN; the file is damaged", tensor.name, index);
    scales[index] = block.e;
    for (int j = 0; j < kBlock; ++j) {
      const int code = block.qs[j % 16] >> j / 16 * 4 & 15;
      codes[j / 2] = static_cast<uint8_t>(codes[j / 2] | code << j % 2 * 4);
    }
  }
  return storage;
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
    case GgufType::MXFP4:
      return weights == Weights::Stored;
    default:
      return weights == Weights::Stored && kept_scheme(type).has_value();
  }
}

std::string loaded_format(GgufType type, Weights weights) {
  if (!keeps_format(type, weights)) return "f32";
  if (const auto scheme = kept_scheme(type)) return to_string(*scheme);
  switch (type) {
    case GgufType::MXFP4:
      return "mxfp4";
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
    if (const auto scheme = kept_scheme(tensor.type)) return relaid(tensor, *scheme);
    if (tensor.type == GgufType::MXFP4) return relaid_mxfp4(tensor);
  }
  return dense(tensor);
}

}  // namespace halftone::models
