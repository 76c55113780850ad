// One builder over two sources of named tensors; see load_weights.h.
#include "models/language/load_weights.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>

#include <cstring>
#include <exception>
#include <mutex>
#include <optional>

#include "base/error.h"
#include "base/progress.h"
#include "base/thread_pool.h"
#include "models/language/gguf_storage.h"
#include "models/language/names.h"
#include "models/language/storage_io.h"
#include "tensor/packed_weight.h"

namespace halftone::models {
namespace {

/// Where weights come from. `part` is the index into kLinearNames or kNormNames.
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  virtual Storage linear(int64_t block, size_t part) const = 0;
  virtual at::Tensor bias(int64_t block, size_t part) const = 0;  ///< undefined when there is none
  virtual at::Tensor norm(int64_t block, size_t part) const = 0;  ///< undefined when there is none
  virtual Storage embedding() const = 0;
  virtual at::Tensor final_norm() const = 0;
  virtual std::optional<Storage> head() const = 0;  ///< none when tied
};

class GgufSource final : public WeightSource {
 public:
  GgufSource(const GgufFile& file, LoadOptions options) : file_(file), weights_(options.weights) {}
  Storage linear(int64_t block, size_t part) const override {
    return matrix(file_.tensor(name(block, kLinearNames[part].gguf, ".weight")));
  }
  at::Tensor bias(int64_t block, size_t part) const override {
    return vector(name(block, kLinearNames[part].gguf, ".bias"));
  }
  at::Tensor norm(int64_t block, size_t part) const override {
    return vector(name(block, kNormNames[part].gguf, ".weight"));
  }
  Storage embedding() const override { return matrix(file_.tensor("token_embd.weight")); }
  at::Tensor final_norm() const override { return vector("output_norm.weight"); }
  std::optional<Storage> head() const override {
    const GgufTensor* tensor = file_.find("output.weight");
    return tensor == nullptr ? std::optional<Storage>() : matrix(*tensor);
  }

 private:
  static std::string name(int64_t block, std::string_view part, std::string_view end) {
    return "blk." + std::to_string(block) + "." + std::string(part) + std::string(end);
  }
  Storage matrix(const GgufTensor& tensor) const { return storage_from_gguf(tensor, weights_); }
  at::Tensor vector(const std::string& name) const {
    const GgufTensor* tensor = file_.find(name);
    return tensor == nullptr ? at::Tensor() : dequantize(storage_from_gguf(*tensor, Weights::Float32)).view(-1);
  }
  const GgufFile& file_;
  Weights weights_;
};

class HfSource final : public WeightSource {
 public:
  HfSource(const SafetensorsModel& files, bool gemma) : files_(files), gemma_(gemma) {}
  Storage linear(int64_t block, size_t part) const override {
    return matrix(name(block, kLinearNames[part].hf) + ".weight");
  }
  at::Tensor bias(int64_t block, size_t part) const override {
    return optional(name(block, kLinearNames[part].hf) + ".bias", 0);
  }
  at::Tensor norm(int64_t block, size_t part) const override {
    std::string_view hf = kNormNames[part].hf;
    if (gemma_ && kNormNames[part].site == "ffn_norm") hf = kGemmaHfFfnNorm;
    if (gemma_ && kNormNames[part].site == "post_attn_norm") hf = kGemmaHfPostAttnNorm;
    return hf.empty() ? at::Tensor() : optional(name(block, hf) + ".weight", norm_offset());
  }
  Storage embedding() const override { return matrix("model.embed_tokens.weight"); }
  at::Tensor final_norm() const override { return optional("model.norm.weight", norm_offset()); }
  std::optional<Storage> head() const override {
    return files_.find("lm_head.weight") == nullptr ? std::optional<Storage>() : matrix("lm_head.weight");
  }

