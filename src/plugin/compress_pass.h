// The CompressPass seam: a post-training compression method. It sees the model block by block, with statistics of one
// calibration sweep that all passes share, and leaves storages behind.
//
// Order of calls: prepare() once; then for each block, in order, compress_block() with the statistics that needs()
// asked for, taken on the inputs that the already compressed blocks produce; finish() once.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

#include "base/exec_context.h"
#include "nn/decoder.h"
#include "plugin/site_selector.h"

namespace halftone {

/// Which statistics a pass reads; what nobody needs is not collected.
struct CalibrationNeeds {
  bool input_gram = false;    ///< sum of x x^T over tokens, per linear layer
  bool input_absmax = false;  ///< max |x_k| over tokens, per linear layer
  bool key_absmax = false;    ///< max |K| per key channel, after RoPE
  bool any() const { return input_gram || input_absmax || key_absmax; }
};

/// Statistics of one linear layer's input over the calibration tokens. Layers that read the same tensor share them.
struct InputStatistics {
  at::Tensor gram;    ///< [K, K] f64, or undefined
  at::Tensor absmax;  ///< [K] f32, or undefined
  int64_t tokens = 0;
};

/// Statistics of one block.
struct BlockStatistics {
  std::map<std::string, InputStatistics> inputs;  ///< by site
  at::Tensor key_absmax;                          ///< [Hkv * D] f32, or undefined

  /// Throws InvalidArgument when nothing was collected for `site`, naming it.
  const InputStatistics& input(const std::string& site) const;
};

/// What a pass works on.
struct CompressContext {
  ExecContext& exec;
  nn::Decoder& model;
  const SiteSelector& sites;  ///< the linear layers that the user wants compressed
  uint64_t seed = 0;
};

class CompressPass {
 public:
  virtual ~CompressPass() = default;
  virtual CalibrationNeeds needs() const { return {}; }
  /// Before any calibration: rewrites that need no data, checks of the model's structure.
  virtual void prepare(CompressContext&) {}
  /// Compresses block `block` in place.
  virtual void compress_block(CompressContext& context, int64_t block, const BlockStatistics& statistics) = 0;
  /// After the last block: embedding, head, KV-cache format.
  virtual void finish(CompressContext&) {}
};

}  // namespace halftone
