// Options, tables and the page of bench formats; see bench_formats.h.
#include "cli/bench_formats.h"

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/json.h"
#include "base/progress.h"
#include "engine/bench/bench_formats.h"

namespace halftone::cli {
namespace {

std::string shape_text(const engine::FormatData& data) {
  return fmt::format("{}: {} x {}", data.name, data.rows, data.columns);
}

void check_plot(const std::string& path) {
  if (!path.empty() && !path.ends_with(".html"))
    throw InvalidArgument("--plot writes a page with its plots; name it something.html, not '{}'", path);
}

}  // namespace

void add_format_options(CLI::App& command, FormatBenchOptions& options) {
  command
      .add_option("--tensor", options.tensor,
                  "code this tensor of --model instead of matrices drawn from the seed (formats)")
      ->option_text("NAME");
  command.add_option("--plot", options.plot, "write a page with plots and tables (formats)")->option_text("FILE.html");
  add_number(command, "--rows", options.rows, {1, 1 << 20}, "rows of a matrix; at most so many of a tensor (formats)");
  add_number(command, "--columns", options.columns, {1, 1 << 20}, "columns of a matrix drawn from the seed (formats)");
  add_number(command, "--seed", options.seed, {0, 1e15}, "seed of the matrices (formats)");
}

int run_formats(const CommonOptions& common, const FormatBenchOptions& options, const std::string& model,
                const std::string& filter) {
  check_plot(options.plot);
  std::vector<engine::FormatData> sets;
  if (options.tensor.empty())
    sets = engine::synthetic_data(options.rows, options.columns, options.seed);
  else
    sets = {engine::tensor_data(model, options.tensor, options.rows)};

  OwnedExecContext exec(common.threads);
  Progress progress("bench formats", static_cast<int64_t>(sets.size()));
  std::vector<engine::FormatResult> results;
  std::vector<std::string> facts;
  Json json = {{"suite", "formats"}, {"results", Json::array()}};
  std::string text;
  for (const auto& data : sets) {
    const auto of_set = engine::bench_formats(exec.get(), data, filter);
    if (of_set.empty()) throw InvalidArgument("no format's name contains '{}'; leave --filter out to see all", filter);
    facts.push_back(shape_text(data));
    text += shape_text(data) + "\n" + engine::to_text(engine::format_table(of_set)) + "\n";
    for (const auto& result : of_set) json["results"].push_back(engine::to_json(result));
    results.insert(results.end(), of_set.begin(), of_set.end());
    progress.update(static_cast<int64_t>(facts.size()), data.name);
  }
  facts.push_back(options.tensor.empty() ? fmt::format("seed {}", options.seed) : "from " + short_name(model));
  facts.emplace_back("rounded to nearest; SQNR is 10 log10(mean square / mean square error)");
  if (!options.plot.empty()) write_file(options.plot, engine::format_page(results, facts));
  if (common.json)
    print_json(json);
  else
    print_text(text);
  return kSuccess;
}

}  // namespace halftone::cli
