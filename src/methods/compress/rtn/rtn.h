// rtn: every weight rounded to the nearest code. The baseline that every other method has to beat at equal bits; no
// calibration, seconds a model. With clip_steps it searches the range of each group for the least squared error; with
// format it takes any number format of the catalogue and any rounding.
#pragma once

#include "plugin/compress_options.h"
#include "plugin/compress_pass.h"

namespace halftone {

class Catalogue;

class Rtn final : public CompressPass {
 public:
  struct Options {
    WeightOptions weights;
    FormatOptions formats;
    OutsideOptions outside;

    template <class Visitor>
    void visit(Visitor& v) {
      weights.visit(v);
      formats.visit(v);
      outside.visit(v);
    }
  };

  /// Throws InvalidArgument for options that contradict each other.
  explicit Rtn(Options options);
  void compress_block(CompressContext& context, int64_t block, const BlockStatistics& statistics) override;
  void finish(CompressContext& context) override;

 private:
  Options options_;
};

void register_rtn(Catalogue& catalogue);

}  // namespace halftone
