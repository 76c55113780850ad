// A decoder-only transformer: what SmolLM2, Llama 2/3, Qwen2 and Gemma 3 have in common, with their differences as
// data.
//
// Sites: "embedding", "blocks.N.attn.{q,k,v,o}_proj", "blocks.N.mlp.{gate,up,down}_proj", "lm_head".
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/json_fwd.h"
#include "kernels/api/elementwise.h"
#include "nn/kv_store.h"
#include "nn/linear_group.h"
#include "numerics/hadamard.h"

namespace halftone::nn {

/// What may differ from layer to layer in attention.
struct LayerAttention {
  int64_t window = 0;                     ///< sliding window in tokens; 0 sees everything
  std::vector<double> inverse_frequency;  ///< RoPE, [rotary_dim / 2]
};

struct DecoderConfig {
  std::string architecture;  ///< "llama", "qwen2", "gemma3"
  int64_t width = 0;
  int64_t ffn_width = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t vocabulary = 0;
  int64_t context_length = 0;  ///< what the model was trained for, in tokens
  double norm_epsilon = 1e-5;
  double embedding_scale = 1;  ///< sqrt(width) for gemma3
  double softmax_scale = 0;    ///< 1 / sqrt(head_dim) unless the model says otherwise
  kernels::RopeStyle rope_style = kernels::RopeStyle::Adjacent;
  kernels::GatedActivation activation = kernels::GatedActivation::SwiGlu;
  std::vector<LayerAttention> layers;  ///< one a block

  KvShape kv_shape() const { return {static_cast<int64_t>(layers.size()), kv_heads, head_dim}; }
  /// Throws InvalidArgument naming the field that contradicts the others.
  void validate() const;
};

Json to_json(const DecoderConfig& config);
DecoderConfig decoder_config_from_json(const Json& json);

/// Weights [K] of an RMSNorm: contiguous f32, or undefined. Tensors take long to say where their values are, so it is
/// kept: assign a NormWeight as a whole, never through a reference to its base. Throws InvalidArgument for other
/// tensors.
class NormWeight : public at::Tensor {
 public:
  NormWeight() = default;
  NormWeight(at::Tensor weight);
  const float* values() const { return values_; }

 private:
  const float* values_ = nullptr;
};

struct DecoderBlock {
  NormWeight attn_norm, ffn_norm;
  NormWeight q_norm, k_norm;                 ///< per-head RMSNorm before RoPE (gemma3), or undefined
  NormWeight post_attn_norm, post_ffn_norm;  ///< on a branch's output before it is added (gemma3), or undefined
  Linear q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj;
  LinearGroup qkv, gate_up;  ///< how those that read one input run together

  /// The seven linear layers, in the order in which a forward pass meets them.
  std::vector<Linear*> linears();
  std::vector<const Linear*> linears() const;
  /// Lays all of them out for kernels; they give their stored weights up (Linear::run_only).
  void run_only();
};

/// Which rows of the logits forward() computes.
enum class Logits : uint8_t { None, Last, All };

class Decoder {
 public:
  /// `lm_head` may share the embedding's storage (tied).
  Decoder(DecoderConfig config, std::shared_ptr<const Storage> embedding, std::vector<DecoderBlock> blocks,
          NormWeight final_norm, std::shared_ptr<const Storage> lm_head);

  const DecoderConfig& config() const { return config_; }
  std::vector<DecoderBlock>& blocks() { return blocks_; }
  const std::vector<DecoderBlock>& blocks() const { return blocks_; }
  Linear& lm_head() { return lm_head_; }
  const Linear& lm_head() const { return lm_head_; }
  NormWeight& final_norm() { return final_norm_; }
  const NormWeight& final_norm() const { return final_norm_; }
  const std::shared_ptr<const Storage>& embedding() const { return embedding_; }
  /// Replaces the embedding, and the head with it when they are tied.
  void set_embedding(Storage embedding);
  bool tied() const { return embedding_ == lm_head_.shared_weight(); }

  /// Orthogonal rotation of the residual stream: applied to embeddings and undone before the final norm.
  const std::optional<RandomHadamard>& residual_rotation() const { return rotation_; }
  void set_residual_rotation(std::optional<RandomHadamard> rotation);

  /// Format of the KV cache that this model was compressed for; engines use it unless told otherwise.
  ElementType kv_format() const { return kv_format_; }
  void set_kv_format(ElementType format) { kv_format_ = format; }

  /// Lays all weights out for kernels now rather than at the first step, and gives up what is then held twice: for
  /// programs that run a model and neither change nor save it. A head that is also the embedding stays if it has a
  /// format.
  void run_only();

  /// Runs `tokens` after what `cache` holds and appends them to it. Returns logits [rows, vocabulary] f32, or an
  /// undefined tensor for Logits::None. Throws InvalidArgument for unknown token ids or a full cache.
  at::Tensor forward(StepContext& step, std::span<const int32_t> tokens, KvStore& cache, Logits logits) const;

  /// One step of several sequences together: row i appends tokens[i] to *caches[i], which must differ. Returns logits
  /// [caches.size(), vocabulary] f32, each row equal to that of a step alone in every bit.
  at::Tensor forward_batch(StepContext& step, std::span<const int32_t> tokens, std::span<KvStore* const> caches) const;

  /// The pieces of forward(), for calibration block by block. Hidden states are [T, width] f32.
  at::Tensor embed(ExecContext& exec, std::span<const int32_t> tokens) const;
  at::Tensor forward_block(StepContext& step, int64_t block, at::Tensor hidden, KvStore& cache) const;
  at::Tensor output_logits(StepContext& step, const at::Tensor& hidden) const;

  /// Exact bytes of all weights, norms and biases; tied weights count once.
  int64_t weight_bytes() const;
  /// Number of parameters; tied weights count once.
  int64_t parameters() const;

 private:
  /// Neighbouring rows of a step that belong to one sequence.
  struct Segment {
    KvStore* cache;
    int64_t first, count;
  };
  struct StepRows;
  /// RoPE's angles of a step's rows, for each of rope_.
  using StepAngles = std::vector<const float*>;
  StepAngles angles(ExecContext& exec, std::span<const Segment> segments) const;
  void run_block(StepContext& step, int64_t index, float* hidden, std::span<const Segment> segments,
                 const StepAngles& angles) const;
  void attend(StepContext& step, int64_t index, const StepRows& rows, std::span<const Segment> segments,
              const float* angles) const;
  void rotate(ExecContext& exec, float* rows, int64_t count, bool back) const;
  Activation normed(StepContext& step, const float* hidden, int64_t rows, const NormWeight& weight) const;
  Activation gated(StepContext& step, const DecoderBlock& block, Activation& x) const;
  void add_branch(StepContext& step, const Linear& linear, Activation& x, const NormWeight& post_norm,
                  float* hidden) const;

  DecoderConfig config_;
  std::vector<std::vector<double>> rope_;  ///< the inverse frequencies that layers have
  std::vector<size_t> layer_rope_;         ///< which of them a layer has
  std::shared_ptr<const Storage> embedding_;
  std::vector<DecoderBlock> blocks_;
  NormWeight final_norm_;
  Linear lm_head_;
  std::optional<RandomHadamard> rotation_;
  std::vector<float> rotation_signs_;
  ElementType kv_format_ = ElementType::Float16;
};

}  // namespace halftone::nn
