// What an interrupted compression leaves behind, so that the next run continues: a folder "<output>.partial" with the
// request's fingerprint and one file for each finished block. Every file appears whole or not at all.
#pragma once

#include <filesystem>
#include <string>

#include "nn/decoder.h"

namespace halftone::engine {

class CompressCheckpoint {
 public:
  /// Opens or makes the folder beside `output`. Blocks saved under another fingerprint (other model, method, options,
  /// text or seed) are discarded, as are all when `resume` is false.
  CompressCheckpoint(const std::filesystem::path& output, const std::string& fingerprint, bool resume);

  bool has_block(int64_t block) const;
  void save_block(int64_t block, const nn::DecoderBlock& weights) const;
  /// Throws IoError when the file is damaged.
  nn::DecoderBlock load_block(int64_t block) const;
  /// Deletes the folder: the output is complete.
  void remove() const;

 private:
  std::filesystem::path block_path(int64_t block) const;
  std::filesystem::path folder_;
};

}  // namespace halftone::engine
