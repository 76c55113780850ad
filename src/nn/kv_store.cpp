// Allocation of and writing to the cache; see kv_store.h.
#include "nn/kv_store.h"

#include "base/error.h"
#include "base/huge_pages.h"
#include "kernels/api/quantize.h"

namespace halftone::nn {
namespace {

constexpr int64_t kScaleBytes = 4;  // f16 scale and f16 zero of a token and head
bool has_scales(ElementType format) { return bits_of(format) <= 8; }
int64_t in_lines(int64_t bytes) { return (bytes + 63) / 64 * 64; }

}  // namespace

int64_t kv_bytes_per_token(const KvShape& shape, ElementType format) {
  const int64_t row = kv_token_bytes(format, shape.head_dim) + (has_scales(format) ? kScaleBytes : 0);
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
  const int64_t codes = in_lines(shape.kv_heads * kv_head_bytes(format, shape.head_dim, capacity));
  const int64_t scales = has_scales(format) ? in_lines(2 * shape.kv_heads * kv_head_scales(format, capacity)) : 0;
  memory_ = shared_huge_pages(static_cast<size_t>(2 * shape.layers * (codes + scales)));
  auto* next = reinterpret_cast<uint8_t*>(memory_.get());
  for (int64_t layer = 0; layer < shape.layers; ++layer)
    for (auto* side : {&keys_, &values_}) {
      side->push_back({.codes = next, .scales = scales > 0 ? reinterpret_cast<uint16_t*>(next + codes) : nullptr});
      next += codes + scales;
    }
}

void KvStore::append(ExecContext& exec, int64_t layer, const at::Tensor& keys, const at::Tensor& values) {
  for (const auto* x : {&keys, &values})
    if (x->numel() != keys.size(0) * shape_.kv_heads * shape_.head_dim || x->scalar_type() != at::kFloat ||
        !x->is_contiguous())
      throw InvalidArgument("a KV cache of {} heads of {} elements takes contiguous f32 [{}, {}, {}], got {} elements",
                            shape_.kv_heads, shape_.head_dim, keys.size(0), shape_.kv_heads, shape_.head_dim,
                            x->numel());
  append(exec, layer, keys.size(0), keys.const_data_ptr<float>(), values.const_data_ptr<float>(),
         shape_.kv_heads * shape_.head_dim);
}

void KvStore::require_room(int64_t tokens) const {
  if (length_ + tokens > capacity_)
    throw InvalidArgument(
        "{} more tokens do not fit a context of {} that holds {}; raise the context or shorten the prompt", tokens,
        capacity_, length_);
}

void KvStore::append(ExecContext& exec, int64_t layer, int64_t tokens, const float* keys, const float* values,
                     int64_t stride) {
  require_room(tokens);
  store(exec, tokens, keys, stride, KvSide::Keys, keys_.at(layer));
  store(exec, tokens, values, stride, KvSide::Values, values_.at(layer));
}

void KvStore::store(ExecContext& exec, int64_t tokens, const float* x, int64_t stride, KvSide side, Side& cache) {
  kernels::store_kv(exec,
                    {.tokens = tokens,
                     .start = length_,
                     .kv_heads = shape_.kv_heads,
                     .head_dim = shape_.head_dim,
                     .format = format_,
                     .side = side},
                    {.x = x, .x_stride = stride, .codes = cache.codes, .scales = cache.scales, .capacity = capacity_});
}

void KvStore::truncate(int64_t length) {
  if (length < 0 || length > length_)
    throw InvalidArgument("a KV cache of {} tokens cannot be cut to {}", length_, length);
  length_ = length;
}

void KvStore::accept(int64_t layer, kernels::AttentionAppend& append) {
  Side &keys = keys_.at(layer), &values = values_.at(layer);
  append.key_codes = keys.codes, append.key_scales = keys.scales;
  append.value_codes = values.codes, append.value_scales = values.scales;
}

kernels::KvView KvStore::keys(int64_t layer) const { return {keys_.at(layer).codes, keys_.at(layer).scales}; }
kernels::KvView KvStore::values(int64_t layer) const { return {values_.at(layer).codes, values_.at(layer).scales}; }

}  // namespace halftone::nn
