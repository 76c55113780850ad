// cast: every weight as a 16-bit or 32-bit float. No codes and no calibration: half the bytes of f32 for an error far
// below anything else in the catalogue, and the way to plain GGUF files for other programs.
#pragma once

#include "plugin/compress_options.h"
#include "plugin/compress_pass.h"

namespace halftone {

class Catalogue;

class Cast final : public CompressPass {
 public:
  struct Options {
    std::string format = "f16";
    std::string kv = "f16";

    template <class Visitor>
    void visit(Visitor& v) {
      v("format", format, Choices{"f16", "bf16", "f32"},
        "element type of all linear layers, the embedding and the head: f16 keeps 11 significant bits up to 65504, "
        "bf16 "
        "keeps 8 with the range of f32");
      v("kv", kv, Choices{"f16", "f32", "int8", "int4"}, "format of the KV cache that the model asks for");
    }
  };

  explicit Cast(Options options) : options_(std::move(options)) {}
  void compress_block(CompressContext& context, int64_t block, const BlockStatistics& statistics) override;
  void finish(CompressContext& context) override;

 private:
  Options options_;
};

void register_cast(Catalogue& catalogue);

}  // namespace halftone
