// New tokens on their way into attention; see append.h.
#include "kernels/cpu/attention/append.h"

#include "kernels/cpu/elementwise/elementwise_kernel.h"
#include "kernels/cpu/quantize/quantize_kernel.h"
#include "numerics/reference/quantize.h"

namespace halftone::kernels {
namespace {

constexpr int64_t kInlineElements = 1 << 13;

struct AppendKernel {
  const ElementwiseKernel& elementwise;
  const QuantizeKernel& quantize;
};
constexpr AppendKernel kAvx512 = {avx512::kElementwise, avx512::kQuantize};
constexpr AppendKernel kAvx2 = {avx2::kElementwise, avx2::kQuantize};

/// One side of a token and head.
KvRow kv_row(const AttentionProblem& p, const AttentionArgs& args, int64_t head, int64_t token, KvSide side) {
  const AttentionAppend& a = *args.append;
  const bool keys = side == KvSide::Keys;
  uint16_t* scales = keys ? a.key_scales : a.value_scales;
  return {.x = (keys ? a.k : a.v) + token * args.q_stride + head * p.head_dim,
          .dim = p.head_dim,
          .bits = bits_of(p.format),
          .keys = keys,
          .position = p.start + token,
          .head = static_cast<unsigned char*>(keys ? a.key_codes : a.value_codes) +
                  head * kv_head_bytes(p.format, p.head_dim, args.capacity),
          .scales = bits_of(p.format) >= 16 ? nullptr : scales + head * kv_head_scales(p.format, args.capacity)};
}

void append_with(const AppendKernel& kernel, const AttentionProblem& p, const AttentionArgs& args, int64_t head,
                 int64_t begin, int64_t end) {
  const AttentionAppend& a = *args.append;
  const int64_t ratio = p.heads / p.kv_heads, row_floats = rope_row_floats(a.rotary_dim);
  for (int64_t t = begin; t < end; ++t) {
    // Angles are written once a step; rope_rotate only reads them.
    auto* angles = const_cast<float*>(a.angles + t * row_floats);
    const RopeRow row = {angles, angles + row_floats / 2, a.rotary_dim, a.style == RopeStyle::Adjacent};
    kernel.elementwise.rope_rotate(row, ratio, p.head_dim, a.q + t * args.q_stride + head * ratio * p.head_dim);
    kernel.elementwise.rope_rotate(row, 1, p.head_dim, a.k + t * args.q_stride + head * p.head_dim);
    for (const KvSide side : {KvSide::Keys, KvSide::Values})
      kernel.quantize.store_kv_row(kv_row(p, args, head, t, side));
  }
}

void rotate(const AttentionAppend& a, const float* angles, float* x) {
  const bool adjacent = a.style == RopeStyle::Adjacent;
  const int64_t pairs = a.rotary_dim / 2;
  const float* sines = angles + rope_row_floats(a.rotary_dim) / 2;
  for (int64_t i = 0; i < pairs; ++i) {
    float& first = x[adjacent ? 2 * i : i];
    float& second = x[adjacent ? 2 * i + 1 : i + pairs];
    const double c = angles[adjacent ? 2 * i : i], s = sines[adjacent ? 2 * i + 1 : i];
    const double u = first, w = second;
    first = static_cast<float>(u * c - w * s);
    second = static_cast<float>(u * s + w * c);
  }
}

void reference_append(const AttentionProblem& p, const AttentionArgs& args) {
  const AttentionAppend& a = *args.append;
  for (int64_t t = 0; t < p.tokens; ++t) {
    const float* angles = a.angles + t * rope_row_floats(a.rotary_dim);
    for (int64_t h = 0; h < p.heads; ++h) rotate(a, angles, a.q + t * args.q_stride + h * p.head_dim);
    for (int64_t h = 0; h < p.kv_heads; ++h) rotate(a, angles, a.k + t * args.q_stride + h * p.head_dim);
  }
  for (const KvSide side : {KvSide::Keys, KvSide::Values}) {
    const bool keys = side == KvSide::Keys;
    reference::store_kv({.tokens = p.tokens,
                         .start = p.start,
                         .kv_heads = p.kv_heads,
                         .head_dim = p.head_dim,
                         .format = p.format,
                         .side = side,
                         .x = keys ? a.k : a.v,
                         .x_stride = args.q_stride,
                         .codes = keys ? a.key_codes : a.value_codes,
                         .scales = keys ? a.key_scales : a.value_scales,
                         .capacity = args.capacity});
  }
}

}  // namespace

void append_head(Isa isa, const AttentionProblem& p, const AttentionArgs& args, int64_t head, int64_t begin,
                 int64_t end) {
  append_with(isa == Isa::Avx2 ? kAvx2 : kAvx512, p, args, head, begin, end);
}

void append_all(ExecContext& context, Isa isa, const AttentionProblem& p, const AttentionArgs& args) {
  if (isa == Isa::Scalar) return reference_append(p, args);
  const int64_t first_group = p.start / kKvGroup, groups = (p.start + p.tokens + kKvGroup - 1) / kKvGroup - first_group;
  const int64_t rows = std::min(p.tokens, kKvGroup) * (p.heads / p.kv_heads + 2);
  const int64_t grain = std::max<int64_t>(1, kInlineElements / (rows * p.head_dim));
  context.pool.parallel_for(groups * p.kv_heads, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t group = first_group + i / p.kv_heads;
      append_head(isa, p, args, i % p.kv_heads, std::max<int64_t>(0, group * kKvGroup - p.start),
                  std::min(p.tokens, (group + 1) * kKvGroup - p.start));
    }
  });
}

}  // namespace halftone::kernels
