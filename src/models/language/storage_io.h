// Storages and blocks as the named tensors of a safetensors file, and back, bit for bit.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "base/json_fwd.h"
#include "io/safetensors/safetensors.h"
#include "nn/decoder.h"

namespace halftone::models {

/// A set of named tensors with the JSON that says how they form storages. The tensors' memory is kept alive.
class TensorBundle {
 public:
  void add(const std::string& name, const at::Tensor& tensor);
  const std::vector<TensorView>& views() const { return views_; }

 private:
  std::vector<TensorView> views_;
  std::vector<at::Tensor> alive_;
};

/// The named tensor of `file` as a fresh tensor; throws IoError when it is missing or of a type torch does not have.
at::Tensor read_tensor(const SafetensorsFile& file, const std::string& name);

/// Adds the storage's tensors under "NAME.codes", ".scales", ... and returns its description.
Json save_storage(const std::string& name, const Storage& storage, TensorBundle& bundle);
/// Throws IoError naming the tensor or field when the file and the description disagree.
Storage load_storage(const std::string& name, const Json& description, const SafetensorsFile& file);

/// The six norms of a block in the order of kNormNames.
std::array<nn::NormWeight*, 6> norms_of(nn::DecoderBlock& block);

/// All of a block: storages, activation formats, biases, norms.
Json save_block(int64_t index, const nn::DecoderBlock& block, TensorBundle& bundle);
nn::DecoderBlock load_block(int64_t index, const Json& description, const SafetensorsFile& file);

}  // namespace halftone::models
