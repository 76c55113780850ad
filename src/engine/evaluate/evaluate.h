// The evaluate flow: perplexity of one model, and the distance between models.
//
// The text is cut into windows that do not overlap; inside a window every token but the first is scored from the ones
// before it. Models that start texts with a token of their own (BOS) get it in front of every window.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/exec_context.h"
#include "base/json_fwd.h"

namespace halftone::models {
struct LanguageModel;
}

namespace halftone::engine {

struct EvaluateRequest {
  std::string text;                      ///< the text itself
  int64_t window = 512;                  ///< tokens in a window, a BOS token included
  int64_t max_tokens = 16896;            ///< tokens of the text that are read at most: 33 windows, 16,863 scored
  std::string kv_format;                 ///< "f32", "f16", "int8", "int4"; empty: what the model was compressed for
  uint64_t seed = 0;                     ///< of the bootstrap
  int64_t decode_tokens = 64;            ///< generated to time decoding; 0 skips it
  std::function<bool()> cancelled = {};  ///< asked between windows; true ends the work with Interrupted
};

/// Layers that are stored the same way.
struct StorageShare {
  std::string format;  ///< "int4 group 64 asymmetric"
  int64_t layers = 0;
  int64_t bytes = 0;
};

/// Sizes, quality and speed of one model.
struct Evaluation {
  std::string name;
  std::string architecture;
  std::string source_kind;  ///< "gguf", "safetensors", "artifact"
  std::string provenance;   ///< JSON text of an artifact's provenance, or empty
  std::vector<StorageShare> storages;
  int64_t parameters = 0;
  int64_t weight_bytes = 0;
  double bits_per_weight = 0;
  int64_t kv_bytes_per_token = 0;
  std::string kv_format;
  double perplexity = 0;
  double perplexity_error = 0;  ///< standard error by bootstrap over windows (over tokens if there is one window)
  double prefill_tokens_per_second = 0;  ///< forward passes of whole windows, logits of every position included
  double decode_tokens_per_second = 0;   ///< greedy, one token at a time; 0 when it was not measured
  int64_t tokens = 0;                    ///< scored
  std::vector<double> window_nll;        ///< mean negative log-likelihood of each window, nats per token
};

/// Distance of `other` from a reference on the same tokens.
struct Distance {
  double kl_divergence = 0;        ///< mean KL(reference || other) per token, nats
  double kl_divergence_error = 0;  ///< standard error by bootstrap, as perplexity_error
  double top1_agreement = 0;       ///< part of the tokens whose most likely next token agrees
};

struct ComparedModel {
  Evaluation evaluation;
  Distance distance;
};

struct Comparison {
  Evaluation reference;
  std::vector<ComparedModel> others;
  int64_t tokens = 0;  ///< scored by every model
};

/// Throws InvalidArgument when the text gives fewer than two tokens or the window exceeds the model's context,
/// NumericError when the model's logits are not finite.
Evaluation evaluate(ExecContext& exec, const models::LanguageModel& model, const EvaluateRequest& request);

/// Evaluates `reference` and each of `others` on the same windows; the reference's logits are computed once a window.
/// Throws InvalidArgument when their tokenizers or vocabularies differ, naming what differs.
Comparison compare(ExecContext& exec, const models::LanguageModel& reference,
                   const std::vector<const models::LanguageModel*>& others, const EvaluateRequest& request);

Json to_json(const Evaluation& evaluation);
/// {"reference": {...}, "other": {...}, "kl_divergence", "top1_agreement", "tokens", ...} for one other; with several,
/// "others" lists objects of the same shape without the reference.
Json to_json(const Comparison& comparison);

}  // namespace halftone::engine