 private:
  /// Gemma's checkpoints hold w where the norm multiplies by 1 + w.
  float norm_offset() const { return gemma_ ? 1.0f : 0.0f; }
  static std::string name(int64_t block, std::string_view part) {
    return "model.layers." + std::to_string(block) + "." + std::string(part);
  }
  at::Tensor required(const std::string& name) const {
    const TensorView& view = files_.tensor(name);
    at::ScalarType type;
    switch (view.type) {
      case SafetensorsType::F32:
        type = at::kFloat;
        break;
      case SafetensorsType::F16:
        type = at::kHalf;
        break;
      case SafetensorsType::BF16:
        type = at::kBFloat16;
        break;
      default:
        throw Unsupported("tensor {} has type {}; f32, f16 and bf16 checkpoints are read", name, to_string(view.type));
    }
    at::Tensor tensor = at::empty(view.shape, type);
    if (!view.bytes.empty()) std::memcpy(tensor.mutable_data_ptr(), view.bytes.data(), view.bytes.size());
    return tensor;
  }
  Storage matrix(const std::string& name) const {
    at::Tensor values = required(name);
    if (values.dim() != 2) throw IoError("tensor {} has {} dimensions; a matrix is needed", name, values.dim());
    return DenseStorage{std::move(values)};
  }
  at::Tensor optional(const std::string& name, float offset) const {
    if (files_.find(name) == nullptr) return {};
    return required(name).to(at::kFloat).view(-1) + offset;
  }
  const SafetensorsModel& files_;
  bool gemma_;
};

nn::NormWeight expect_norm(at::Tensor weight, int64_t size, bool needed, const std::string& what) {
  if (!weight.defined() && needed) throw IoError("the model has no {}", what);
  if (weight.defined() && weight.numel() != size)
    throw IoError("{} has {} values, but the model's metadata asks for {}", what, weight.numel(), size);
  return weight;
}

nn::Linear build_linear(const WeightSource& source, int64_t block, size_t part, int64_t outputs, int64_t inputs) {
  const std::string site = site_name(block, kLinearNames[part].site);
  Storage weight = source.linear(block, part);
  if (rows_of(weight) != outputs || columns_of(weight) != inputs)
    throw IoError("{} is of shape [{}, {}], but the model's metadata asks for [{}, {}]", site, rows_of(weight),
                  columns_of(weight), outputs, inputs);
  at::Tensor bias = source.bias(block, part);
  if (bias.defined() && bias.numel() != outputs)
    throw IoError("{} has {} bias values for {} outputs", site, bias.numel(), outputs);
  const auto activations = activations_for(weight);
  nn::Linear linear(site, std::move(weight), std::move(bias));
  if (activations != linear.activations()) linear.set_weight(linear.shared_weight(), activations);
  return linear;
}

nn::DecoderBlock build_block(const nn::DecoderConfig& c, const WeightSource& source, int64_t index) {
  const int64_t q = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim;
  const auto linear = [&](size_t part, int64_t outputs, int64_t inputs) {
    return build_linear(source, index, part, outputs, inputs);
  };
  nn::DecoderBlock block{{},
                         {},
                         {},
                         {},
                         {},
                         {},
                         linear(0, q, c.width),
                         linear(1, kv, c.width),
                         linear(2, kv, c.width),
                         linear(3, c.width, q),
                         linear(4, c.ffn_width, c.width),
                         linear(5, c.ffn_width, c.width),
                         linear(6, c.width, c.ffn_width)};
  const bool gemma = c.architecture == "gemma3";
  const std::array<int64_t, 6> sizes = {c.width, c.width, c.head_dim, c.head_dim, c.width, c.width};
  const auto norms = norms_of(block);
  for (size_t i = 0; i < norms.size(); ++i)
    *norms[i] = expect_norm(source.norm(index, i), sizes[i], i < 2 || gemma, site_name(index, kNormNames[i].site));
  return block;
}

nn::Decoder build(nn::DecoderConfig config, const WeightSource& source, const LoadOptions& options) {
  auto blocks = make_blocks(static_cast<int64_t>(config.layers.size()), options,
                            [&](int64_t index) { return build_block(config, source, index); });
  auto embedding = std::make_shared<const Storage>(source.embedding());
  auto head = source.head();
  auto lm_head = head ? std::make_shared<const Storage>(std::move(*head)) : embedding;
  const auto head_activations = activations_for(*lm_head);
  nn::NormWeight norm = expect_norm(source.final_norm(), config.width, true, "final norm");
  nn::Decoder decoder(std::move(config), std::move(embedding), std::move(blocks), std::move(norm), std::move(lm_head));
  if (head_activations != decoder.lm_head().activations())
    decoder.lm_head().set_weight(decoder.lm_head().shared_weight(), head_activations);
  if (options.run_only) decoder.run_only();
  return decoder;
}

}  // namespace

std::vector<nn::DecoderBlock> make_blocks(int64_t count, const LoadOptions& options,
                                          const std::function<nn::DecoderBlock(int64_t)>& make) {
  std::vector<std::optional<nn::DecoderBlock>> made(static_cast<size_t>(count));
  std::vector<std::exception_ptr> errors(made.size());  // bodies of parallel_for must not throw
  Progress progress("load", count, true);
  std::mutex mutex;
  int64_t done = 0;
  const auto make_some = [&](int64_t begin, int64_t end, int) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      try {
        made[i].emplace(make(static_cast<int64_t>(i)));
        if (options.run_only) made[i]->run_only();
      } catch (...) {
        errors[i] = std::current_exception();
      }
      const std::lock_guard lock(mutex);
      progress.update(++done);
    }
  };
  options.pool != nullptr ? options.pool->parallel_for(count, 1, make_some) : make_some(0, count, 0);
  std::vector<nn::DecoderBlock> blocks;
  for (size_t i = 0; i < made.size(); ++i) {
    if (errors[i]) std::rethrow_exception(errors[i]);
    blocks.push_back(std::move(*made[i]));
  }
  return blocks;
}

nn::ActivationFormat activations_for(const Storage& storage) {
  return why_not_packed(storage).empty() ? nn::ActivationFormat::Int8PerGroup : nn::ActivationFormat::Float32;
}

nn::Decoder build_decoder(nn::DecoderConfig config, const GgufFile& file, LoadOptions options) {
  return build(std::move(config), GgufSource(file, options), options);
}

nn::Decoder build_decoder(nn::DecoderConfig config, const SafetensorsModel& files, LoadOptions options) {
  const bool gemma = config.architecture == "gemma3";
  return build(std::move(config), HfSource(files, gemma), options);
}

}  // namespace halftone::models
