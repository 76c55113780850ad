// Tables and launchers of run-time quantisation. Kernels report a bad row by their status; the launcher throws, on the
// calling thread, once all rows are done.
#include "kernels/api/quantize.h"

#include <fmt/format.h>

#include <atomic>
#include <cstring>

#include "kernels/cpu/quantize/quantize_kernel.h"
#include "numerics/reference/quantize.h"

namespace halftone::kernels {
namespace {

constexpr int64_t kInlineElements = 1 << 13;

int64_t grain_of(int64_t row_elements) { return std::max<int64_t>(1, kInlineElements / row_elements); }

[[noreturn]] void refuse_row(const QuantizeRowsProblem& problem, int64_t row) {
  throw NumericError(
      "quantize_rows {}: row {} holds a NaN or an infinity, int8 codes need finite values; look for an overflow in the "
      "layer before it",
      to_string(problem), row);
}

template <const QuantizeKernel& Kernel>
void run_quantize_rows(ExecContext& context, const QuantizeRowsProblem& p, const QuantizeRowsArgs& a) {
  std::atomic<int64_t> first_bad{INT64_MAX};
  context.pool.parallel_for(p.rows, grain_of(p.k), [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      if (Kernel.quantize_row(a.x + r * a.x_stride, p.k, a.codes + r * a.code_stride, a.code_stride, a.scales + r))
        continue;
      int64_t seen = first_bad.load();
      while (r < seen && !first_bad.compare_exchange_weak(seen, r)) {
      }
    }
  });
  if (first_bad.load() != INT64_MAX) refuse_row(p, first_bad.load());
}

void reference_quantize_rows(ExecContext&, const QuantizeRowsProblem& p, const QuantizeRowsArgs& a) {
  const int64_t bad = reference::quantize_rows(p.rows, p.k, a.x, a.x_stride, a.codes, a.code_stride, a.scales);
  if (bad >= 0) refuse_row(p, bad);
}

Rejection malformed(const QuantizeRowsProblem& p) {
  return p.rows < 1 || p.k < 1 ? "rows and k must be at least 1" : Rejection{};
}

constexpr KernelEntry<QuantizeRowsProblem, QuantizeRowsArgs> kQuantizeRows[] = {
    {"avx512", Isa::Avx512, malformed, run_quantize_rows<avx512::kQuantize>},
    {"avx2", Isa::Avx2, malformed, run_quantize_rows<avx2::kQuantize>},
    {"reference", Isa::Scalar, malformed, reference_quantize_rows},
};

void store_row(const QuantizeKernel& kernel, ElementType format, const float* x, int64_t dim, unsigned char* out,
               uint16_t* scale) {
  switch (format) {
    case ElementType::Float32:
      std::memcpy(out, x, sizeof(float) * static_cast<size_t>(dim));
      return;
    case ElementType::Float16:
      kernel.store_half(x, dim, reinterpret_cast<uint16_t*>(out));
      return;
    case ElementType::Int8:
      kernel.store_int8(x, dim, out, scale);
      return;
    default:
      kernel.store_int4(x, dim, out, scale);
      return;
  }
}

template <const QuantizeKernel& Kernel>
void run_store_kv(ExecContext& context, const StoreKvProblem& p, const StoreKvArgs& a) {
  const int64_t bytes = row_bytes(p.format, p.head_dim);
  context.pool.parallel_for(p.tokens, grain_of(p.kv_heads * p.head_dim), [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t h = 0; h < p.kv_heads; ++h) {
        const int64_t at = h * a.capacity + t;
        store_row(Kernel, p.format, a.x + t * a.x_stride + h * p.head_dim, p.head_dim,
                  static_cast<unsigned char*>(a.codes) + at * bytes, a.scales == nullptr ? nullptr : a.scales + 2 * at);
      }
  });
}

void reference_store_kv(ExecContext&, const StoreKvProblem& p, const StoreKvArgs& a) {
  reference::store_kv(p.tokens, p.kv_heads, p.head_dim, p.format, a.x, a.x_stride, a.codes, a.scales, a.capacity);
}

Rejection malformed(const StoreKvProblem& p) {
  if (p.tokens < 1 || p.kv_heads < 1 || p.head_dim < 1) return "tokens, kv_heads and head_dim must be at least 1";
  if (p.format == ElementType::BFloat16 || p.format == ElementType::Int2)
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

std::string to_string(const QuantizeRowsProblem& p) { return fmt::format("rows={} k={}", p.rows, p.k); }
std::string to_string(const StoreKvProblem& p) {
  return fmt::format("tokens={} kv_heads={} head_dim={} format={}", p.tokens, p.kv_heads, p.head_dim,
                     to_string(p.format));
}

KernelTable<QuantizeRowsProblem, QuantizeRowsArgs> quantize_rows_table() { return kQuantizeRows; }
KernelTable<StoreKvProblem, StoreKvArgs> store_kv_table() { return kStoreKv; }

void quantize_rows(ExecContext& context, const QuantizeRowsProblem& p, const QuantizeRowsArgs& a) {
  if (const Rejection why = malformed(p); !why.empty())
    throw InvalidArgument("quantize_rows {}: {}", to_string(p), why);
  if (a.x == nullptr || a.codes == nullptr || a.scales == nullptr)
    throw InvalidArgument("quantize_rows {}: x, codes and scales must not be null", to_string(p));
  if (a.code_stride < p.k || a.code_stride % 64 != 0 || (p.rows > 1 && a.x_stride < p.k))
    throw InvalidArgument("quantize_rows {}: code_stride {} must be a multiple of 64 and, like x_stride {}, at least k",
                          to_string(p), a.code_stride, a.x_stride);
  select(quantize_rows_table(), p, context.isa).run(context, p, a);
}

void store_kv(ExecContext& context, const StoreKvProblem& p, const StoreKvArgs& a) {
  if (const Rejection why = malformed(p); !why.empty()) throw InvalidArgument("store_kv {}: {}", to_string(p), why);
  if (a.x == nullptr || a.codes == nullptr || (bits_of(p.format) <= 8 && a.scales == nullptr))
    throw InvalidArgument("store_kv {}: x, codes and, for integer formats, scales must not be null", to_string(p));
  if (a.capacity < p.tokens || (p.tokens > 1 && a.x_stride < p.kv_heads * p.head_dim))
    throw InvalidArgument("store_kv {}: capacity {} must be at least tokens, x_stride {} at least kv_heads * head_dim",
                          to_string(p), a.capacity, a.x_stride);
  select(store_kv_table(), p, context.isa).run(context, p, a);
}

}  // namespace halftone::kernels
