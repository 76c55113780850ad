// Reading a model's description off its file and its loaded form; see inspect.h.
#include "engine/inspect/inspect.h"

#include <algorithm>
#include <map>

#include "base/json.h"
#include "io/artifact.h"
#include "io/gguf/gguf.h"
#include "models/language/gguf_storage.h"
#include "models/language/language_model.h"

namespace halftone::engine {
namespace {

/// One tensor as it is stored in the file.
struct StoredTensor {
  std::string name;
  std::string format;
  std::vector<int64_t> shape;  ///< outermost first
  int64_t elements = 0;
  int64_t bytes = 0;
  std::string loaded;  ///< format in memory
};

std::vector<StoredTensor> gguf_tensors(const std::filesystem::path& path, models::LoadOptions options) {
  std::vector<StoredTensor> tensors;
  const GgufFile file = GgufFile::open(path);
  for (const auto& t : file.tensors()) {
    StoredTensor stored{
        std::string(t.name), std::string(to_string(t.type)), {}, t.elements(), static_cast<int64_t>(t.bytes.size())};
    stored.loaded = t.rank > 1 ? models::loaded_format(t.type, options.weights) : "f32";
    for (int i = t.rank - 1; i >= 0; --i) stored.shape.push_back(t.dims[i]);
    tensors.push_back(std::move(stored));
  }
  return tensors;
}

std::string loaded_format(const TensorView& tensor) {
  if (tensor.shape.size() == 2 && tensor.type == SafetensorsType::F16) return "f16";
  if (tensor.shape.size() == 2 && tensor.type == SafetensorsType::BF16) return "bf16";
  return "f32";
}

std::vector<StoredTensor> safetensors_tensors(const std::filesystem::path& path) {
  std::vector<StoredTensor> tensors;
  const SafetensorsModel model = SafetensorsModel::open(path);
  for (const auto& file : model.files())
    for (const auto& t : file.tensors())
      tensors.push_back({t.name, std::string(to_string(t.type)), t.shape, t.elements(),
                         static_cast<int64_t>(t.bytes.size()), loaded_format(t)});
  return tensors;
}

std::vector<StoredTensor> artifact_tensors(const nn::Decoder& decoder) {
  std::vector<StoredTensor> tensors;
  const auto add = [&](const std::string& name, const Storage& s) {
    const int64_t rows = rows_of(s), columns = columns_of(s);
    tensors.push_back({name, describe(s), {rows, columns}, rows * columns, bytes_of(s), describe(s)});
  };
  add("embedding", *decoder.embedding());
  for (const auto& block : decoder.blocks())
    for (const auto* linear : block.linears()) add(linear->site(), linear->weight());
  if (!decoder.tied()) add("lm_head", decoder.lm_head().weight());
  StoredTensor rest{"norms and biases", "f32", {}, decoder.parameters(), decoder.weight_bytes(), "f32"};
  for (const auto& t : tensors) rest.elements -= t.elements, rest.bytes -= t.bytes;
  tensors.push_back(std::move(rest));
  return tensors;
}

std::vector<StoredTensor> stored_tensors(const std::filesystem::path& path, const models::LanguageModel& model,
                                         models::LoadOptions options) {
  if (model.source_kind == "gguf") return gguf_tensors(path, options);
  if (model.source_kind == "artifact") return artifact_tensors(model.decoder);
  return safetensors_tensors(path);
}

void add_tensors(const std::vector<StoredTensor>& tensors, Json& json) {
  std::map<std::pair<std::string, std::string>, StorageShare> formats;
  Json list = Json::array();
  int64_t elements = 0, bytes = 0;
  for (const auto& t : tensors) {
    auto& share = formats[{t.format, t.loaded}];
    share.layers += 1, share.bytes += t.bytes;
    elements += t.elements, bytes += t.bytes;
    list.push_back(
        {{"name", t.name}, {"format", t.format}, {"shape", t.shape}, {"bytes", t.bytes}, {"loaded", t.loaded}});
  }
  json["weight_bytes"] = bytes;
  json["bits_per_weight"] = 8.0 * static_cast<double>(bytes) / static_cast<double>(std::max<int64_t>(elements, 1));
  json["formats"] = Json::array();
  for (const auto& [format, share] : formats)
    json["formats"].push_back(
        {{"format", format.first}, {"tensors", share.layers}, {"bytes", share.bytes}, {"loaded", format.second}});
  json["tensors"] = std::move(list);
}

std::string_view kind_of(const TokenizerSpec& spec) {
  switch (spec.kind) {
    case TokenizerKind::Bpe:
      return "bpe";
    case TokenizerKind::Spm:
      return "sentencepiece";
    case TokenizerKind::Unigram:
      return "unigram";
  }
  return "?";
}

Json describe_tokenizer(const Tokenizer& tokenizer) {
  const TokenizerSpec& spec = tokenizer.spec();
  Json ends = Json::array();
  for (int32_t id = 0; id < tokenizer.vocab_size(); ++id)
    if (tokenizer.is_end_of_generation(id)) ends.push_back(id);
  return {{"kind", std::string(kind_of(spec))},
          {"pre", spec.pre},
          {"vocabulary", tokenizer.vocab_size()},
          {"merges", spec.merges.size()},
          {"bos_id", spec.bos_id},
          {"eos_id", spec.eos_id},
          {"add_bos", spec.add_bos},
          {"end_of_generation_ids", ends},
          {"chat_template", !spec.chat_template.empty()}};
}

void add_architecture(const nn::Decoder& decoder, Json& json) {
  const nn::DecoderConfig& config = decoder.config();
  const auto windowed = std::count_if(config.layers.begin(), config.layers.end(),
                                      [](const nn::LayerAttention& layer) { return layer.window > 0; });
  int64_t window = 0;
  for (const auto& layer : config.layers) window = std::max(window, layer.window);
  json["architecture"] = config.architecture;
  json["parameters"] = decoder.parameters();
  json["blocks"] = config.layers.size();
  json["width"] = config.width;
  json["ffn_width"] = config.ffn_width;
  json["heads"] = config.heads;
  json["kv_heads"] = config.kv_heads;
  json["head_dim"] = config.head_dim;
  json["vocabulary"] = config.vocabulary;
  json["context_length"] = config.context_length;
  json["sliding_window"] = {{"tokens", window}, {"blocks", windowed}};
  json["tied_head"] = decoder.tied();
  json["kv_format"] = std::string(to_string(decoder.kv_format()));
  json["kv_bytes_per_token"] = nn::kv_bytes_per_token(config.kv_shape(), decoder.kv_format());
  Json& by_format = json["kv_bytes_per_token_by_format"] = Json::object();
  for (const auto type : {ElementType::Float32, ElementType::Float16, ElementType::Int8, ElementType::Int4})
    by_format[std::string(to_string(type))] = nn::kv_bytes_per_token(config.kv_shape(), type);
}

}  // namespace

Json inspect(const std::filesystem::path& path, models::LoadOptions options) {
  const models::LanguageModel model = models::load_language_model(path, options);
  Json json = {
      {"path", path.string()}, {"source", model.source_kind}, {"file_bytes", model.file_bytes}, {"name", model.name}};
  add_architecture(model.decoder, json);
  json["tokenizer"] = describe_tokenizer(model.tokenizer);
  const int64_t loaded = model.decoder.weight_bytes();
  json["loaded"] = {
      {"weights", std::string(to_string(options.weights))},
      {"weight_bytes", loaded},
      {"bits_per_weight", 8.0 * static_cast<double>(loaded) / static_cast<double>(model.decoder.parameters())}};
  json["provenance"] = model.provenance;
  add_tensors(stored_tensors(path, model, options), json);
  return json;
}

std::vector<StorageShare> storage_shares(const nn::Decoder& decoder) {
  std::map<std::string, StorageShare> shares;
  const auto add = [&](const Storage& storage) {
    auto& share = shares[describe(storage)];
    share.layers += 1;
    share.bytes += bytes_of(storage);
  };
  add(*decoder.embedding());
  if (!decoder.tied()) add(decoder.lm_head().weight());
  for (const auto& block : decoder.blocks())
    for (const auto* linear : block.linears()) add(linear->weight());
  std::vector<StorageShare> sorted;
  for (auto& [format, share] : shares) sorted.push_back({format, share.layers, share.bytes});
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const StorageShare& a, const StorageShare& b) { return a.bytes > b.bytes; });
  return sorted;
}

std::string provenance_text(const models::LanguageModel& model) {
  return model.provenance.is_null() || model.provenance.empty() ? std::string() : model.provenance.dump();
}

}  // namespace halftone::engine
