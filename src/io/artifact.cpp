// Our artifact and the recognition of model files; see artifact.h.
#include "io/artifact.h"

#include <array>
#include <fstream>
#include <string>
#include <utility>

#include "base/error.h"
#include "io/byte_reader.h"
#include "io/strict_json.h"

namespace halftone {
namespace {

constexpr std::string_view kFormat = "halftone";
constexpr std::string_view kVersion = "1";

std::string_view metadata_value(const SafetensorsFile& file, const std::string& key) {
  const auto at = file.metadata().find(key);
  return at == file.metadata().end() ? std::string_view() : std::string_view(at->second);
}

struct Signature {
  std::string_view start;
  std::string_view advice;
};
constexpr std::array kSignatures = {
    Signature{"PK\x03\x04", "it seems to be a PyTorch checkpoint or a zip archive; convert it to safetensors or GGUF"},
    Signature{"\x80\x02", "it seems to be a Python pickle, which can run code; convert it to safetensors or GGUF"},
    Signature{"version https://git-lfs", "it is a Git LFS pointer, not the file itself; fetch it with 'git lfs pull'"},
    Signature{"<", "it seems to be a web page, perhaps a failed download; fetch the file again"},
    Signature{"{", "it seems to be JSON; pass the directory with the model's safetensors files"},
    Signature{"ggjt", "it is of a format before GGUF; convert the model again"},
    Signature{"FUGG", "it is a GGUF file with its bytes swapped; convert it for little-endian machines"},
};

[[noreturn]] void throw_unknown(const std::string& path, std::string_view start) {
  for (const Signature& signature : kSignatures)
    if (start.starts_with(signature.start)) throw IoError("{} is no model file: {}", path, signature.advice);
  throw IoError(
      "{} is no model file (it starts with '{}'): pass a .gguf file, a halftone artifact, or a directory with "
      "config.json and model.safetensors",
      path, printable(start.substr(0, 8)));
}

ModelFileKind detect_directory(const std::filesystem::path& path) {
  for (const char* name : {"model.safetensors.index.json", "model.safetensors"})
    if (std::error_code ignored; exists(path / name, ignored)) return ModelFileKind::SafetensorsDirectory;
  throw IoError(
      "{} holds neither model.safetensors nor model.safetensors.index.json: pass the directory that does, a "
      ".gguf file or a halftone artifact",
      path.string());
}

}  // namespace

bool is_artifact(const std::filesystem::path& path) noexcept {
  try {
    return metadata_value(SafetensorsFile::open(path), "format") == kFormat;
  } catch (const std::exception&) {
    return false;
  }
}

Artifact open_artifact(const std::filesystem::path& path) {
  SafetensorsFile file = SafetensorsFile::open(path);
  const std::string_view format = metadata_value(file, "format"), version = metadata_value(file, "version");
  if (format != kFormat)
    throw Unsupported("{}: the metadata names the format '{}', wanted '{}': this is no halftone artifact", file.name(),
                      printable(format), kFormat);
  if (version != kVersion)
    throw Unsupported(
        "{}: artifact version '{}', this build reads '{}'; write it again with this build or use a newer "
        "one",
        file.name(), printable(version), kVersion);
  Json document = parse_strict_json(metadata_value(file, "halftone"), file.name() + ", metadata 'halftone'");
  if (!document.is_object())
    throw IoError("{}: the metadata 'halftone' is a JSON {}, wanted an object", file.name(), document.type_name());
  return {std::move(document), std::move(file)};
}

void write_artifact(const std::filesystem::path& path, const Json& document, std::span<const TensorView> tensors) {
  if (!document.is_object())
    throw InvalidArgument("the document of an artifact is a JSON {}, wanted an object", document.type_name());
  std::string text;
  try {
    text = document.dump();
  } catch (const Json::type_error& error) {
    throw InvalidArgument("the document of {} cannot be written: {}", path.string(), error.what());
  }
  write_safetensors(path, tensors,
                    {{"format", std::string(kFormat)}, {"version", std::string(kVersion)}, {"halftone", text}});
}

std::string_view to_string(ModelFileKind kind) {
  switch (kind) {
    case ModelFileKind::Gguf:
      return "gguf";
    case ModelFileKind::SafetensorsDirectory:
      return "safetensors directory";
    case ModelFileKind::Artifact:
      return "artifact";
  }
  return "unknown";
}

ModelFileKind detect_model_file(const std::filesystem::path& path) {
  std::error_code ignored;
  if (is_directory(path, ignored)) return detect_directory(path);
  if (!exists(path, ignored))
    throw IoError("{} does not exist; pass a .gguf file, a halftone artifact or a model directory", path.string());
  std::array<char, 32> buffer{};
  std::ifstream stream(path, std::ios::binary);
  if (!stream) throw IoError("{} cannot be read; check its permissions", path.string());
  stream.read(buffer.data(), buffer.size());
  const std::string_view start(buffer.data(), static_cast<size_t>(stream.gcount()));
  if (start.starts_with("GGUF")) return ModelFileKind::Gguf;
  if (is_artifact(path)) return ModelFileKind::Artifact;
  if (start.size() > 8 && start[8] == '{')
    throw IoError(
        "{} is a safetensors file (or a damaged artifact), which does not say how its model is built: pass the "
        "directory that holds it and its config.json",
        path.string());
  throw_unknown(path.string(), start);
}

}  // namespace halftone
