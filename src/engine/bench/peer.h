// Other programs that run the same model file, timed on the same tasks. bench/peers has the scripts that install them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "numerics/formats.h"

namespace halftone::engine {

enum class TaskKind : uint8_t { Prefill, Decode };

/// What is timed: one forward pass over `context` tokens, or greedy decoding of `tokens` tokens by each of `sequences`
/// sequences that hold `context` tokens already. Rates count the tokens of all sequences.
struct LlmTask {
  std::string name;
  TaskKind kind = TaskKind::Decode;
  int64_t context = 0;
  int64_t tokens = 0;  ///< 0 for prefill
  int sequences = 1;
  ElementType kv = ElementType::Float16;
};

/// prefill512, prefill2048, decode, decode@2048:kv8, decode@2048:kv4, decode_batch8.
std::span<const LlmTask> llm_tasks();
/// Those named in `names`, all for none. Throws InvalidArgument naming the ones that there are.
std::vector<LlmTask> parse_llm_tasks(const std::vector<std::string>& names);

class Peer {
 public:
  virtual ~Peer() = default;
  /// Tokens per second of one round of `task` on `threads` threads. Throws Unsupported when the peer, or its way with
  /// the file, lacks the task, and IoError when it fails.
  virtual double measure(const LlmTask& task, int threads) = 0;
};

/// `name` is llama.cpp, llama.cpp-VARIANT (avx2, sapphirerapids, ...) or openvino, installed in `folder` by the scripts
/// of bench/peers. Throws InvalidArgument for another name, and IoError, naming the script to run, when it is missing.
std::unique_ptr<Peer> open_peer(const std::string& name, const std::filesystem::path& folder,
                                const std::filesystem::path& model);

}  // namespace halftone::engine
