// Benchmarks that the program runs: kernels one by one, and a whole language model.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/exec_context.h"
#include "base/json_fwd.h"

namespace halftone::models {
struct LanguageModel;
}

namespace halftone::engine {

/// One kernel of a table on one problem; verified against the table's reference before it was timed.
struct KernelTiming {
  std::string operation;  ///< "gemm"
  std::string problem;
  std::string kernel;
  bool chosen = false;              ///< what the table picks for this problem
  double seconds = 0;               ///< median of a call
  double spread = 0;                ///< (maximum - minimum) / median over the rounds
  double gigabytes_per_second = 0;  ///< bytes that a call must read and write, over its time
  double gigaflops = 0;             ///< multiplications and additions in 1e9 per second; 0 where they do not matter
  double error = 0;  ///< largest deviation from the reference, as a part of what rounding allows; below 1
};

/// Every kernel of every table at the shapes of SmolLM2-135M that `filter` (part of an operation's or kernel's name;
/// empty: all) selects. Weights rotate through more memory than caches hold. Throws NumericError when a kernel deviates
/// from the reference by more than rounding allows.
std::vector<KernelTiming> bench_kernels(ExecContext& exec, int rounds, const std::string& filter);

struct LlmBenchRequest {
  int rounds = 7;
  int64_t decode_tokens = 64;
  int64_t prefill_tokens = 512;
  uint64_t seed = 0;
};

/// One way of storing the model's weights.
struct LlmTiming {
  std::string name;
  int64_t bytes_per_token = 0;  ///< weights that a decode step reads
  double decode_tokens_per_second = 0, decode_spread = 0;
  double prefill_tokens_per_second = 0, prefill_spread = 0;
  double decode_ratio = 1, prefill_ratio = 1;  ///< to the first way, f32
};

struct LlmBench {
  double read_gigabytes_per_second = 0;  ///< of memory far larger than caches, all threads, in the same minute
  std::vector<LlmTiming> ways;
};

/// f32, then 4-bit weights made in memory by rounding to nearest: with f32 activations, with int8 activations, and with
/// an int8 head too. The ways take turns in every round; 32 tokens of random prompt come before decoding.
LlmBench bench_llm(ExecContext& exec, const models::LanguageModel& model, const LlmBenchRequest& request);

Json to_json(const KernelTiming& timing);
Json to_json(const LlmBench& bench);

}  // namespace halftone::engine
