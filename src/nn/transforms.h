// Function-preserving rewrites of a decoder: each leaves the logits as they were (up to f32 rounding) and makes the
// weights, activations or keys easier to quantise. They need dense weights, and throw Unsupported, saying why, where a
// model's structure does not allow them.
//
// Notation: a linear layer computes y = W x with W [N, K]; scaling input channel k by 1/s_k and column k by s_k changes
// nothing, nor does an orthogonal R between a producer and its consumers.
#pragma once

#include <cstdint>
#include <span>

#include "nn/decoder.h"

namespace halftone::nn {

/// Moves every norm's weight into the layers that read it (q/k/v and gate/up); the norms become all ones.
void fold_norms(Decoder& decoder);

/// Rotates the residual stream by a random Hadamard matrix (QuaRot, arXiv:2404.00456 section 4, stage 1a). Folds the
/// norms first. Embedding and head stay as they are: the rotation runs online after the one and is undone before the
/// other, which costs two small transforms a token and keeps tied weights tied. Throws Unsupported for models that
/// normalise a branch's output (gemma3) and widths without a Hadamard matrix.
void rotate_residual(Decoder& decoder, uint64_t seed);

/// Rotates each head of the values and undoes it in o_proj's columns (QuaRot stage 1c).
void rotate_value_heads(const DecoderConfig& config, DecoderBlock& block);

/// SmoothAttention (QoQ, arXiv:2405.04532 section 4.2): divides key channel d of key-value head h by factors[h*D + d]
/// and multiplies the queries of the same group. `factors` [Hkv * D], positive and equal within each RoPE pair, so that
/// the scaling commutes with the rotation. With per-head norms (gemma3) the factors go into the norms' weights and must
/// not differ between heads.
void smooth_attention(const DecoderConfig& config, DecoderBlock& block, std::span<const float> factors);

/// Divides the output of the norm before q/k/v (or gate/up) by `factors` [width] and scales the readers' columns
/// (SmoothQuant, arXiv:2211.10438 equation 3).
void smooth_attention_input(DecoderBlock& block, std::span<const float> factors);
void smooth_ffn_input(DecoderBlock& block, std::span<const float> factors);

/// The same between up_proj's rows and down_proj's columns: `factors` [ffn_width].
void smooth_down_input(DecoderBlock& block, std::span<const float> factors);

/// The same between v_proj's rows and o_proj's columns: `factors` [Hkv * D], shared by the query heads of a group.
void smooth_output_input(const DecoderConfig& config, DecoderBlock& block, std::span<const float> factors);

/// Reorders the hidden channels of the feed-forward network: new channel i is old channel order[i]. Throws
/// InvalidArgument when `order` is not a permutation.
void permute_ffn(DecoderBlock& block, std::span<const int64_t> order);

}  // namespace halftone::nn
