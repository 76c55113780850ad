// Allocation of and writing to the cache; see kv_store.h.
#include "nn/kv_store.h"

#include <ATen/ops/zeros.h>

#include "base/error.h"
#include "kernels/api/quantize.h"

namespace halftone::nn {
namespace {

constexpr int64_t kScaleBytes = 4;  // f16 scale and f16 zero of a token and head
bool has_scales(ElementType format) { return bits_of(format) <= 8; }

kernels::KvView view_of(const at::Tensor& codes, const at::Tensor& scales) {
  return {.codes = codes.const_data_ptr(),
          .scales = scales.defined() ? reinterpret_cast<const uint16_t*>(scales.const_data_ptr<at::Half>()) : nullptr};
}

}  // namespace

int64_t kv_bytes_per_token(const KvShape& shape, ElementType format) {
  const int64_t row = row_bytes(format, shape.head_dim) + (has_scales(format) ? kScaleBytes : 0);
  return 2 * shape.layers * shape.kv_heads * row;
}

ElementType parse_kv_format(std::string_view name) {
  for (const auto type : {ElementType::Float32, ElementType::Float16, ElementType::Int8, ElementType::Int4})
    if (to_string(type) == name) return type;
  throw InvalidArgument("KV cache format '{}' is unknown; it is one of f32, f16, int8, int4", name);
}

KvStore::KvStore(const KvShape& shape, ElementType format, int64_t capacity)
    : shape_(shape), format_(format), capacity_(capacity) {
  parse_kv_format(to_string(format));
  if (capacity < 1) throw InvalidArgument("a KV cache for {} tokens holds nothing; ask for at least 1", capacity);
  const int64_t bytes = row_bytes(format, shape.head_dim);
  for (auto* side : {&keys_, &values_})
    for (int64_t layer = 0; layer < shape.layers; ++layer) {
      side->push_back({at::zeros({shape.kv_heads, capacity, bytes}, at::kByte), {}});
      if (has_scales(format)) side->back().scales = at::zeros({shape.kv_heads, capacity, 2}, at::kHalf);
    }
}

void KvStore::append(ExecContext& exec, int64_t layer, const at::Tensor& keys, const at::Tensor& values) {
  for (const auto* x : {&keys, &values})
    if (x->numel() != keys.size(0) * shape_.kv_heads * shape_.head_dim || x->scalar_type() != at::kFloat ||
        !x->is_contiguous())
      throw InvalidArgument("a KV cache of {} heads of {} elements takes contiguous f32 [{}, {}, {}], got {} elements",
                            shape_.kv_heads, shape_.head_dim, keys.size(0), shape_.kv_heads, shape_.head_dim,
                            x->numel());
  if (length_ + keys.size(0) > capacity_)
    throw InvalidArgument(
        "{} more tokens do not fit a context of {} that holds {}; raise the context or shorten the prompt",
        keys.size(0), capacity_, length_);
  store(exec, keys, keys_.at(layer).codes, keys_.at(layer).scales);
  store(exec, values, values_.at(layer).codes, values_.at(layer).scales);
}

void KvStore::store(ExecContext& exec, const at::Tensor& x, at::Tensor& codes, at::Tensor& scales) {
  const int64_t bytes = row_bytes(format_, shape_.head_dim);
  kernels::store_kv(
      exec, {.tokens = x.size(0), .kv_heads = shape_.kv_heads, .head_dim = shape_.head_dim, .format = format_},
      {.x = x.const_data_ptr<float>(),
       .x_stride = shape_.kv_heads * shape_.head_dim,
       .codes = codes.data_ptr<uint8_t>() + length_ * bytes,
       .scales = scales.defined() ? reinterpret_cast<uint16_t*>(scales.data_ptr<at::Half>()) + length_ * 2 : nullptr,
       .capacity = capacity_});
}

void KvStore::truncate(int64_t length) {
  if (length < 0 || length > length_)
    throw InvalidArgument("a KV cache of {} tokens cannot be cut to {}", length_, length);
  length_ = length;
}

kernels::KvView KvStore::keys(int64_t layer) const { return view_of(keys_.at(layer).codes, keys_.at(layer).scales); }
kernels::KvView KvStore::values(int64_t layer) const {
  return view_of(values_.at(layer).codes, values_.at(layer).scales);
}

}  // namespace halftone::nn
