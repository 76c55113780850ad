// Our program against others on the same model file, threads and cores, in turns.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/json_fwd.h"
#include "engine/model.h"

namespace halftone::engine {

struct PeerBenchRequest {
  std::vector<std::string> peers;  ///< names that open_peer (peer.h) takes
  std::vector<std::string> tasks;  ///< names of llm_tasks(); empty: all
  std::vector<int> threads = {1};
  int rounds = 7;
  std::filesystem::path peers_folder = ".halftone/peers";
  uint64_t seed = 0;
};

/// One task, peer and number of threads. A side without a figure could not do the task; `note` says why.
struct PeerTiming {
  std::string task, peer, note;
  int threads = 0;
  std::optional<double> ours, theirs;         ///< tokens per second, medians of the rounds
  double ours_spread = 0, theirs_spread = 0;  ///< (maximum - minimum) / median
  double read_gigabytes_per_second = 0;       ///< of as many bytes as the file has, in the same rounds: median
};

/// Loads the GGUF file `path` and times every task on every number of threads. In each round all take a turn, on the
/// same pinned cores: memory, our program, then the peers. Throws as open_peer, parse_llm_tasks and load_model;
/// InvalidArgument for a file that is no GGUF or for more threads than CPUs. A peer that fails later is noted.
std::vector<PeerTiming> bench_llm_peers(const std::filesystem::path& path, const PeerBenchRequest& request);

/// {"task", "peer", "threads", "ours_tokens_per_second", "peer_tokens_per_second", "ratio", "read_bandwidth_gbps",
/// "ours_spread", "peer_spread"}; null where there is no figure, and then "note" says why.
Json to_json(const PeerTiming& timing);

}  // namespace halftone::engine
