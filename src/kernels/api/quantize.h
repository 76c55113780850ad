// Quantisation of KV-cache entries at run time; that of activations is in packed_gemm.h.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/api/table.h"
#include "numerics/kv_layout.h"

namespace halftone::kernels {

/// Writes rows of keys or values into the cache, laid out as numerics/kv_layout.h draws it.
/// Int8 and Int4 are asymmetric per token and head (QServe, arXiv:2405.04532 section 5.3):
/// scale = (max - min) / 255 or 15, zero = -min / scale kept in floating point, code = clamp(round(x / scale + zero));
/// value = (code - zero) * scale. Other positions keep what they hold.
struct StoreKvProblem {
  int64_t tokens = 0;
  int64_t start = 0;  ///< position of the first token written
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  ElementType format = ElementType::Float16;  ///< Float32, Float16, Int8 or Int4
  KvSide side = KvSide::Keys;
};
struct StoreKvArgs {
  const float* x = nullptr;  ///< [tokens, kv_heads, head_dim], rows `x_stride` floats apart (>= kv_heads*head_dim)
  int64_t x_stride = 0;
  void* codes = nullptr;       ///< the whole cache: kv_heads times kv_head_bytes(format, head_dim, capacity) bytes
  uint16_t* scales = nullptr;  ///< kv_heads times kv_head_scales(format, capacity) f16 values; null for floats
  int64_t capacity = 0;        ///< tokens that the cache has room for
};
std::string to_string(const StoreKvProblem& problem);
KernelTable<StoreKvProblem, StoreKvArgs> store_kv_table();
void store_kv(ExecContext& context, const StoreKvProblem& problem, const StoreKvArgs& args);

}  // namespace halftone::kernels
