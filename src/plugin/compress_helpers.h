// What compression passes have in common: the loop over a block's selected layers, and the scale factors of the
// smoothing family (SmoothQuant, arXiv:2211.10438 equation 4; SmoothAttention, arXiv:2405.04532 section 4.2).
#pragma once

#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "plugin/compress_pass.h"

namespace halftone {

/// Replaces the weight of each selected linear layer of block `block` by what `round` makes of it. A NumericError or
/// InvalidArgument from `round` is thrown again with the layer's name.
void compress_linears(CompressContext& context, int64_t block, nn::ActivationFormat activations,
                      const std::function<Storage(const nn::Linear&)>& round);

/// True when the user wants any of `linears` compressed.
bool any_selected(const CompressContext& context, std::initializer_list<const nn::Linear*> linears);

/// The Gram matrix [K, K] f64 of `site`'s input; throws InvalidArgument naming `method` and the remedy when calibration
/// did not collect it. The same for the absolute maxima, [K] f32.
const at::Tensor& require_gram(const BlockStatistics& statistics, const std::string& site, std::string_view method);
const at::Tensor& require_absmax(const BlockStatistics& statistics, const std::string& site, std::string_view method);

/// max over rows, and over `readers`, of |W[:, k]|: [K]. The readers have the same inputs.
std::vector<float> column_absmax(std::initializer_list<const nn::Linear*> readers);
/// A [K] f32 tensor as a vector.
std::vector<float> to_vector(const at::Tensor& values);

/// s_k = inputs_k^alpha / weights_k^beta; 1 where either is 0, since such a channel carries nothing.
std::vector<float> smoothing_factors(std::span<const float> inputs, std::span<const float> weights, double alpha,
                                     double beta);

/// max over the query heads of each key-value head's group: [Hq * D] -> [Hkv * D].
std::vector<float> max_over_query_groups(const nn::DecoderConfig& config, std::span<const float> values);

/// Replaces the values of every two channels that RoPE rotates together by their maximum; the heads [H * D] follow each
/// other, and the channels past `rotary_dim` of a head stay.
void max_over_rope_pairs(std::span<float> values, int64_t head_dim, int64_t rotary_dim, kernels::RopeStyle style);

/// diag(1/s) G diag(1/s): the Gram matrix of inputs divided by `factors` [K].
at::Tensor scaled_gram(const at::Tensor& gram, std::span<const float> factors);
/// The Gram matrix of inputs whose channel i is the old channel order[i].
at::Tensor permuted_gram(const at::Tensor& gram, std::span<const int64_t> order);

}  // namespace halftone
