// Models spread over several safetensors files, found through model.safetensors.index.json; see safetensors.h.
#include <algorithm>
#include <utility>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/json.h"
#include "io/byte_reader.h"
#include "io/safetensors/safetensors.h"
#include "io/strict_json.h"

namespace halftone {
namespace {

constexpr std::string_view kIndexName = "model.safetensors.index.json";
constexpr std::string_view kSingleName = "model.safetensors";

/// Throws unless `shard` is the plain name of a safetensors file: an index must not lead out of its directory.
void check_shard_name(const std::string& index, const std::string& shard) {
  const bool plain = shard.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
  if (!plain || shard.starts_with('.') || !shard.ends_with(".safetensors"))
    throw IoError("{}: the shard name '{}' is not the plain name of a .safetensors file beside the index", index,
                  printable(shard));
}

}  // namespace

SafetensorsModel SafetensorsModel::open(const std::filesystem::path& path) {
  if (std::error_code ignored; std::filesystem::is_directory(path, ignored)) {
    if (exists(path / kIndexName, ignored)) return open_index(path / kIndexName);
    if (exists(path / kSingleName, ignored)) return open(path / kSingleName);
    throw IoError("{}: the directory holds neither {} nor {}", path.string(), kIndexName, kSingleName);
  }
  if (path.filename().string().ends_with(".index.json")) return open_index(path);
  SafetensorsModel model;
  model.name_ = path.string();
  model.files_.push_back(SafetensorsFile::open(path));
  for (const TensorView& tensor : model.files_[0].tensors()) model.file_of_.emplace(tensor.name, 0);
  return model;
}

SafetensorsModel SafetensorsModel::open_index(const std::filesystem::path& path) {
  SafetensorsModel model;
  model.name_ = path.string();
  const std::string text = read_text(path);
  check_strict_json(text, model.name_);
  const auto index = nlohmann::json::parse(text);  // sorted members: an index may name 100000 tensors
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object())
    throw IoError("{}: wanted an object with the object 'weight_map'", model.name_);
  std::map<std::string, size_t> shards;
  for (const auto& [name, shard] : index["weight_map"].items()) {
    if (!shard.is_string())
      throw IoError("{}: weight_map['{}'] is no string, wanted a file name", model.name_, printable(name));
    const auto& file_name = shard.get_ref<const std::string&>();
    const auto [at, fresh] = shards.try_emplace(file_name, model.files_.size());
    if (fresh) {
      check_shard_name(model.name_, file_name);
      model.files_.push_back(SafetensorsFile::open(path.parent_path() / file_name));
    }
    if (model.files_[at->second].find(name) == nullptr)
      throw IoError("{}: weight_map puts tensor '{}' into {}, which does not hold it", model.name_, printable(name),
                    file_name);
    model.file_of_.emplace(name, at->second);
  }
  return model;
}

std::vector<std::string_view> SafetensorsModel::names() const {
  std::vector<std::string_view> names;
  names.reserve(file_of_.size());
  for (const auto& [name, file] : file_of_) names.push_back(name);
  return names;
}

const TensorView* SafetensorsModel::find(std::string_view tensor_name) const {
  const auto at = file_of_.find(tensor_name);
  return at == file_of_.end() ? nullptr : files_[at->second].find(tensor_name);
}

const TensorView& SafetensorsModel::tensor(std::string_view tensor_name) const {
  const TensorView* found = find(tensor_name);
  if (found == nullptr)
    throw IoError("{}: tensor '{}' is missing; {} tensors are there", name_, tensor_name, file_of_.size());
  return *found;
}

}  // namespace halftone
