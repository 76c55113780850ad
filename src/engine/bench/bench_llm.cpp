// A language model in several storages, timed in turns; see bench.h.
#include <algorithm>
#include <functional>

#include "base/philox.h"
#include "base/progress.h"
#include "engine/bench/bandwidth.h"
#include "engine/bench/bench.h"
#include "engine/bench/speed.h"
#include "engine/bench/statistics.h"
#include "models/language/language_model.h"
#include "tensor/quantize.h"

namespace halftone::engine {
namespace {

constexpr int64_t kPromptTokens = 32;
constexpr int64_t kGroup = 64;
constexpr size_t kBandwidthBytes = size_t{256} << 20;

/// How a layer is stored in one way of the benchmark.
struct Way {
  std::string name;
  std::function<Storage(const Storage&)> block;
  std::function<std::shared_ptr<const Storage>(const std::shared_ptr<const Storage>&)> head;
  nn::ActivationFormat activations = nn::ActivationFormat::Float32;
};

nn::Linear convert(const nn::Linear& linear, const Way& way) {
  nn::Linear converted(linear.site(), linear.weight(), linear.bias());
  converted.set_weight(way.block(linear.weight()), way.activations);
  return converted;
}

/// The same model in another storage; norms, biases and what stays as it is are shared.
nn::Decoder convert(const nn::Decoder& decoder, const Way& way) {
  std::vector<nn::DecoderBlock> blocks;
  for (const auto& b : decoder.blocks())
    blocks.push_back({.attn_norm = b.attn_norm,
                      .ffn_norm = b.ffn_norm,
                      .q_norm = b.q_norm,
                      .k_norm = b.k_norm,
                      .post_attn_norm = b.post_attn_norm,
                      .post_ffn_norm = b.post_ffn_norm,
                      .q_proj = convert(b.q_proj, way),
                      .k_proj = convert(b.k_proj, way),
                      .v_proj = convert(b.v_proj, way),
                      .o_proj = convert(b.o_proj, way),
                      .gate_proj = convert(b.gate_proj, way),
                      .up_proj = convert(b.up_proj, way),
                      .down_proj = convert(b.down_proj, way)});
  nn::Decoder converted(decoder.config(), decoder.embedding(), std::move(blocks), decoder.final_norm(),
                        way.head(decoder.lm_head().shared_weight()));
  converted.set_residual_rotation(decoder.residual_rotation());
  return converted;
}

std::function<Storage(const Storage&)> rounded_to(ExecContext& exec, QuantScheme scheme) {
  return [&exec, scheme](const Storage& storage) -> Storage {
    QuantScheme fitted = scheme;
    if (scheme.granularity != Granularity::Row) fitted.group = fitting_group(columns_of(storage), scheme.group);
    return quantize_nearest(exec, dequantize(storage), fitted);
  };
}

std::vector<Way> ways(ExecContext& exec) {
  const auto as_f32 = [](const Storage& storage) {
    const auto* dense = std::get_if<DenseStorage>(&storage);
    return dense != nullptr && dense->values.scalar_type() == at::kFloat
               ? storage
               : make_dense(dequantize(storage), ElementType::Float32);
  };
  const auto head_f32 = [as_f32](const std::shared_ptr<const Storage>& head) {
    return std::make_shared<const Storage>(as_f32(*head));
  };
  // What the methods leave of the head by default.
  const auto head_f16 = [](const std::shared_ptr<const Storage>& head) {
    return std::make_shared<const Storage>(make_dense(dequantize(*head), ElementType::Float16));
  };
  const auto head_int8 = [&exec](const std::shared_ptr<const Storage>& head) {
    return std::make_shared<const Storage>(
        rounded_to(exec, {.element = ElementType::Int8, .granularity = Granularity::Row})(*head));
  };
  const QuantScheme group = {
      .element = ElementType::Int4, .granularity = Granularity::Group, .group = kGroup, .zero_points = true};
  const QuantScheme two_level = {
      .element = ElementType::Int4, .granularity = Granularity::TwoLevel, .group = kGroup, .zero_points = true};
  const auto int8 = nn::ActivationFormat::Int8PerToken;
  return {{"f32", as_f32, head_f32},
          {"int4 group 64, f32 activations, f16 head", rounded_to(exec, group), head_f16},
          {"int4 two-level 64, int8 activations, f16 head", rounded_to(exec, two_level), head_f16, int8},
          {"int4 two-level 64, int8 activations, int8 head", rounded_to(exec, two_level), head_int8, int8}};
}

/// Bytes that a decode step reads: the head counts, of the embedding only a row does.
int64_t bytes_per_token(const nn::Decoder& decoder) {
  return decoder.weight_bytes() - (decoder.tied() ? 0 : bytes_of(*decoder.embedding()));
}

std::vector<int32_t> random_prompt(const nn::Decoder& decoder, int64_t tokens, uint64_t seed) {
  PhiloxStream random(seed);
  std::vector<int32_t> prompt(tokens);
  for (auto& id : prompt)
    id = static_cast<int32_t>((static_cast<uint64_t>(random()) * decoder.config().vocabulary) >> 32);
  return prompt;
}

}  // namespace

LlmBench bench_llm(ExecContext& exec, const models::LanguageModel& model, const LlmBenchRequest& request) {
  std::vector<nn::Decoder> decoders;
  LlmBench bench;
  const std::vector<Way> all = ways(exec);
  Progress progress("bench llm", static_cast<int64_t>(all.size()) + 2);
  for (const auto& way : all) {
    decoders.push_back(convert(model.decoder, way));
    bench.ways.push_back({.name = way.name, .bytes_per_token = bytes_per_token(decoders.back())});
    progress.update(static_cast<int64_t>(decoders.size()), way.name);
  }
  std::vector<SpeedSubject> subjects;
  for (const auto& decoder : decoders) subjects.push_back({&decoder, ElementType::Float16});
  bench.read_gigabytes_per_second = ReadBandwidth(kBandwidthBytes).measure(exec);
  const auto prompt = random_prompt(model.decoder, std::max(kPromptTokens, request.prefill_tokens), request.seed);
  const std::span<const int32_t> ids(prompt);
  const auto decode = time_decode(exec, subjects, ids.first(kPromptTokens), request.decode_tokens, request.rounds);
  progress.update(static_cast<int64_t>(all.size()) + 1, "decode is timed");
  const auto prefill = time_prefill(exec, subjects, ids.first(request.prefill_tokens), request.rounds);
  progress.update(static_cast<int64_t>(all.size()) + 2, "prefill is timed");
  for (size_t i = 0; i < bench.ways.size(); ++i) {
    LlmTiming& way = bench.ways[i];
    way.decode_tokens_per_second = median(decode[i]);
    way.decode_spread = relative_spread(decode[i]);
    way.prefill_tokens_per_second = median(prefill[i]);
    way.prefill_spread = relative_spread(prefill[i]);
    way.decode_ratio = way.decode_tokens_per_second / bench.ways[0].decode_tokens_per_second;
    way.prefill_ratio = way.prefill_tokens_per_second / bench.ways[0].prefill_tokens_per_second;
  }
  return bench;
}

}  // namespace halftone::engine
