// Options that generate and chat share.
#pragma once

#include "cli/command.h"
#include "engine/generate/generate.h"

namespace halftone::cli {

struct GenerateOptions {
  int64_t max_tokens = 128;
  engine::SamplingOptions sampling;
  std::vector<std::string> stop;
  std::string kv_format;
  std::string system;
  int64_t context = 0;
  models::Weights weights = models::Weights::Stored;
  bool exact = false;

  /// Weights that were asked for in f32 are not to be rounded to bf16 either.
  ProductPrecision products() const {
    return exact || weights == models::Weights::Float32 ? ProductPrecision::Full : ProductPrecision::BFloat16;
  }
};

inline void add_generate_options(CLI::App& command, GenerateOptions& options) {
  add_number(command, "-n,--max-tokens", options.max_tokens, {0, 1 << 24}, "tokens to generate at most");
  add_number(command, "--temp", options.sampling.temperature, {0, 100}, "temperature, 0: always the most likely token");
  add_number(command, "--top-k", options.sampling.top_k, {0, 1 << 24}, "keep the most likely tokens, 0: all");
  add_number(command, "--top-p", options.sampling.top_p, {0, 1}, "keep the smallest set with this probability, 1: all");
  add_number(command, "--min-p", options.sampling.min_p, {0, 1},
             "drop tokens below this part of the most likely one's probability");
  add_number(command, "--seed", options.sampling.seed, {0, 1e15}, "of the draws; the same seed gives the same text");
  command.add_option("--stop", options.stop, "end before this text, any number of times")
      ->option_text("TEXT")
      ->allow_extra_args(false);
  add_number(command, "-c,--context", options.context, {0, 1 << 24}, "tokens of KV cache, 0: as many as needed");
  add_kv_format(command, options.kv_format);
  add_weights(command, options.weights);
  command.add_flag("--exact", options.exact,
                   "a prompt gives the same bits as its tokens one by one; else long ones may multiply in bf16 on "
                   "machines with AMX, and always give full precision with --weights f32");
}

/// The model at `path`, loaded to be run only; warns of slow layers, and sets what `exec` may round.
inline engine::ModelHandle load_to_run(const CommonOptions& common, ExecContext& exec, const std::string& path,
                                       const GenerateOptions& options) {
  exec.products = options.products();
  auto model = engine::load_model(path, {.weights = options.weights, .pool = &exec.pool, .run_only = true});
  warn_if_slow(common, exec, *model);
  return model;
}

inline engine::GenerateRequest make_request(const GenerateOptions& options) {
  return {.prompt = {},
          .max_tokens = options.max_tokens,
          .sampling = options.sampling,
          .stop = options.stop,
          .cancelled = interrupted};
}

}  // namespace halftone::cli
