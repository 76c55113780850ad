// Reading and writing whole models; see language_model.h.
#include "models/language/language_model.h"

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/json.h"
#include "io/artifact.h"
#include "models/language/config.h"
#include "models/language/load_weights.h"
#include "models/language/storage_io.h"

namespace halftone::models {
namespace {

constexpr const char* kTokenizerTensor = "tokenizer.json";

std::string stem_of(const std::filesystem::path& path) {
  return path.filename().empty() ? path.parent_path().filename().string() : path.stem().string();
}

Json parse_json(const std::filesystem::path& file) {
  try {
    return Json::parse(read_text(file));
  } catch (const Json::exception& problem) {
    throw IoError("{} is not JSON: {}", file.string(), problem.what());
  }
}

Tokenizer hf_tokenizer(const std::filesystem::path& folder) {
  const auto config = folder / "tokenizer_config.json";
  return Tokenizer(tokenizer_spec_from_hf(read_text(folder / "tokenizer.json"),
                                          std::filesystem::exists(config) ? read_text(config) : std::string()));
}

/// The folder of a Hugging Face model, named itself or by a file in it.
std::filesystem::path hf_folder(const std::filesystem::path& path) {
  return std::filesystem::is_directory(path) ? path : path.parent_path();
}

LanguageModel load_gguf(const std::filesystem::path& path, LoadOptions options) {
  const GgufFile file = GgufFile::open(path);
  return {.decoder = build_decoder(decoder_config_from_gguf(file), file, options),
          .tokenizer = Tokenizer(tokenizer_spec_from_gguf(file)),
          .name = std::string(file.get_string("general.name", stem_of(path))),
          .source_kind = "gguf",
          .file_bytes = static_cast<int64_t>(std::filesystem::file_size(path))};
}

LanguageModel load_hf(const std::filesystem::path& path, LoadOptions options) {
  const auto folder = hf_folder(path);
  const SafetensorsModel files = SafetensorsModel::open(path);
  int64_t bytes = 0;
  for (const auto& file : files.files())
    for (const auto& tensor : file.tensors()) bytes += static_cast<int64_t>(tensor.bytes.size());
  return {.decoder = build_decoder(decoder_config_from_hf(parse_json(folder / "config.json")), files, options),
          .tokenizer = hf_tokenizer(folder),
          .name = stem_of(folder),
          .source_kind = "safetensors",
          .file_bytes = bytes};
}

/// Everything about a decoder that is not in its tensors.
Json describe_decoder(const nn::Decoder& decoder, TensorBundle& bundle) {
  Json blocks = Json::array();
  for (size_t i = 0; i < decoder.blocks().size(); ++i)
    blocks.push_back(save_block(static_cast<int64_t>(i), decoder.blocks()[i], bundle));
  Json json{{"config", to_json(decoder.config())},
            {"kv_format", to_string(decoder.kv_format())},
            {"tied", decoder.tied()},
            {"embedding", save_storage("embedding", *decoder.embedding(), bundle)}};
  if (!decoder.tied()) json["lm_head"] = save_storage("lm_head", decoder.lm_head().weight(), bundle);
  json["lm_head_activations"] = nn::to_string(decoder.lm_head().activations());
  if (const auto& rotation = decoder.residual_rotation())
    json["residual_rotation"] = {{"size", rotation->size()}, {"seed", rotation->seed()}};
  bundle.add("final_norm", decoder.final_norm());
  json["blocks"] = std::move(blocks);
  return json;
}

nn::Decoder decoder_from(const Json& json, const SafetensorsFile& file, const LoadOptions& options) {
  nn::DecoderConfig config = nn::decoder_config_from_json(json.at("config"));
  const Json& described = json.at("blocks");
  if (!described.is_array() || described.size() != config.layers.size())
    throw IoError("{}: {} blocks are described for {} layers", file.name(), described.size(), config.layers.size());
  auto blocks = make_blocks(static_cast<int64_t>(described.size()), options, [&](int64_t index) {
    return load_block(index, described[static_cast<size_t>(index)], file);
  });
  auto embedding = std::make_shared<const Storage>(load_storage("embedding", json.at("embedding"), file));
  auto head = json.at("tied").get<bool>()
                  ? embedding
                  : std::make_shared<const Storage>(load_storage("lm_head", json.at("lm_head"), file));
  nn::Decoder decoder(std::move(config), std::move(embedding), std::move(blocks), read_tensor(file, "final_norm"),
                      std::move(head));
  const auto activations = nn::parse_activation_format(json.at("lm_head_activations").get<std::string>());
  decoder.lm_head().set_weight(decoder.lm_head().shared_weight(), activations);
  decoder.set_kv_format(nn::parse_kv_format(json.at("kv_format").get<std::string>()));
  if (json.contains("residual_rotation")) {
    const Json& rotation = json["residual_rotation"];
    decoder.set_residual_rotation(
        RandomHadamard(rotation.at("size").get<int64_t>(), rotation.at("seed").get<uint64_t>()));
    if (decoder.residual_rotation()->size() != decoder.config().width)
      throw IoError("{}: a rotation of size {} does not fit a width of {}", file.name(),
                    decoder.residual_rotation()->size(), decoder.config().width);
  }
  if (options.run_only) decoder.run_only();
  return decoder;
}

Tokenizer artifact_tokenizer(const Artifact& artifact) {
  const TensorView& tokenizer = artifact.file.tensor(kTokenizerTensor);
  return Tokenizer(
      tokenizer_spec_from_json({reinterpret_cast<const char*>(tokenizer.bytes.data()), tokenizer.bytes.size()}));
}

/// What `read` makes of an artifact; what it cannot make sense of is damage to the file.
template <class Read>
auto read_artifact(const std::filesystem::path& path, const Read& read) {
  const Artifact artifact = open_artifact(path);
  try {
    return read(artifact);
  } catch (const Json::exception& problem) {
    throw IoError("{}: the artifact's description is damaged: {}", path.string(), problem.what());
  } catch (const InvalidArgument& problem) {
    throw IoError("{}: the artifact's description is damaged: {}", path.string(), problem.what());
  }
}

LanguageModel load_artifact(const std::filesystem::path& path, LoadOptions options) {
  return read_artifact(path, [&](const Artifact& artifact) -> LanguageModel {
    return {.decoder = decoder_from(artifact.document.at("decoder"), artifact.file, options),
            .tokenizer = artifact_tokenizer(artifact),
            .name = artifact.document.at("name").get<std::string>(),
            .source_kind = "artifact",
            .file_bytes = static_cast<int64_t>(std::filesystem::file_size(path)),
            .provenance = artifact.document.at("provenance")};
  });
}

}  // namespace

LanguageModel load_language_model(const std::filesystem::path& path, LoadOptions options) {
  switch (detect_model_file(path)) {
    case ModelFileKind::Gguf:
      return load_gguf(path, options);
    case ModelFileKind::SafetensorsDirectory:
      return load_hf(path, options);
    case ModelFileKind::Artifact:
      break;
  }
  return load_artifact(path, options);
}

Tokenizer load_tokenizer(const std::filesystem::path& path) {
  switch (detect_model_file(path)) {
    case ModelFileKind::Gguf:
      return Tokenizer(tokenizer_spec_from_gguf(GgufFile::open(path)));
    case ModelFileKind::SafetensorsDirectory:
      return hf_tokenizer(hf_folder(path));
    case ModelFileKind::Artifact:
      break;
  }
  return read_artifact(path, artifact_tokenizer);
}

void save_artifact(const LanguageModel& model, const Json& provenance, const std::filesystem::path& path) {
  TensorBundle bundle;
  Json document{{"name", model.name}, {"decoder", describe_decoder(model.decoder, bundle)}, {"provenance", provenance}};
  const std::string tokenizer = tokenizer_spec_to_json(model.tokenizer.spec()).dump();
  std::vector<TensorView> views = bundle.views();
  views.push_back({kTokenizerTensor,
                   SafetensorsType::U8,
                   {static_cast<int64_t>(tokenizer.size())},
                   std::as_bytes(std::span(tokenizer))});
  write_artifact(path, document, views);
}

}  // namespace halftone::models
