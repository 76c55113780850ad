// Loops and factors that passes share; see compress_helpers.h.
#include "plugin/compress_helpers.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace halftone {
namespace {

const at::Tensor& require(const at::Tensor& tensor, const char* what, const std::string& site,
                          std::string_view method) {
  if (tensor.defined()) return tensor;
  throw InvalidArgument("{} needs calibration, but no {} was collected for {}; give it a calibration text", method,
                        what, site);
}

at::Tensor index_of(std::span<const int64_t> order) {
  return at::from_blob(const_cast<int64_t*>(order.data()), {static_cast<int64_t>(order.size())}, at::kLong).clone();
}

const InputStatistics& find_input(const BlockStatistics& statistics, const std::string& site) {
  static const InputStatistics kNone;
  const auto it = statistics.inputs.find(site);
  return it == statistics.inputs.end() ? kNone : it->second;
}

}  // namespace

void compress_linears(CompressContext& context, int64_t block, nn::ActivationFormat activations,
                      const std::function<Storage(const nn::Linear&)>& round) {
  for (nn::Linear* linear : context.model.blocks().at(block).linears()) {
    if (!context.sites.contains(linear->site())) continue;
    try {
      linear->set_weight(round(*linear), activations);
    } catch (const NumericError& problem) {
      throw NumericError("{}: {}", linear->site(), problem.what());
    } catch (const InvalidArgument& problem) {
      throw InvalidArgument("{}: {}", linear->site(), problem.what());
    }
  }
}

bool any_selected(const CompressContext& context, std::initializer_list<const nn::Linear*> linears) {
  return std::any_of(linears.begin(), linears.end(),
                     [&](const nn::Linear* linear) { return context.sites.contains(linear->site()); });
}

const at::Tensor& require_gram(const BlockStatistics& statistics, const std::string& site, std::string_view method) {
  return require(find_input(statistics, site).gram, "Gram matrix", site, method);
}

const at::Tensor& require_absmax(const BlockStatistics& statistics, const std::string& site, std::string_view method) {
  const at::Tensor& absmax = require(find_input(statistics, site).absmax, "absolute maxima", site, method);
  for (const float value : to_vector(absmax))
    if (!std::isfinite(value))
      throw NumericError("an input of {} reaches {} on the calibration text; check the model for NaN", site, value);
  return absmax;
}

std::vector<float> column_absmax(std::initializer_list<const nn::Linear*> readers) {
  std::vector<float> largest;
  for (const nn::Linear* reader : readers) {
    const std::vector<float> own = to_vector(reader->dense_weight().abs().amax(0));
    largest.resize(own.size());
    std::transform(own.begin(), own.end(), largest.begin(), largest.begin(),
                   [](float a, float b) { return std::max(a, b); });
  }
  return largest;
}

std::vector<float> to_vector(const at::Tensor& values) {
  const at::Tensor plain = values.to(at::kFloat).contiguous();
  const float* data = plain.const_data_ptr<float>();
  return {data, data + plain.numel()};
}

std::vector<float> smoothing_factors(std::span<const float> inputs, std::span<const float> weights, double alpha,
                                     double beta) {
  if (inputs.size() != weights.size())
    throw InvalidArgument("smoothing needs one weight maximum an input channel, got {} for {}", weights.size(),
                          inputs.size());
  std::vector<float> factors(inputs.size(), 1.0f);
  for (size_t k = 0; k < inputs.size(); ++k)
    if (inputs[k] > 0 && weights[k] > 0)
      factors[k] = static_cast<float>(std::pow(static_cast<double>(inputs[k]), alpha) /
                                      std::pow(static_cast<double>(weights[k]), beta));
  return factors;
}

std::vector<float> max_over_query_groups(const nn::DecoderConfig& config, std::span<const float> values) {
  const int64_t dim = config.head_dim, ratio = config.heads / config.kv_heads;
  if (static_cast<int64_t>(values.size()) != config.heads * dim)
    throw InvalidArgument("{} heads of {} channels have {} values, got {}", config.heads, dim, config.heads * dim,
                          values.size());
  std::vector<float> largest(config.kv_heads * dim, 0.0f);
  for (size_t i = 0; i < values.size(); ++i) {
    const auto position = static_cast<int64_t>(i);
    float& slot = largest[position / dim / ratio * dim + position % dim];
    slot = std::max(slot, values[i]);
  }
  return largest;
}

void max_over_rope_pairs(std::span<float> values, int64_t head_dim, int64_t rotary_dim, kernels::RopeStyle style) {
  const bool adjacent = style == kernels::RopeStyle::Adjacent;
  const int64_t half = rotary_dim / 2;
  for (int64_t head = 0; head < static_cast<int64_t>(values.size()); head += head_dim)
    for (int64_t i = 0; i < half; ++i) {
      float& a = values[head + (adjacent ? 2 * i : i)];
      float& b = values[head + (adjacent ? 2 * i + 1 : i + half)];
      a = b = std::max(a, b);
    }
}

at::Tensor scaled_gram(const at::Tensor& gram, std::span<const float> factors) {
  const at::Tensor s =
      at::from_blob(const_cast<float*>(factors.data()), {static_cast<int64_t>(factors.size())}, at::kFloat)
          .to(at::kDouble);
  return gram / (s.view({-1, 1}) * s.view({1, -1}));
}

at::Tensor permuted_gram(const at::Tensor& gram, std::span<const int64_t> order) {
  const at::Tensor index = index_of(order);
  return gram.index_select(0, index).index_select(1, index);
}

}  // namespace halftone
