// One builder over two sources of named tensors; see load_weights.h.
#include "models/language/load_weights.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>

#include <cstring>

#include "base/error.h"
#include "models/language/names.h"
#include "models/language/storage_io.h"

namespace halftone::models {
namespace {

/// Where weights come from. `part` is the index into kLinearNames or kNormNames.
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  virtual at::Tensor linear(int64_t block, size_t part) const = 0;
  virtual at::Tensor bias(int64_t block, size_t part) const = 0;  ///< undefined when there is none
  virtual at::Tensor norm(int64_t block, size_t part) const = 0;  ///< undefined when there is none
  virtual at::Tensor embedding() const = 0;
  virtual at::Tensor final_norm() const = 0;
  virtual at::Tensor head() const = 0;  ///< undefined when tied
};

class GgufSource final : public WeightSource {
 public:
  explicit GgufSource(const GgufFile& file) : file_(file) {}
  at::Tensor linear(int64_t block, size_t part) const override {
    return decode(file_.tensor(name(block, kLinearNames[part].gguf, ".weight")));
  }
  at::Tensor bias(int64_t block, size_t part) const override {
    return vector(name(block, kLinearNames[part].gguf, ".bias"));
  }
  at::Tensor norm(int64_t block, size_t part) const override {
    return vector(name(block, kNormNames[part].gguf, ".weight"));
  }
  at::Tensor embedding() const override { return decode(file_.tensor("token_embd.weight")); }
  at::Tensor final_norm() const override { return vector("output_norm.weight"); }
  at::Tensor head() const override {
    const GgufTensor* tensor = file_.find("output.weight");
    return tensor == nullptr ? at::Tensor() : decode(*tensor);
  }

 private:
  static std::string name(int64_t block, std::string_view part, std::string_view end) {
    return "blk." + std::to_string(block) + "." + std::string(part) + std::string(end);
  }
  at::Tensor vector(const std::string& name) const {
    const GgufTensor* tensor = file_.find(name);
    return tensor == nullptr ? at::Tensor() : decode(*tensor).view(-1).to(at::kFloat);
  }
  static at::Tensor decode(const GgufTensor& tensor) {
    const bool half = tensor.type == GgufType::F16, bfloat = tensor.type == GgufType::BF16;
    at::Tensor out = at::empty({tensor.rows(), tensor.columns()}, half     ? at::kHalf
                                                                  : bfloat ? at::kBFloat16
                                                                           : at::kFloat);
    if (half || bfloat)
      std::memcpy(out.mutable_data_ptr(), tensor.bytes.data(), tensor.bytes.size());
    else
      decode_tensor(tensor, out.data_ptr<float>());
    return out;
  }
  const GgufFile& file_;
};

class HfSource final : public WeightSource {
 public:
  HfSource(const SafetensorsModel& files, bool gemma) : files_(files), gemma_(gemma) {}
  at::Tensor linear(int64_t block, size_t part) const override {
    return required(name(block, kLinearNames[part].hf) + ".weight");
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
  at::Tensor embedding() const override { return required("model.embed_tokens.weight"); }
  at::Tensor final_norm() const override { return optional("model.norm.weight", norm_offset()); }
  at::Tensor head() const override {
    return files_.find("lm_head.weight") == nullptr ? at::Tensor() : required("lm_head.weight");
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
  at::Tensor weight = source.linear(block, part);
  if (weight.dim() != 2 || weight.size(0) != outputs || weight.size(1) != inputs)
    throw IoError("{} is of shape {}, but the model's metadata asks for [{}, {}]", site,
                  weight.dim() == 2 ? fmt::format("[{}, {}]", weight.size(0), weight.size(1)) : "of other rank",
                  outputs, inputs);
  at::Tensor bias = source.bias(block, part);
  if (bias.defined() && bias.numel() != outputs)
    throw IoError("{} has {} bias values for {} outputs", site, bias.numel(), outputs);
  return nn::Linear(site, DenseStorage{std::move(weight)}, std::move(bias));
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

nn::Decoder build(nn::DecoderConfig config, const WeightSource& source) {
  std::vector<nn::DecoderBlock> blocks;
  for (int64_t i = 0; i < static_cast<int64_t>(config.layers.size()); ++i)
    blocks.push_back(build_block(config, source, i));
  auto embedding = std::make_shared<const Storage>(DenseStorage{source.embedding()});
  const at::Tensor head = source.head();
  auto lm_head = head.defined() ? std::make_shared<const Storage>(DenseStorage{head}) : embedding;
  nn::NormWeight norm = expect_norm(source.final_norm(), config.width, true, "final norm");
  return nn::Decoder(std::move(config), std::move(embedding), std::move(blocks), std::move(norm), std::move(lm_head));
}

}  // namespace

nn::Decoder build_decoder(nn::DecoderConfig config, const GgufFile& file) {
  return build(std::move(config), GgufSource(file));
}

nn::Decoder build_decoder(nn::DecoderConfig config, const SafetensorsModel& files) {
  const bool gemma = config.architecture == "gemma3";
  return build(std::move(config), HfSource(files, gemma));
}

}  // namespace halftone::models
