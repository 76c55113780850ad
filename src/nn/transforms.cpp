// Exact rewrites on dense weights; see transforms.h.
#include "nn/transforms.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/ones_like.h>

#include <cmath>
#include <initializer_list>
#include <vector>

#include "base/error.h"

namespace halftone::nn {
namespace {

at::Tensor vector_of(std::span<const float> values) {
  return at::from_blob(const_cast<float*>(values.data()), {static_cast<int64_t>(values.size())}, at::kFloat).clone();
}

void expect_factors(std::span<const float> factors, int64_t size, const char* what) {
  if (static_cast<int64_t>(factors.size()) != size)
    throw InvalidArgument("{} needs {} factors, got {}", what, size, factors.size());
  for (const float factor : factors)
    if (!(factor > 0) || !std::isfinite(factor))
      throw NumericError("{}: factor {} is not a positive finite number", what, factor);
}

void set_dense(Linear& linear, at::Tensor weight) {
  linear.set_weight(DenseStorage{weight.contiguous()}, linear.activations());
}

void scale_columns(Linear& linear, const at::Tensor& factors) {
  set_dense(linear, linear.dense_weight() * factors.view({1, -1}));
}

void scale_rows(Linear& linear, const at::Tensor& factors) {
  set_dense(linear, linear.dense_weight() * factors.view({-1, 1}));
  if (linear.bias().defined()) linear.set_bias(linear.bias() * factors);
}

/// Applies `rotation` to consecutive segments of every row of `matrix` [N, K], in double.
at::Tensor rotate_rows(const RandomHadamard& rotation, const at::Tensor& matrix) {
  at::Tensor result = matrix.to(at::kDouble).contiguous();
  double* values = result.data_ptr<double>();
  for (int64_t i = 0; i < result.numel(); i += rotation.size())
    rotation.apply(std::span(values + i, static_cast<size_t>(rotation.size())));
  return result.to(at::kFloat);
}

/// W -> W R^T: the layer now reads R x.
void rotate_input(Linear& linear, const RandomHadamard& rotation) {
  set_dense(linear, rotate_rows(rotation, linear.dense_weight()));
}

/// W -> R W: the layer now writes R y.
void rotate_output(Linear& linear, const RandomHadamard& rotation) {
  set_dense(linear, rotate_rows(rotation, linear.dense_weight().t().contiguous()).t());
  if (linear.bias().defined()) linear.set_bias(rotate_rows(rotation, linear.bias().view({1, -1})).view(-1));
}

void fold_norm(NormWeight& norm, std::initializer_list<Linear*> readers) {
  for (Linear* reader : readers) scale_columns(*reader, norm);
  norm = at::ones_like(norm);
}

/// Factors per key-value head [Hkv*D] repeated for every query head of the group: [Hq*D].
std::vector<float> per_query_head(const DecoderConfig& config, std::span<const float> factors) {
  const int64_t ratio = config.heads / config.kv_heads;
  std::vector<float> repeated;
  for (int64_t head = 0; head < config.heads; ++head) {
    const auto part = factors.subspan(head / ratio * config.head_dim, config.head_dim);
    repeated.insert(repeated.end(), part.begin(), part.end());
  }
  return repeated;
}

/// With per-head norms a scaling of q/k projections would be normalised away; it belongs into the norms' weights, which
/// all heads share.
void smooth_head_norms(const DecoderConfig& config, DecoderBlock& block, std::span<const float> factors) {
  for (size_t i = config.head_dim; i < factors.size(); ++i)
    if (factors[i] != factors[i % config.head_dim])
      throw Unsupported(
          "SmoothAttention factors differ between heads, but this model's key norm is shared by all heads");
  const at::Tensor shared = vector_of(factors.first(config.head_dim));
  block.k_norm = block.k_norm / shared;
  block.q_norm = block.q_norm * shared;
}

}  // namespace

void fold_norms(Decoder& decoder) {
  for (auto& block : decoder.blocks()) {
    fold_norm(block.attn_norm, {&block.q_proj, &block.k_proj, &block.v_proj});
    fold_norm(block.ffn_norm, {&block.gate_proj, &block.up_proj});
  }
}

void rotate_residual(Decoder& decoder, uint64_t seed) {
  for (const auto& block : decoder.blocks())
    if (block.post_attn_norm.defined() || block.post_ffn_norm.defined())
      throw Unsupported(
          "the residual stream of a {} model cannot be rotated: it normalises each branch's output channel "
          "by channel before adding it; switch the rotation off (rotate=false)",
          decoder.config().architecture);
  if (decoder.residual_rotation()) throw InvalidArgument("the residual stream of this model is rotated already");
  RandomHadamard rotation(decoder.config().width, seed);
  fold_norms(decoder);
  for (auto& block : decoder.blocks()) {
    for (Linear* reader : {&block.q_proj, &block.k_proj, &block.v_proj, &block.gate_proj, &block.up_proj})
      rotate_input(*reader, rotation);
    for (Linear* writer : {&block.o_proj, &block.down_proj}) rotate_output(*writer, rotation);
  }
  decoder.set_residual_rotation(std::move(rotation));
}

void rotate_value_heads(const DecoderConfig& config, DecoderBlock& block) {
  const RandomHadamard rotation(config.head_dim, 0);
  // Heads are consecutive segments of o_proj's rows and of v_proj's columns.
  set_dense(block.o_proj, rotate_rows(rotation, block.o_proj.dense_weight()));
  set_dense(block.v_proj, rotate_rows(rotation, block.v_proj.dense_weight().t().contiguous()).t());
  if (block.v_proj.bias().defined())
    block.v_proj.set_bias(rotate_rows(rotation, block.v_proj.bias().view({1, -1})).view(-1));
}

void smooth_attention(const DecoderConfig& config, DecoderBlock& block, std::span<const float> factors) {
  expect_factors(factors, config.kv_heads * config.head_dim, "SmoothAttention");
  if (block.k_norm.defined()) return smooth_head_norms(config, block, factors);
  scale_rows(block.k_proj, vector_of(factors).reciprocal());
  scale_rows(block.q_proj, vector_of(per_query_head(config, factors)));
}

void smooth_attention_input(DecoderBlock& block, std::span<const float> factors) {
  expect_factors(factors, block.attn_norm.numel(), "smoothing of the attention input");
  const at::Tensor s = vector_of(factors);
  block.attn_norm = block.attn_norm / s;
  for (Linear* reader : {&block.q_proj, &block.k_proj, &block.v_proj}) scale_columns(*reader, s);
}

void smooth_ffn_input(DecoderBlock& block, std::span<const float> factors) {
  expect_factors(factors, block.ffn_norm.numel(), "smoothing of the feed-forward input");
  const at::Tensor s = vector_of(factors);
  block.ffn_norm = block.ffn_norm / s;
  for (Linear* reader : {&block.gate_proj, &block.up_proj}) scale_columns(*reader, s);
}

void smooth_down_input(DecoderBlock& block, std::span<const float> factors) {
  expect_factors(factors, block.down_proj.inputs(), "smoothing of the down projection");
  const at::Tensor s = vector_of(factors);
  scale_rows(block.up_proj, s.reciprocal());
  scale_columns(block.down_proj, s);
}

void smooth_output_input(const DecoderConfig& config, DecoderBlock& block, std::span<const float> factors) {
  expect_factors(factors, config.kv_heads * config.head_dim, "smoothing of the output projection");
  scale_rows(block.v_proj, vector_of(factors).reciprocal());
  scale_columns(block.o_proj, vector_of(per_query_head(config, factors)));
}

void permute_ffn(DecoderBlock& block, std::span<const int64_t> order) {
  if (static_cast<int64_t>(order.size()) != block.down_proj.inputs())
    throw InvalidArgument("a permutation of {} channels got {} indices", block.down_proj.inputs(), order.size());
  std::vector<bool> seen(order.size());
  for (const int64_t channel : order) {
    if (channel < 0 || channel >= static_cast<int64_t>(order.size()) || seen[channel])
      throw InvalidArgument("a permutation of {} channels names channel {} twice, or it does not exist", order.size(),
                            channel);
    seen[channel] = true;
  }
  const at::Tensor index =
      at::from_blob(const_cast<int64_t*>(order.data()), {static_cast<int64_t>(order.size())}, at::kLong).clone();
  for (Linear* producer : {&block.gate_proj, &block.up_proj}) {
    set_dense(*producer, producer->dense_weight().index_select(0, index));
    if (producer->bias().defined()) producer->set_bias(producer->bias().index_select(0, index));
  }
  set_dense(block.down_proj, block.down_proj.dense_weight().index_select(1, index));
}

}  // namespace halftone::nn
