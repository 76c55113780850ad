// The forward pass; see decoder.h.
#include "nn/decoder.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mul.h>

#include "base/error.h"

namespace halftone::nn {
namespace {

/// RMSNorm over each head of x [T, H*D] with weight [D].
at::Tensor norm_heads(StepContext& step, const at::Tensor& x, const NormWeight& weight, double epsilon) {
  if (!weight.defined()) return x;
  return rms_norm(step.exec, x.view({-1, weight.numel()}), weight, epsilon).view(x.sizes());
}

void rotate_positions(StepContext& step, const DecoderConfig& config, const LayerAttention& layer, at::Tensor& x,
                      int64_t heads, int64_t start) {
  kernels::rope(step.exec,
                {.tokens = x.size(0),
                 .heads = heads,
                 .head_dim = config.head_dim,
                 .rotary_dim = 2 * static_cast<int64_t>(layer.inverse_frequency.size()),
                 .style = config.rope_style},
                {.x = x.data_ptr<float>(),
                 .x_stride = heads * config.head_dim,
                 .start = start,
                 .inverse_frequency = layer.inverse_frequency.data()});
}

at::Tensor attend(StepContext& step, const DecoderConfig& config, int64_t block, const at::Tensor& q,
                  const KvStore& cache) {
  at::Tensor out = at::empty_like(q);
  const int64_t row = config.heads * config.head_dim;
  kernels::attention(step.exec,
                     {.tokens = q.size(0),
                      .start = cache.length(),
                      .heads = config.heads,
                      .kv_heads = config.kv_heads,
                      .head_dim = config.head_dim,
                      .window = config.layers[block].window,
                      .format = cache.format()},
                     {.q = q.const_data_ptr<float>(),
                      .q_stride = row,
                      .keys = cache.keys(block),
                      .values = cache.values(block),
                      .capacity = cache.capacity(),
                      .softmax_scale = static_cast<float>(config.softmax_scale),
                      .out = out.data_ptr<float>(),
                      .out_stride = row});
  return out;
}

void check_block(const DecoderConfig& config, const std::vector<const Linear*>& linears) {
  const int64_t q = config.heads * config.head_dim, kv = config.kv_heads * config.head_dim;
  const int64_t shapes[7][2] = {{q, config.width},
                                {kv, config.width},
                                {kv, config.width},
                                {config.width, q},
                                {config.ffn_width, config.width},
                                {config.ffn_width, config.width},
                                {config.width, config.ffn_width}};
  for (size_t i = 0; i < linears.size(); ++i)
    if (linears[i]->outputs() != shapes[i][0] || linears[i]->inputs() != shapes[i][1])
      throw InvalidArgument("{} is [{}, {}], but the model configuration asks for [{}, {}]", linears[i]->site(),
                            linears[i]->outputs(), linears[i]->inputs(), shapes[i][0], shapes[i][1]);
}

}  // namespace

std::vector<Linear*> DecoderBlock::linears() {
  return {&q_proj, &k_proj, &v_proj, &o_proj, &gate_proj, &up_proj, &down_proj};
}

std::vector<const Linear*> DecoderBlock::linears() const {
  return {&q_proj, &k_proj, &v_proj, &o_proj, &gate_proj, &up_proj, &down_proj};
}

Decoder::Decoder(DecoderConfig config, std::shared_ptr<const Storage> embedding, std::vector<DecoderBlock> blocks,
                 NormWeight final_norm, std::shared_ptr<const Storage> lm_head)
    : config_(std::move(config)),
      embedding_(std::move(embedding)),
      blocks_(std::move(blocks)),
      final_norm_(std::move(final_norm)),
      lm_head_("lm_head", *lm_head) {
  lm_head_.set_weight(std::move(lm_head));
  config_.validate();
  if (blocks_.size() != config_.layers.size())
    throw InvalidArgument("the model has {} blocks, its configuration {}", blocks_.size(), config_.layers.size());
  for (const auto& block : blocks_) check_block(config_, block.linears());
  if (rows_of(*embedding_) != config_.vocabulary || columns_of(*embedding_) != config_.width)
    throw InvalidArgument("the embedding is [{}, {}], but the model configuration asks for [{}, {}]",
                          rows_of(*embedding_), columns_of(*embedding_), config_.vocabulary, config_.width);
}

void Decoder::set_embedding(Storage embedding) {
  const bool was_tied = tied();
  embedding_ = std::make_shared<const Storage>(std::move(embedding));
  if (was_tied) lm_head_.set_weight(embedding_, lm_head_.activations());
}

at::Tensor Decoder::embed(std::span<const int32_t> tokens) const {
  at::Tensor hidden = dequantize_rows(*embedding_, tokens);
  if (config_.embedding_scale != 1) hidden.mul_(static_cast<float>(config_.embedding_scale));
  if (rotation_) {
    float* rows = hidden.data_ptr<float>();
    for (int64_t t = 0; t < hidden.size(0); ++t)
      rotation_->apply(std::span(rows + t * config_.width, static_cast<size_t>(config_.width)));
  }
  return hidden;
}

at::Tensor Decoder::forward_block(StepContext& step, int64_t index, at::Tensor hidden, KvStore& cache) const {
  const DecoderBlock& block = blocks_.at(index);
  const LayerAttention& layer = config_.layers[index];
  const double epsilon = config_.norm_epsilon;
  const int64_t tokens = hidden.size(0);

  Activation attn_in(rms_norm(step.exec, hidden, block.attn_norm, epsilon));
  at::Tensor q = norm_heads(step, block.q_proj.forward(step, attn_in), block.q_norm, epsilon);
  at::Tensor k = norm_heads(step, block.k_proj.forward(step, attn_in), block.k_norm, epsilon);
  const at::Tensor v = block.v_proj.forward(step, attn_in);
  rotate_positions(step, config_, layer, q, config_.heads, cache.length());
  rotate_positions(step, config_, layer, k, config_.kv_heads, cache.length());
  if (step.observer != nullptr)
    step.observer->queries_and_keys(index, q.view({tokens, config_.heads, config_.head_dim}),
                                    k.view({tokens, config_.kv_heads, config_.head_dim}));
  cache.append(step.exec, index, k, v);
  Activation attn_out(attend(step, config_, index, q, cache));
  at::Tensor branch = block.o_proj.forward(step, attn_out);
  if (block.post_attn_norm.defined()) branch = rms_norm(step.exec, branch, block.post_attn_norm, epsilon);
  hidden = hidden + branch;

  Activation ffn_in(rms_norm(step.exec, hidden, block.ffn_norm, epsilon));
  const at::Tensor gate = block.gate_proj.forward(step, ffn_in);
  Activation ffn_mid(gated(step.exec, gate, block.up_proj.forward(step, ffn_in), config_.activation));
  branch = block.down_proj.forward(step, ffn_mid);
  if (block.post_ffn_norm.defined()) branch = rms_norm(step.exec, branch, block.post_ffn_norm, epsilon);
  return hidden + branch;
}

at::Tensor Decoder::output_logits(StepContext& step, const at::Tensor& hidden) const {
  at::Tensor final = hidden.contiguous();
  if (rotation_) {  // the norm is invariant under rotation, so undoing it first is exact
    final = final.clone();
    float* rows = final.data_ptr<float>();
    for (int64_t t = 0; t < final.size(0); ++t)
      rotation_->apply_inverse(std::span(rows + t * config_.width, static_cast<size_t>(config_.width)));
  }
  Activation normed(rms_norm(step.exec, final, final_norm_, config_.norm_epsilon));
  return lm_head_.forward(step, normed);
}

at::Tensor Decoder::forward(StepContext& step, std::span<const int32_t> tokens, KvStore& cache, Logits logits) const {
  if (tokens.empty()) throw InvalidArgument("a forward step needs at least one token");
  at::Tensor hidden = embed(tokens);
  for (int64_t block = 0; block < static_cast<int64_t>(blocks_.size()); ++block)
    hidden = forward_block(step, block, hidden, cache);
  cache.advance(static_cast<int64_t>(tokens.size()));
  if (logits == Logits::None) return {};
  if (logits == Logits::Last) hidden = hidden.narrow(0, hidden.size(0) - 1, 1);
  return output_logits(step, hidden);
}

int64_t Decoder::weight_bytes() const {
  int64_t bytes = bytes_of(*embedding_) + static_cast<int64_t>(final_norm_.nbytes());
  if (!tied()) bytes += bytes_of(lm_head_.weight());
  for (const auto& block : blocks_) {
    for (const auto* norm :
         {&block.attn_norm, &block.ffn_norm, &block.q_norm, &block.k_norm, &block.post_attn_norm, &block.post_ffn_norm})
      if (norm->defined()) bytes += static_cast<int64_t>(norm->nbytes());
    for (const auto* linear : block.linears()) {
      bytes += bytes_of(linear->weight());
      if (linear->bias().defined()) bytes += static_cast<int64_t>(linear->bias().nbytes());
    }
  }
  return bytes;
}

int64_t Decoder::parameters() const {
  int64_t count = config_.vocabulary * config_.width * (tied() ? 1 : 2) + final_norm_.numel();
  for (const auto& block : blocks_) {
    for (const auto* norm :
         {&block.attn_norm, &block.ffn_norm, &block.q_norm, &block.k_norm, &block.post_attn_norm, &block.post_ffn_norm})
      if (norm->defined()) count += norm->numel();
    for (const auto* linear : block.linears()) {
      count += linear->inputs() * linear->outputs();
      if (linear->bias().defined()) count += linear->bias().numel();
    }
  }
  return count;
}

}  // namespace halftone::nn
