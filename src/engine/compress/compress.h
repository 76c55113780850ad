// The compress flow: load, calibrate block by block, let a pass compress each block, save.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "base/exec_context.h"
#include "base/options.h"
#include "plugin/catalogue.h"

namespace halftone::engine {

struct CompressRequest {
  std::filesystem::path model;   ///< GGUF file, Hugging Face folder, or artifact with dense weights
  std::filesystem::path output;  ///< ".gguf" writes GGUF, everything else our artifact
  std::string method;
  OptionValues method_options;
  std::string sites = "blocks.*";
  std::filesystem::path calibration;  ///< text file; needed by methods that calibrate
  int64_t calibration_tokens = 8192;
  int64_t window = 512;  ///< tokens in a calibration sequence
  uint64_t seed = 0;
  bool resume = true;                    ///< continue from what an interrupted run left beside `output`
  std::function<bool()> cancelled = {};  ///< asked between blocks; true ends the work with Interrupted
};

struct CompressReport {
  int64_t original_bytes = 0;    ///< dense f32 weights
  int64_t compressed_bytes = 0;  ///< weights as stored
  double bits_per_weight = 0;
  double seconds = 0;
  int64_t resumed_blocks = 0;
};

/// Compresses request.model into request.output. Progress goes to standard error. The output appears whole or not at
/// all; an interrupted run leaves a folder "<output>.partial", from which the same request continues, with the same
/// bits as an uninterrupted one. Throws InvalidArgument, Unsupported or IoError before any work where it can.
CompressReport compress(ExecContext& exec, const Catalogue& catalogue, const CompressRequest& request);

}  // namespace halftone::engine
