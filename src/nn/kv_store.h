// The key-value cache of a decoder, in one of the formats of kernels/api/attention.h and the layout of
// numerics/kv_layout.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "base/exec_context.h"
#include "kernels/api/attention.h"

namespace halftone::nn {

struct KvShape {
  int64_t layers = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
};

/// Bytes that one token adds: keys and values of all layers, with scales and zero points of the integer formats.
int64_t kv_bytes_per_token(const KvShape& shape, ElementType format);
/// "f32", "f16", "int8" or "int4"; throws InvalidArgument for other formats.
ElementType parse_kv_format(std::string_view name);

class KvStore {
 public:
  /// Room for `capacity` tokens in `format` (Float32, Float16, Int8 or Int4).
  KvStore(const KvShape& shape, ElementType format, int64_t capacity);

  ElementType format() const { return format_; }
  int64_t capacity() const { return capacity_; }
  int64_t length() const { return length_; }  ///< tokens held, the same in every layer

  /// Throws InvalidArgument naming both numbers when `tokens` more do not fit.
  void require_room(int64_t tokens) const;
  /// Writes keys and values [T, Hkv, D] f32 (keys after RoPE) of `layer` at positions length() ... length()+T-1.
  /// Throws InvalidArgument as require_room does.
  void append(ExecContext& exec, int64_t layer, const at::Tensor& keys, const at::Tensor& values);
  /// The same from rows of [Hkv, D] that are `stride` floats apart.
  void append(ExecContext& exec, int64_t layer, int64_t tokens, const float* keys, const float* values, int64_t stride);
  /// Marks `tokens` appended in every layer.
  void advance(int64_t tokens) { length_ += tokens; }
  /// Forgets the tokens from `length` on.
  void truncate(int64_t length);

  /// Points `append` at the cache of `layer`: attention may write the tokens that follow.
  void accept(int64_t layer, kernels::AttentionAppend& append);

  kernels::KvView keys(int64_t layer) const;
  kernels::KvView values(int64_t layer) const;

 private:
  struct Side {                  // of a layer, laid out as numerics/kv_layout.h draws it
    uint8_t* codes = nullptr;    ///< [Hkv, kv_head_bytes]
    uint16_t* scales = nullptr;  ///< f16 [Hkv, kv_head_scales], integer formats only
  };
  void store(ExecContext& exec, int64_t tokens, const float* x, int64_t stride, KvSide side, Side& cache);

  KvShape shape_;
  ElementType format_;
  int64_t capacity_;
  int64_t length_ = 0;
  std::shared_ptr<std::byte> memory_;  ///< of all sides
  std::vector<Side> keys_, values_;
};

}  // namespace halftone::nn
