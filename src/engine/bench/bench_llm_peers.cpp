// Interleaved rounds of our decoder and other programs; see bench_llm_peers.h.
//
// Our model is loaded once and stays; threads are made anew for every turn, so that none of them waits, spinning, while
// a peer has the cores.
#include "engine/bench/bench_llm_peers.h"

#include <fstream>

#include "base/error.h"
#include "base/json.h"
#include "base/progress.h"
#include "engine/bench/affinity.h"
#include "engine/bench/bandwidth.h"
#include "engine/bench/our_side.h"
#include "engine/bench/peer.h"
#include "engine/bench/statistics.h"
#include "models/language/language_model.h"

namespace halftone::engine {
namespace {

namespace fs = std::filesystem;

void check_gguf(const fs::path& path) {
  char magic[4] = {};
  std::ifstream file(path, std::ios::binary);
  if (!file) throw IoError("model {} cannot be opened; 'make models' fetches the default one", path.string());
  file.read(magic, sizeof magic);
  if (std::string_view(magic, sizeof magic) != "GGUF")
    throw InvalidArgument("peers read GGUF files only, and {} is none; give one with --model", path.string());
}

/// Rates of one side over the rounds, until it says that it cannot.
struct Side {
  std::vector<double> rates;
  std::string why_not;

  /// A round, unless one failed before; `Failure` is what becomes a note and does not end the benchmark.
  template <class Failure, class Measure>
  void take_turn(Measure measure) {
    if (!why_not.empty()) return;
    try {
      rates.push_back(measure());
    } catch (const Failure& error) {
      why_not = error.what();
    }
  }
  std::optional<double> rate() const {
    return why_not.empty() && !rates.empty() ? std::optional(median(rates)) : std::nullopt;
  }
};

struct NamedPeer {
  std::string name;
  std::unique_ptr<Peer> peer;
};

/// All rounds of one task on one number of threads. Our turns begin with a measurement that is not counted, as those of
/// peers do: it touches the memory of threads that were just made.
std::vector<PeerTiming> time_task(OurSide& ours, std::vector<NamedPeer>& peers, const ReadBandwidth& memory,
                                  const LlmTask& task, int threads, int rounds) {
  const PinnedCores cores(threads);
  Side our_side;
  std::vector<Side> their_sides(peers.size());
  std::vector<double> bandwidths;
  for (int round = 0; round < rounds; ++round) {
    {
      OwnedExecContext exec(threads);
      exec.get().products = ProductPrecision::BFloat16;  // as generate and chat run
      bandwidths.push_back(memory.measure(exec.get()));
      our_side.take_turn<Unsupported>([&] {
        ours.measure(exec.get(), task);
        return ours.measure(exec.get(), task);
      });
    }
    for (size_t i = 0; i < peers.size(); ++i)
      their_sides[i].take_turn<Error>([&] { return peers[i].peer->measure(task, threads); });
  }
  std::vector<PeerTiming> timings;
  for (size_t i = 0; i < peers.size(); ++i) {
    const Side& theirs = their_sides[i];
    const bool both = !our_side.why_not.empty() && !theirs.why_not.empty();
    timings.push_back({.task = task.name,
                       .peer = peers[i].name,
                       .note = our_side.why_not + (both ? "; " : "") + theirs.why_not,
                       .threads = threads,
                       .ours = our_side.rate(),
                       .theirs = theirs.rate(),
                       .ours_spread = relative_spread(our_side.rates),
                       .theirs_spread = relative_spread(theirs.rates),
                       .read_gigabytes_per_second = median(bandwidths)});
  }
  return timings;
}

}  // namespace

std::vector<PeerTiming> bench_llm_peers(const fs::path& path, const PeerBenchRequest& request) {
  const auto tasks = parse_llm_tasks(request.tasks);
  if (request.peers.empty()) throw InvalidArgument("no peer is named; there are llama.cpp and openvino");
  check_gguf(path);
  std::vector<NamedPeer> peers;
  for (const auto& name : request.peers) peers.push_back({name, open_peer(name, request.peers_folder, path)});
  for (const int threads : request.threads)
    const PinnedCores probe(threads);  // too many are refused now, not after an hour

  const ModelHandle model = load_model(path, {.run_only = true});
  const ReadBandwidth memory(fs::file_size(path));
  OurSide ours(model->decoder, request.seed);
  Progress progress("bench llm", static_cast<int64_t>(request.threads.size() * tasks.size()));
  std::vector<PeerTiming> timings;
  int64_t done = 0;
  for (const int threads : request.threads)
    for (const auto& task : tasks) {
      for (auto& timing : time_task(ours, peers, memory, task, threads, request.rounds)) timings.push_back(timing);
      progress.update(++done, fmt::format("{}, {} threads", task.name, threads));
    }
  return timings;
}

Json to_json(const PeerTiming& timing) {
  const auto number = [](const std::optional<double>& value) { return value ? Json(*value) : Json(nullptr); };
  Json json = {{"task", timing.task},
               {"peer", timing.peer},
               {"threads", timing.threads},
               {"ours_tokens_per_second", number(timing.ours)},
               {"peer_tokens_per_second", number(timing.theirs)},
               {"ratio", timing.ours && timing.theirs ? Json(*timing.ours / *timing.theirs) : Json(nullptr)},
               {"read_bandwidth_gbps", timing.read_gigabytes_per_second},
               {"ours_spread", timing.ours_spread},
               {"peer_spread", timing.theirs_spread}};
  if (!timing.note.empty()) json["note"] = timing.note;
  return json;
}

}  // namespace halftone::engine
