// Options that several compression methods share, declared once: how weights are coded, and what becomes of the
// embedding, the head and the KV cache. A method's Options holds them as members and visits them with its own fields.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/options.h"
#include "nn/decoder.h"
#include "nn/linear.h"
#include "numerics/formats/codebook_spec.h"
#include "numerics/formats/weight_format.h"
#include "numerics/quant_scheme.h"
#include "tensor/quantize.h"

namespace halftone {

/// Integer codes for linear layers, one or several scales a row.
struct WeightOptions {
  std::string bits = "4";
  std::string granularity = "group";
  int64_t group_size = 64;
  bool fit_group_size = false;
  bool symmetric = false;
  int64_t clip_steps = 0;
  double clip_shrink = 0.2;
  std::string activations = "f32";

  template <class Visitor>
  void visit(Visitor& v) {
    v("bits", bits, Choices{"8", "4", "3", "2"},
      "bits of a weight; 8 or 4 with granularity=group, group_size=32 and symmetric=true can be saved as GGUF (Q8_0, "
      "Q4_0)");
    v("granularity", granularity, Choices{"row", "group", "two-level"},
      "what shares a scale: a whole row, or group_size weights of it; two-level: group_size weights share an integer "
      "scale of 8 bits above which the row has one (not with 8 bits or symmetric)");
    v("group_size", group_size, Range{16, 4096},
      "weights that share a scale, along K; multiples of 32 have fast kernels");
    v("fit_group_size", fit_group_size,
      "where group_size does not divide a layer's inputs, take the largest of 256, 128, 64, 32 below it that does, "
      "instead of a short last group");
    v("symmetric", symmetric, "codes around zero without zero points");
    v("clip_steps", clip_steps, Range{0, 200},
      "shrunk ranges tried per scale for the least squared error; 0: full range");
    v("clip_shrink", clip_shrink, Range{0.01, 0.9}, "part by which the strongest of these ranges is shrunk");
    v("activations", activations, Choices{"f32", "int8", "int8-group32"},
      "inputs of linear layers: as they are, or int8 with a scale a token or one every 32 inputs (how GGUF's quantised "
      "tensors run)");
  }

  /// The scheme for rows of `columns` weights.
  QuantScheme scheme(int64_t columns) const;
  ClipSearch clip() const { return {static_cast<int>(clip_steps), static_cast<float>(clip_shrink)}; }
  nn::ActivationFormat activation_format() const { return nn::parse_activation_format(activations); }
};

/// What a user can write for any number format or codebook.
std::string any_format_forms();

/// Number formats beyond the integers of WeightOptions, for methods that round each weight by itself.
struct FormatOptions {
  std::string format = "bits";
  std::string rounding = "nearest-even";

  template <class Visitor>
  void visit(Visitor& v) {
    v("format", format, Checked{"bits | " + any_format_forms(), check_format},
      "codes and scales of weights; bits: integers as bits, granularity, group_size and symmetric say");
    v("rounding", rounding, Choices{"nearest-even", "half-away", "toward-zero", "stochastic", "dithered"},
      "how a format other than bits rounds; the last two draw from the seed");
  }

  bool chosen() const { return format != "bits"; }
  /// Throws InvalidArgument naming `method` and an option of `weights` that a chosen format leaves no room for, or a
  /// rounding without a format. Reads a codebook's file, once for all layers.
  void check_beside(const WeightOptions& weights, std::string_view method);
  /// `linear`'s weight in the format, streams of random bits of `seed` for each layer; after check_beside.
  Storage quantize(ExecContext& exec, const nn::Linear& linear, uint64_t seed) const;

  static void check_format(const std::string& text);

 private:
  std::shared_ptr<const CodebookSpec> codebook_;  // where the format is one of one's own
};

/// What is outside the blocks: embedding and head, and the KV cache.
struct OutsideOptions {
  std::string head = "f16";
  std::string kv = "f16";

  template <class Visitor>
  void visit(Visitor& v) {
    v("head", head, Checked{"f16 | bf16 | f32 | int8 | int8_group32 | int4 | " + any_format_forms(), check_head},
      "format of the embedding and the head: int8 has a scale a row, int8_group32 and int4 one per 32 weights (GGUF's "
      "Q8_0 and Q4_0); where all layers take int8 inputs, a head of small integers takes them too, a scale every 32");
    v("kv", kv, Choices{"f16", "f32", "int8", "int4"}, "format of the KV cache that the model asks for");
  }

  /// Stores embedding and head (once when they are tied) and sets the cache format. The head's inputs become
  /// Int8PerGroup where every layer of the blocks has int8 inputs and integer kernels read the head: a model of 16-bit
  /// activations keeps them to the end, and one of int8 activations does not pay floating-point products for its head.
  void apply(ExecContext& exec, nn::Decoder& model) const;

  static void check_head(const std::string& text);
};

}  // namespace halftone
