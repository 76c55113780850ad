// Table and launcher of the KV cache's quantisation.
#include "kernels/api/quantize.h"

#include <fmt/format.h>

#include "kernels/cpu/quantize/quantize_kernel.h"
#include "numerics/reference/quantize.h"

namespace halftone::kernels {
namespace {

constexpr int64_t kInlineElements = 1 << 13;

int64_t grain_of(int64_t row_elements) { return std::max<int64_t>(1, kInlineElements / row_elements); }

/// Threads take whole groups of tokens: nibbles of neighbouring tokens share bytes.
template <const QuantizeKernel& Kernel>
void run_store_kv(ExecContext& context, const StoreKvProblem& p, const StoreKvArgs& a) {
  const int64_t head_bytes = kv_head_bytes(p.format, p.head_dim, a.capacity);
  const int64_t head_scales = kv_head_scales(p.format, a.capacity);
  const int64_t end = p.start + p.tokens, first_group = p.start / kKvGroup;
  const int64_t groups = (end + kKvGroup - 1) / kKvGroup - first_group;
  const auto store_group = [&](int64_t group) {
    for (int64_t t = std::max(p.start, group * kKvGroup); t < std::min(end, (group + 1) * kKvGroup); ++t)
      for (int64_t h = 0; h < p.kv_heads; ++h)
        Kernel.store_kv_row({.x = a.x + (t - p.start) * a.x_stride + h * p.head_dim,
                             .dim = p.head_dim,
                             .bits = bits_of(p.format),
                             .keys = p.side == KvSide::Keys,
                             .position = t,
                             .head = static_cast<unsigned char*>(a.codes) + h * head_bytes,
                             .scales = head_scales == 0 ? nullptr : a.scales + h * head_scales});
  };
  context.pool.parallel_for(groups, grain_of(kKvGroup * p.kv_heads * p.head_dim),
                            [&](int64_t begin, int64_t stop, int) {
                              for (int64_t i = begin; i < stop; ++i) store_group(first_group + i);
                            });
}

void reference_store_kv(ExecContext&, const StoreKvProblem& p, const StoreKvArgs& a) {
  reference::store_kv({.tokens = p.tokens,
                       .start = p.start,
                       .kv_heads = p.kv_heads,
                       .head_dim = p.head_dim,
                       .format = p.format,
                       .side = p.side,
                       .x = a.x,
                       .x_stride = a.x_stride,
                       .codes = a.codes,
                       .scales = a.scales,
                       .capacity = a.capacity});
}

Rejection malformed(const StoreKvProblem& p) {
  if (p.tokens < 1 || p.start < 0 || p.kv_heads < 1 || p.head_dim < 1)
    return "tokens, kv_heads and head_dim must be at least 1, start at least 0";
  if (p.format == ElementType::BFloat16 || bits_of(p.format) < 4)
    return fmt::format("cache format {} is not one of f32, f16, int8, int4", to_string(p.format));
  return {};
}

Rejection needs_vectors(const StoreKvProblem& p) {
  if (p.head_dim % 16 != 0) return fmt::format("head_dim {} is no multiple of 16", p.head_dim);
  return malformed(p);
}

constexpr KernelEntry<StoreKvProblem, StoreKvArgs> kStoreKv[] = {
    {"avx512", Isa::Avx512, needs_vectors, run_store_kv<avx512::kQuantize>},
    {"avx2", Isa::Avx2, needs_vectors, run_store_kv<avx2::kQuantize>},
    {"reference", Isa::Scalar, malformed, reference_store_kv},
};

}  // namespace

std::string to_string(const StoreKvProblem& p) {
  return fmt::format("tokens={} start={} kv_heads={} head_dim={} format={} side={}", p.tokens, p.start, p.kv_heads,
                     p.head_dim, to_string(p.format), p.side == KvSide::Keys ? "keys" : "values");
}

KernelTable<StoreKvProblem, StoreKvArgs> store_kv_table() { return kStoreKv; }

void store_kv(ExecContext& context, const StoreKvProblem& p, const StoreKvArgs& a) {
  if (const Rejection why = malformed(p); !why.empty()) throw InvalidArgument("store_kv {}: {}", to_string(p), why);
  if (a.x == nullptr || a.codes == nullptr || (bits_of(p.format) <= 8 && a.scales == nullptr))
    throw InvalidArgument("store_kv {}: x, codes and, for integer formats, scales must not be null", to_string(p));
  if (a.capacity < p.start + p.tokens || (p.tokens > 1 && a.x_stride < p.kv_heads * p.head_dim))
    throw InvalidArgument("store_kv {}: capacity {} must be at least start + tokens, x_stride {} kv_heads * head_dim",
                          to_string(p), a.capacity, a.x_stride);
  run_selected("store_kv", store_kv_table(), context, p, a);
}

}  // namespace halftone::kernels
