// halftone compare REFERENCE OTHER... --text FILE
#include <ctime>

#include "base/json.h"
#include "cli/evaluate_options.h"
#include "engine/report/html_report.h"
#include "engine/report/table.h"

namespace halftone::cli {
namespace {

struct CompareOptions {
  std::string reference;
  std::vector<std::string> others;
  EvaluateOptions evaluate;
  std::string html;
  double max_kl = -1;
};

std::string today() {
  const std::time_t now = std::time(nullptr);
  char text[16] = {};
  std::strftime(text, sizeof text, "%Y-%m-%d", std::gmtime(&now));
  return text;
}

std::string command_line(const CompareOptions& options) {
  std::string line = "halftone compare " + options.reference;
  for (const auto& other : options.others) line += " " + other;
  line += fmt::format(" --text {} --window {} --tokens {}", options.evaluate.text, options.evaluate.request.window,
                      options.evaluate.request.max_tokens);
  if (options.evaluate.weights != models::Weights::Float32) line += " --weights stored";
  return line;
}

engine::Comparison compare_files(ExecContext& exec, const CommonOptions& common, const CompareOptions& options) {
  const engine::EvaluateRequest request = make_request(options.evaluate);
  std::vector<engine::ModelHandle> handles = {
      engine::load_model(options.reference, {.weights = models::Weights::Float32, .pool = &exec.pool})};
  std::vector<const models::LanguageModel*> others;
  for (const auto& path : options.others) {
    handles.push_back(engine::load_model(path, {.weights = options.evaluate.weights, .pool = &exec.pool}));
    others.push_back(handles.back().get());
    warn_if_slow(common, exec, *others.back());
  }
  engine::Comparison comparison = engine::compare(exec, *handles[0], others, request);
  comparison.reference.name = short_name(options.reference);
  for (size_t i = 0; i < others.size(); ++i) comparison.others[i].evaluation.name = short_name(options.others[i]);
  return comparison;
}

/// Whether every model stays within --max-kl; says which does not.
bool within_limit(const engine::Comparison& comparison, double max_kl) {
  bool within = true;
  for (const auto& other : comparison.others) {
    if (max_kl < 0 || other.distance.kl_divergence <= max_kl) continue;
    fmt::print(stderr, "halftone: {} diverges by {:.5f} nats per token, more than --max-kl {}\n", other.evaluation.name,
               other.distance.kl_divergence, max_kl);
    within = false;
  }
  return within;
}

int run(const CommonOptions& common, const CompareOptions& options) {
  catch_interrupts();
  OwnedExecContext exec(common.threads);
  const engine::Comparison comparison = compare_files(exec.get(), common, options);
  if (!options.html.empty())
    engine::write_html_report(comparison,
                              {.text = short_name(options.evaluate.text),
                               .window = options.evaluate.request.window,
                               .command = command_line(options),
                               .device = device_text(exec.get()),
                               .date = today()},
                              options.html);
  if (common.json)
    print_json(engine::to_json(comparison));
  else
    print_text(engine::to_text(engine::comparison_table(comparison)));
  return within_limit(comparison, options.max_kl) ? kSuccess : kNegative;
}

}  // namespace

void add_compare(Program& program) {
  auto options = std::make_shared<CompareOptions>();
  CLI::App& command = program.add("compare", "Measures how far models are from a reference, and what they cost",
                                  [&program, options] { return run(program.common(), *options); });
  add_model(command, options->reference, "REFERENCE");
  command.add_option("OTHER", options->others, "one or more models made from the reference")
      ->required()
      ->option_text("...");
  add_evaluate_options(command, options->evaluate);
  command.footer("The reference is always its file's values in f32; --weights is for the others.");
  command.add_option("--html", options->html, "also write a report with plots")->option_text("FILE");
  command
      .add_option("--max-kl", options->max_kl,
                  "exit with 1 when a model's KL divergence is larger, nats per token [0 .. any]")
      ->check(CLI::NonNegativeNumber)
      ->option_text("N");
}

}  // namespace halftone::cli
