// Options, table and JSON of bench llm --vs; see bench_peers.h.
#include "cli/bench_peers.h"

#include <fmt/ranges.h>

#include "base/cpu_features.h"
#include "base/json.h"
#include "engine/report/table.h"

namespace halftone::cli {
namespace {

std::string rate(const std::optional<double>& tokens_per_second) {
  return tokens_per_second ? fmt::format("{:.1f}", *tokens_per_second) : "-";
}

engine::Table peer_table(const std::vector<engine::PeerTiming>& timings) {
  engine::Table table{{"task", "threads", "peer", "ours tok/s", "spread", "peer tok/s", "spread", "ratio", "read GB/s"},
                      {}};
  for (const auto& t : timings)
    table.rows.push_back({t.task, fmt::format("{}", t.threads), t.peer, rate(t.ours),
                          fmt::format("{:.0f} %", t.ours_spread * 100), rate(t.theirs),
                          fmt::format("{:.0f} %", t.theirs_spread * 100),
                          t.ours && t.theirs ? fmt::format("{:.2f}", *t.ours / *t.theirs) : "-",
                          fmt::format("{:.1f}", t.read_gigabytes_per_second)});
  return table;
}

engine::Table breakdown_table(const engine::TaskBreakdown& breakdown) {
  engine::Table table{{"operation", "kernel", "calls", "ms", "share"}, {}};
  const auto add = [&](const std::string& operation, const std::string& kernel, const std::string& calls, double s) {
    table.rows.push_back({operation, kernel, calls, fmt::format("{:.3f}", s * 1e3),
                          fmt::format("{:.1f} %", 100 * s / breakdown.step_seconds)});
  };
  for (const auto& entry : breakdown.operations)
    add(entry.operation, entry.kernel, fmt::format("{}", entry.calls), entry.seconds);
  add("between kernels", "", "", breakdown.rest_seconds());
  return table;
}

/// Why figures are missing, each reason once.
std::string notes(const std::vector<engine::PeerTiming>& timings) {
  std::string text, last;
  for (const auto& t : timings) {
    if (t.note.empty() || t.note == last) continue;
    text += fmt::format("{}: {}\n", t.task, t.note);
    last = t.note;
  }
  return text;
}

}  // namespace

void add_peer_options(CLI::App& command, engine::PeerBenchRequest& request, bool& breakdown) {
  command
      .add_option("--vs", request.peers,
                  "compare with these programs on the same GGUF file (llm): llama.cpp, llama.cpp-VARIANT, openvino; "
                  "bench/peers/README.md says how to install them")
      ->delimiter(',')
      ->option_text("PEER,...");
  command
      .add_option(
          "--tasks", request.tasks,
          "what to time with --vs and --breakdown: prefill512, prefill2048, decode, decode@2048:kv8, decode@2048:kv4, "
          "decode_batch8 [default: all]")
      ->delimiter(',')
      ->option_text("TASK,...");
  command
      .add_option("--peers-dir", request.peers_folder,
                  fmt::format("where --vs finds the peers [default {}]", request.peers_folder.string()))
      ->option_text("DIR");
  command.add_flag("--breakdown", breakdown, "what each operation of the --tasks takes, without peers (llm)");
}

int run_peers(const CommonOptions& common, const std::string& model, const engine::PeerBenchRequest& request) {
  const auto timings = engine::bench_llm_peers(model, request);
  if (common.json) {
    Json json = Json::array();
    for (const auto& timing : timings) json.push_back(engine::to_json(timing));
    print_json(json);
    return kSuccess;
  }
  print_text(fmt::format("{}; {}, {}; medians of {} rounds, taken in turns on the same cores\n", short_name(model),
                         cpu_name(), to_string(usable_isa()), request.rounds));
  print_text(engine::to_text(peer_table(timings)));
  print_text(notes(timings));
  return kSuccess;
}

int run_breakdown(const CommonOptions& common, const std::string& model, const engine::BreakdownRequest& request) {
  const auto all = engine::bench_llm_breakdown(model, request);
  if (common.json) {
    Json json = Json::array();
    for (const auto& breakdown : all) json.push_back(engine::to_json(breakdown));
    print_json(json);
    return kSuccess;
  }
  print_text(fmt::format("{}; {}, {}; of {} rounds the median, a step: wall time, waiting for all threads included\n",
                         short_name(model), cpu_name(), to_string(usable_isa()), request.rounds));
  for (const auto& breakdown : all) {
    print_text(fmt::format("\n{}, {} threads: {:.1f} tokens/s, {:.3f} ms a step\n", breakdown.task, breakdown.threads,
                           breakdown.tokens_per_second, breakdown.step_seconds * 1e3));
    print_text(engine::to_text(breakdown_table(breakdown)));
  }
  return kSuccess;
}

}  // namespace halftone::cli
