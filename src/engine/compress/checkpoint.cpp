// Files of a compression in progress; see checkpoint.h.
#include "engine/compress/checkpoint.h"

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/json.h"
#include "io/artifact.h"
#include "models/language/storage_io.h"

namespace halftone::engine {

CompressCheckpoint::CompressCheckpoint(const std::filesystem::path& output, const std::string& fingerprint,
                                       bool resume) {
  folder_ = output;
  folder_ += ".partial";
  const auto marker = folder_ / "fingerprint";
  std::error_code ignored;
  const bool known = std::filesystem::exists(marker, ignored) && read_text(marker) == fingerprint;
  if (!known || !resume) std::filesystem::remove_all(folder_, ignored);
  std::error_code failure;
  std::filesystem::create_directories(folder_, failure);
  if (failure) throw IoError("cannot make the folder {}: {}", folder_.string(), failure.message());
  if (!known || !resume) write_file(marker, fingerprint);
}

std::filesystem::path CompressCheckpoint::block_path(int64_t block) const {
  return folder_ / ("block-" + std::to_string(block) + ".safetensors");
}

bool CompressCheckpoint::has_block(int64_t block) const { return std::filesystem::exists(block_path(block)); }

void CompressCheckpoint::save_block(int64_t block, const nn::DecoderBlock& weights) const {
  models::TensorBundle bundle;
  const Json description = models::save_block(block, weights, bundle);
  write_artifact(block_path(block), description, bundle.views());
}

nn::DecoderBlock CompressCheckpoint::load_block(int64_t block) const {
  const Artifact saved = open_artifact(block_path(block));
  return models::load_block(block, saved.document, saved.file);
}

void CompressCheckpoint::remove() const {
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

}  // namespace halftone::engine
