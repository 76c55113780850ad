// halftone bench SUITE
#include "engine/bench/bench.h"

#include "base/error.h"
#include "base/json.h"
#include "cli/bench_formats.h"
#include "cli/bench_peers.h"
#include "cli/command.h"
#include "engine/model.h"
#include "engine/report/table.h"

namespace halftone::cli {
namespace {

constexpr const char* kDefaultModel = "models/SmolLM2-135M-Instruct.Q4_1.gguf";  // where 'make models' puts it

struct Options {
  std::string suite, model = kDefaultModel, filter;
  engine::LlmBenchRequest request;
  engine::PeerBenchRequest peers;
  bool breakdown = false;
  FormatBenchOptions formats;
  std::vector<int> threads;  ///< empty: not given
  double require_decode = 0, require_ratio = 0;
};

engine::Table kernel_table(const std::vector<engine::KernelTiming>& timings) {
  engine::Table table{{"operation and problem", "kernel", "us", "spread", "GB/s", "GFLOP/s", "error"}, {}};
  for (const auto& t : timings)
    table.rows.push_back({t.operation + ": " + t.problem, t.kernel + (t.chosen ? " *" : ""),
                          fmt::format("{:.1f}", t.seconds * 1e6), fmt::format("{:.0f} %", t.spread * 100),
                          fmt::format("{:.2f}", t.gigabytes_per_second),
                          t.gigaflops > 0 ? fmt::format("{:.1f}", t.gigaflops) : "-", fmt::format("{:.2g}", t.error)});
  return table;
}

engine::Table llm_table(const engine::LlmBench& bench) {
  engine::Table table{
      {"weights", "MB/token", "decode tok/s", "spread", "GB/s", "of read", "x f32", "prefill tok/s", "spread", "x f32"},
      {}};
  for (const auto& way : bench.ways) {
    const double rate = static_cast<double>(way.bytes_per_token) * way.decode_tokens_per_second * 1e-9;
    table.rows.push_back({way.name, fmt::format("{:.1f}", static_cast<double>(way.bytes_per_token) * 1e-6),
                          fmt::format("{:.1f}", way.decode_tokens_per_second),
                          fmt::format("{:.0f} %", way.decode_spread * 100), fmt::format("{:.1f}", rate),
                          fmt::format("{:.0f} %", 100 * rate / bench.read_gigabytes_per_second),
                          fmt::format("{:.2f}", way.decode_ratio), fmt::format("{:.1f}", way.prefill_tokens_per_second),
                          fmt::format("{:.0f} %", way.prefill_spread * 100), fmt::format("{:.2f}", way.prefill_ratio)});
  }
  return table;
}

int run_kernels(const CommonOptions& common, const Options& options) {
  OwnedExecContext exec(common.threads);
  const auto timings = engine::bench_kernels(exec.get(), options.request.rounds, options.filter);
  if (timings.empty())
    throw InvalidArgument("no kernel's name contains '{}'; leave --filter out to see all", options.filter);
  if (!common.json) {
    print_text(device_text(exec.get()) + "; * is what the table picks; error is a part of what rounding allows\n");
    print_text(engine::to_text(kernel_table(timings)));
    return kSuccess;
  }
  Json json = {{"suite", "kernels"}, {"device", device_text(exec.get())}, {"timings", Json::array()}};
  for (const auto& timing : timings) json["timings"].push_back(engine::to_json(timing));
  print_json(json);
  return kSuccess;
}

/// Every number of threads that --vs and --breakdown are to time; 1 and 2 unless the user says otherwise.
std::vector<int> thread_counts(std::vector<int> threads) {
  const int cores = ThreadPool(0).threads();
  if (threads.empty()) threads = cores > 1 ? std::vector<int>{1, 2} : std::vector<int>{1};
  for (int& count : threads)
    if (count == 0) count = cores;
  return threads;
}

/// The common options with this command's own --threads, a list for --vs and --breakdown, one number for all else.
CommonOptions with_threads(CommonOptions common, const Options& options) {
  if (options.threads.size() > 1 && options.peers.peers.empty() && !options.breakdown)
    throw InvalidArgument("--threads takes one number without --vs or --breakdown, not {}", options.threads.size());
  common.threads = options.threads.empty() ? 0 : options.threads.front();
  return common;
}

/// Whether the 4-bit model with f32 activations is as fast as asked.
bool fast_enough(const engine::LlmBench& bench, const Options& options) {
  const auto& int4 = bench.ways.at(1);
  const bool fast =
      int4.decode_tokens_per_second >= options.require_decode && int4.decode_ratio >= options.require_ratio;
  if (!fast)
    fmt::print(stderr, "halftone: {} decodes {:.1f} tokens/s, {:.2f} x f32; required are {} and {}\n", int4.name,
               int4.decode_tokens_per_second, int4.decode_ratio, options.require_decode, options.require_ratio);
  return fast;
}

int run_llm(const CommonOptions& common, const Options& options) {
  if (options.breakdown) {
    if (!options.peers.peers.empty()) throw InvalidArgument("--breakdown is of our program alone; leave --vs out");
    return run_breakdown(common, options.model,
                         {.tasks = options.peers.tasks,
                          .threads = thread_counts(options.threads),
                          .rounds = options.request.rounds,
                          .seed = options.peers.seed});
  }
  if (!options.peers.peers.empty()) {
    engine::PeerBenchRequest request = options.peers;
    request.threads = thread_counts(options.threads);
    request.rounds = options.request.rounds;
    return run_peers(common, options.model, request);
  }
  OwnedExecContext exec(common.threads);
  const auto model = engine::load_model(options.model);
  const engine::LlmBench bench = engine::bench_llm(exec.get(), *model, options.request);
  if (common.json) {
    Json json = {{"suite", "llm"}, {"model", options.model}, {"device", device_text(exec.get())}};
    json.update(engine::to_json(bench));
    print_json(json);
  } else {
    print_text(fmt::format("{}; {}; memory reads at {:.1f} GB/s; medians of {} rounds, taken in turns\n",
                           short_name(options.model), device_text(exec.get()), bench.read_gigabytes_per_second,
                           options.request.rounds));
    print_text(engine::to_text(llm_table(bench)));
  }
  return fast_enough(bench, options) ? kSuccess : kNegative;
}

}  // namespace

void add_bench(Program& program) {
  auto options = std::make_shared<Options>();
  CLI::App& command =
      program.add("bench", "Times kernels or a language model in several storages, or measures number formats",
                  [&program, options] {
                    const CommonOptions common = with_threads(program.common(), *options);
                    if (options->suite == "formats")
                      return run_formats(common, options->formats, options->model, options->filter);
                    return options->suite == "kernels" ? run_kernels(common, *options) : run_llm(common, *options);
                  });
  command
      .add_option(
          "SUITE", options->suite,
          "kernels: every kernel, verified, then timed; llm: f32 against 4-bit weights, with --vs "
          "against other programs, with --breakdown by operation; formats: bits and error of every number format")
      ->required()
      ->option_text(" ")
      ->check(CLI::IsMember({"kernels", "llm", "formats"}));
  command
      .add_option("--model", options->model,
                  std::string("model of suite llm, or of --tensor [default ") + kDefaultModel + "]")
      ->option_text("FILE");
  add_number(command, "--rounds", options->request.rounds, {1, 1000}, "rounds; the median counts");
  add_number(command, "--decode", options->request.decode_tokens, {1, 1 << 20}, "tokens of a decode round (llm)");
  add_number(command, "--prefill", options->request.prefill_tokens, {1, 1 << 20}, "tokens of a prefill round (llm)");
  add_peer_options(command, options->peers, options->breakdown);
  add_format_options(command, options->formats);
  command.remove_option(command.get_option("--threads"));  // one number for other commands
  command
      .add_option("-t,--threads", options->threads,
                  "threads of the kernels, 0: one a core [0 .. 1024; default 0]; with --vs and --breakdown a list "
                  "[default 1,2]")
      ->delimiter(',')
      ->check(in_range({0, 1024}))
      ->option_text("N,...");
  command
      .add_option("--filter", options->filter,
                  "part of an operation, problem or kernel name (kernels), or of a format's (formats)")
      ->option_text("TEXT");
  add_number(command, "--require-decode", options->require_decode, {0, 1e6},
             "exit with 1 when 4-bit weights decode fewer tokens/s (llm)");
  add_number(command, "--require-ratio", options->require_ratio, {0, 1e6},
             "exit with 1 when they decode less than this many times as fast as f32 (llm)");
}

}  // namespace halftone::cli
