// Our own model file: one safetensors file whose __metadata__ is
//   {"format": "halftone", "version": "1", "halftone": "<JSON text>"}
// The JSON document describes the model, its storages, transforms and provenance; readers of other projects see plain
// tensors. Also tells which kind of model a path is.
#pragma once

#include <filesystem>
#include <span>
#include <string_view>

#include "base/json.h"  // Artifact holds a document by value
#include "io/safetensors/safetensors.h"

namespace halftone {

struct Artifact {
  Json document;
  SafetensorsFile file;
};

/// Whether `path` is a readable safetensors file of format "halftone", of any version; never throws.
bool is_artifact(const std::filesystem::path& path) noexcept;

/// Throws IoError when the file is damaged or its document is not a JSON object (or repeats a key, or nests deeper than
/// 64), Unsupported when it is of another format or version.
Artifact open_artifact(const std::filesystem::path& path);

/// Replaces `path` whole or not at all. Throws InvalidArgument when `document` is not an object, and as
/// write_safetensors.
void write_artifact(const std::filesystem::path& path, const Json& document, std::span<const TensorView> tensors);

enum class ModelFileKind { Gguf, SafetensorsDirectory, Artifact };

/// "gguf", "safetensors directory", "artifact".
std::string_view to_string(ModelFileKind kind);

/// Looks at the first bytes, or at the files of a directory. Throws IoError for a missing path and for anything else,
/// saying what it seems to be and what to pass instead.
ModelFileKind detect_model_file(const std::filesystem::path& path);

}  // namespace halftone
