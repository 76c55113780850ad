// Options that eval and compare share.
#pragma once

#include "base/atomic_file.h"
#include "cli/command.h"
#include "engine/evaluate/evaluate.h"
#include "engine/model.h"

namespace halftone::cli {

struct EvaluateOptions {
  std::string text;
  engine::EvaluateRequest request;
  models::Weights weights = models::Weights::Float32;  ///< of what is measured; a reference is always f32
};

inline void add_evaluate_options(CLI::App& command, EvaluateOptions& options) {
  engine::EvaluateRequest& request = options.request;
  command.add_option("--text", options.text, "text file to score; - reads standard input")
      ->required()
      ->option_text("FILE (needed)");
  add_number(command, "--window", request.window, {2, 1 << 20}, "tokens in a window; windows do not overlap");
  add_number(command, "--tokens", request.max_tokens, {2, 1LL << 40}, "tokens of the text to read at most");
  add_number(command, "--decode-tokens", request.decode_tokens, {0, 1 << 20},
             "tokens generated to time decoding, 0: do not time it");
  add_number(command, "--seed", request.seed, {0, 1e15}, "of the bootstrap");
  add_kv_format(command, request.kv_format);
  add_weights(command, options.weights);
}

inline engine::EvaluateRequest make_request(const EvaluateOptions& options) {
  engine::EvaluateRequest request = options.request;
  request.text = read_text(options.text);
  request.cancelled = interrupted;
  return request;
}

}  // namespace halftone::cli
