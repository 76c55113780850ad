// The forward pass; see decoder.h.
#include "nn/decoder.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/clone.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"
#include "kernels/api/hadamard.h"

namespace halftone::nn {
namespace {

/// A prompt's tokens that go through all blocks together: what a layer hands on stays in the second-level cache.
constexpr int64_t kPromptChunk = 512;

/// y = RMSNorm(x) row by row; rows of x `x_stride` apart, of y contiguous.
void norm_rows(StepContext& step, const float* x, int64_t rows, int64_t k, int64_t x_stride, const NormWeight& weight,
               double epsilon, float* y, int64_t y_stride) {
  kernels::rms_norm(step.exec, {.rows = rows, .k = k},
                    {.x = x,
                     .x_stride = x_stride,
                     .weight = weight.values(),
                     .epsilon = static_cast<float>(epsilon),
                     .y = y,
                     .y_stride = y_stride});
}

/// RMSNorm over each head of x, `rows` rows `stride` apart, in place; nothing without a weight.
void norm_heads(StepContext& step, float* x, int64_t rows, int64_t stride, int64_t heads, const NormWeight& weight,
                double epsilon) {
  if (!weight.defined()) return;
  const int64_t dim = weight.numel();
  for (int64_t t = 0; t < rows; ++t)
    norm_rows(step, x + t * stride, heads, dim, dim, weight, epsilon, x + t * stride, dim);
}

at::Tensor heads_view(float* x, int64_t rows, int64_t stride, int64_t heads, int64_t dim) {
  return at::from_blob(x, {rows, heads, dim}, {stride, dim, 1}, at::kFloat);
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

NormWeight::NormWeight(at::Tensor weight) : at::Tensor(std::move(weight)) {
  if (!defined()) return;
  if (dim() != 1 || scalar_type() != at::kFloat || !is_contiguous())
    throw InvalidArgument("a norm's weight must be one contiguous row of f32 values, got {} dimensions of {}", dim(),
                          at::toString(scalar_type()));
  values_ = const_data_ptr<float>();
}

std::vector<Linear*> DecoderBlock::linears() {
  return {&q_proj, &k_proj, &v_proj, &o_proj, &gate_proj, &up_proj, &down_proj};
}

std::vector<const Linear*> DecoderBlock::linears() const {
  return {&q_proj, &k_proj, &v_proj, &o_proj, &gate_proj, &up_proj, &down_proj};
}

void DecoderBlock::run_only() {
  qkv.run_only(std::array{&q_proj, &k_proj, &v_proj});
  gate_up.run_only(std::array{&gate_proj, &up_proj});
  o_proj.run_only();
  down_proj.run_only();
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
  for (const auto& layer : config_.layers) {
    const auto same = std::find(rope_.begin(), rope_.end(), layer.inverse_frequency);
    layer_rope_.push_back(static_cast<size_t>(same - rope_.begin()));
    if (same == rope_.end()) rope_.push_back(layer.inverse_frequency);
  }
}

void Decoder::set_embedding(Storage embedding) {
  const bool was_tied = tied();
  embedding_ = std::make_shared<const Storage>(std::move(embedding));
  if (was_tied) lm_head_.set_weight(embedding_, lm_head_.activations());
}

void Decoder::run_only() {
  for (DecoderBlock& block : blocks_) block.run_only();
  const bool was_tied = tied();
  if (was_tied && !std::holds_alternative<QuantizedStorage>(*embedding_)) return lm_head_.prepare();  // rows() needs it
  lm_head_.run_only();
  if (was_tied) embedding_ = lm_head_.shared_weight();
}

void Decoder::set_residual_rotation(std::optional<RandomHadamard> rotation) {
  rotation_ = std::move(rotation);
  rotation_signs_.clear();
  if (rotation_) rotation_signs_.assign(rotation_->signs().begin(), rotation_->signs().end());
}

/// Rows of the residual stream into the rotated basis, or back; in place.
void Decoder::rotate(ExecContext& exec, float* rows, int64_t count, bool back) const {
  const int64_t width = config_.width;
  const float* signs = rotation_signs_.data();
  kernels::hadamard(exec, {.rows = count, .n = width, .block = rotation_->block(), .transposed = back},
                    {.x = rows,
                     .x_stride = width,
                     .before = back ? nullptr : signs,
                     .after = back ? signs : nullptr,
                     .scale = static_cast<float>(1 / std::sqrt(static_cast<double>(rotation_->block()))),
                     .y = rows,
                     .y_stride = width});
}

at::Tensor Decoder::embed(ExecContext& exec, std::span<const int32_t> tokens) const {
  for (const int32_t token : tokens)
    if (token < 0 || token >= config_.vocabulary)
      throw InvalidArgument("token id {} is outside the vocabulary of {} tokens", token, config_.vocabulary);
  at::Tensor hidden = tied() ? lm_head_.rows(tokens) : dequantize_rows(*embedding_, tokens);
  if (config_.embedding_scale != 1) hidden.mul_(static_cast<float>(config_.embedding_scale));
  if (rotation_) rotate(exec, hidden.data_ptr<float>(), hidden.size(0), false);
  return hidden;
}

/// Queries, keys and values of a step side by side, as the stacked projections write them.
struct Decoder::StepRows {
  float* qkv;  ///< [rows, stride]
  int64_t rows, stride;
  float* out;  ///< [rows, heads * head_dim], attention's result
};

Decoder::StepAngles Decoder::angles(ExecContext& exec, std::span<const Segment> segments) const {
  StepAngles all;
  const int64_t rows = segments.back().first + segments.back().count;
  for (const auto& frequency : rope_) {
    const int64_t dim = 2 * static_cast<int64_t>(frequency.size()), floats = kernels::rope_row_floats(dim);
    auto* made = exec.arena.take<float>(rows * floats);
    for (const auto& [cache, first, count] : segments)
      kernels::rope_angles(
          exec, {.tokens = count, .rotary_dim = dim, .style = config_.rope_style},
          {.start = cache->length(), .inverse_frequency = frequency.data(), .rows = made + first * floats});
    all.push_back(made);
  }
  return all;
}

void Decoder::attend(StepContext& step, int64_t index, const StepRows& r, std::span<const Segment> segments,
                     const float* angles) const {
  const DecoderBlock& block = blocks_[index];
  const LayerAttention& layer = config_.layers[index];
  const int64_t q_size = config_.heads * config_.head_dim, kv_size = config_.kv_heads * config_.head_dim;
  const int64_t rotary_dim = 2 * static_cast<int64_t>(layer.inverse_frequency.size());
  float *q = r.qkv, *k = q + q_size, *v = k + kv_size;
  norm_heads(step, q, r.rows, r.stride, config_.heads, block.q_norm, config_.norm_epsilon);
  norm_heads(step, k, r.rows, r.stride, config_.kv_heads, block.k_norm, config_.norm_epsilon);
  const auto sequences = static_cast<int64_t>(segments.size());
  auto* problems = step.exec.arena.take<kernels::AttentionProblem>(sequences);
  auto* arguments = step.exec.arena.take<kernels::AttentionArgs>(sequences);
  auto* appends = step.exec.arena.take<kernels::AttentionAppend>(sequences);
  for (size_t i = 0; i < segments.size(); ++i) {
    const auto& [cache, first, count] = segments[i];
    problems[i] = {.tokens = count,
                   .start = cache->length(),
                   .heads = config_.heads,
                   .kv_heads = config_.kv_heads,
                   .head_dim = config_.head_dim,
                   .window = layer.window,
                   .format = cache->format(),
                   .bf16 = step.exec.products == ProductPrecision::BFloat16};
    appends[i] = {.q = q + first * r.stride,
                  .k = k + first * r.stride,
                  .v = v + first * r.stride,
                  .angles = angles + first * kernels::rope_row_floats(rotary_dim),
                  .rotary_dim = rotary_dim,
                  .style = config_.rope_style};
    cache->accept(index, appends[i]);
    arguments[i] = {.q_stride = r.stride,
                    .keys = cache->keys(index),
                    .values = cache->values(index),
                    .capacity = cache->capacity(),
                    .softmax_scale = static_cast<float>(config_.softmax_scale),
                    .out = r.out + first * q_size,
                    .out_stride = q_size,
                    .append = &appends[i]};
  }
  if (sequences == 1)
    kernels::attention(step.exec, problems[0], arguments[0]);
  else
    kernels::attention_batch(step.exec, {{problems, segments.size()}}, {{arguments, segments.size()}});
  if (step.observer != nullptr)
    step.observer->queries_and_keys(index, heads_view(q, r.rows, r.stride, config_.heads, config_.head_dim),
                                    heads_view(k, r.rows, r.stride, config_.kv_heads, config_.head_dim));
}

Activation Decoder::normed(StepContext& step, const float* hidden, int64_t rows, const NormWeight& weight) const {
  return {step.exec, hidden, rows, config_.width, RowNorm{weight.values(), static_cast<float>(config_.norm_epsilon)}};
}

/// hidden += post_norm(linear(x)).
void Decoder::add_branch(StepContext& step, const Linear& linear, Activation& x, const NormWeight& post_norm,
                         float* hidden) const {
  const int64_t width = config_.width, rows = x.rows();
  if (!post_norm.defined()) return linear.add_into(step, x, hidden, width);
  auto* branch = step.exec.arena.take<float>(rows * width);
  linear.forward_into(step, x, branch, width);
  norm_rows(step, branch, rows, width, width, post_norm, config_.norm_epsilon, branch, width);
  constexpr int64_t kInlineElements = 1 << 14;  // fewer are done before another thread would have begun
  step.exec.pool.parallel_for(rows * width, kInlineElements, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) hidden[i] += branch[i];
  });
}

/// The input of down_proj, act(gate) * up: in bf16 straight from the product where both layers run so.
Activation Decoder::gated(StepContext& step, const DecoderBlock& block, Activation& x) const {
  const int64_t rows = x.rows(), ffn = config_.ffn_width;
  const Linear* const pair[] = {&block.gate_proj, &block.up_proj};
  if (block.down_proj.takes_bf16(step, rows))
    if (const auto fused = block.gate_up.gated(step, pair, x, config_.activation)) return *fused;
  Arena& arena = step.exec.arena;
  auto* gate_up = arena.take<float>(rows * 2 * ffn);
  block.gate_up.forward_into(step, pair, x, gate_up);
  return {step.exec, rows, ffn, RowGates{gate_up, gate_up + ffn, 2 * ffn, config_.activation}};
}

void Decoder::run_block(StepContext& step, int64_t index, float* hidden, std::span<const Segment> segments,
                        const StepAngles& angles) const {
  const Arena::Frame frame(step.exec.arena);
  Arena& arena = step.exec.arena;
  const DecoderBlock& block = blocks_.at(index);
  const int64_t q_size = config_.heads * config_.head_dim;
  const int64_t rows = segments.back().first + segments.back().count;
  const int64_t qkv_size = q_size + 2 * config_.kv_heads * config_.head_dim;

  Activation attn_in = normed(step, hidden, rows, block.attn_norm);
  const StepRows r = {arena.take<float>(rows * qkv_size), rows, qkv_size, arena.take<float>(rows * q_size)};
  const Linear* const qkv[] = {&block.q_proj, &block.k_proj, &block.v_proj};
  block.qkv.forward_into(step, qkv, attn_in, r.qkv);
  attend(step, index, r, segments, angles[layer_rope_[index]]);
  Activation attended(step.exec, r.out, rows, q_size);
  add_branch(step, block.o_proj, attended, block.post_attn_norm, hidden);

  Activation ffn_in = normed(step, hidden, rows, block.ffn_norm);
  Activation mid = gated(step, block, ffn_in);
  add_branch(step, block.down_proj, mid, block.post_ffn_norm, hidden);
}

at::Tensor Decoder::forward_block(StepContext& step, int64_t index, at::Tensor hidden, KvStore& cache) const {
  at::Tensor rows = hidden.clone(at::MemoryFormat::Contiguous);
  const Segment whole = {&cache, 0, rows.size(0)};
  cache.require_room(whole.count);
  const Arena::Frame frame(step.exec.arena);
  run_block(step, index, rows.data_ptr<float>(), {&whole, 1}, angles(step.exec, {&whole, 1}));
  return rows;
}

at::Tensor Decoder::output_logits(StepContext& step, const at::Tensor& hidden) const {
  const Arena::Frame frame(step.exec.arena);
  at::Tensor final = hidden.contiguous();
  if (rotation_) {  // the norm is invariant under rotation, so undoing it first is exact
    final = final.clone();
    rotate(step.exec, final.data_ptr<float>(), final.size(0), true);
  }
  Activation input = normed(step, final.const_data_ptr<float>(), final.size(0), final_norm_);
  return lm_head_.forward(step, input);
}

at::Tensor Decoder::forward(StepContext& step, std::span<const int32_t> tokens, KvStore& cache, Logits logits) const {
  if (tokens.empty()) throw InvalidArgument("a forward step needs at least one token");
  at::Tensor hidden = embed(step.exec, tokens);
  const auto count = static_cast<int64_t>(tokens.size());
  cache.require_room(count);
  for (int64_t first = 0; first < count; first += kPromptChunk) {
    const Arena::Frame frame(step.exec.arena);
    const Segment chunk = {&cache, 0, std::min(kPromptChunk, count - first)};
    const StepAngles turns = angles(step.exec, {&chunk, 1});
    for (int64_t block = 0; block < static_cast<int64_t>(blocks_.size()); ++block)
      run_block(step, block, hidden.data_ptr<float>() + first * config_.width, {&chunk, 1}, turns);
    cache.advance(chunk.count);
  }
  if (logits == Logits::None) return {};
  if (logits == Logits::Last && count > 1) hidden = hidden.narrow(0, count - 1, 1);
  return output_logits(step, hidden);
}

at::Tensor Decoder::forward_batch(StepContext& step, std::span<const int32_t> tokens,
                                  std::span<KvStore* const> caches) const {
  if (tokens.empty() || tokens.size() != caches.size())
    throw InvalidArgument("a batched step needs one token a sequence, got {} tokens for {} sequences", tokens.size(),
                          caches.size());
  std::vector<Segment> segments;
  for (size_t i = 0; i < caches.size(); ++i) {
    for (size_t j = 0; j < i; ++j)
      if (caches[i] == caches[j]) throw InvalidArgument("sequences {} and {} of a batch share a KV cache", j, i);
    caches[i]->require_room(1);
    segments.push_back({caches[i], static_cast<int64_t>(i), 1});
  }
  at::Tensor hidden = embed(step.exec, tokens);
  const Arena::Frame frame(step.exec.arena);
  const StepAngles turns = angles(step.exec, segments);
  for (int64_t block = 0; block < static_cast<int64_t>(blocks_.size()); ++block)
    run_block(step, block, hidden.data_ptr<float>(), segments, turns);
  for (KvStore* cache : caches) cache->advance(1);
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
