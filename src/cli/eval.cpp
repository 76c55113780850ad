// halftone eval MODEL --text FILE
#include "base/atomic_file.h"
#include "base/json.h"
#include "cli/evaluate_options.h"
#include "engine/report/table.h"

namespace halftone::cli {
namespace {

struct EvalOptions {
  std::string model;
  EvaluateOptions evaluate;
};

}  // namespace

void add_eval(Program& program) {
  auto options = std::make_shared<EvalOptions>();
  CLI::App& command = program.add("eval", "Measures perplexity and speed of a model on a text", [&program, options] {
    catch_interrupts();
    OwnedExecContext exec(program.common().threads);
    const auto model =
        engine::load_model(options->model, {.weights = options->evaluate.weights, .pool = &exec.get().pool});
    warn_if_slow(program.common(), exec.get(), *model);
    engine::Evaluation result = engine::evaluate(exec.get(), *model, make_request(options->evaluate));
    result.name = short_name(options->model);
    if (program.common().json)
      print_json(engine::to_json(result));
    else
      print_text(engine::to_text(engine::evaluation_table(result)));
    return kSuccess;
  });
  add_model(command, options->model);
  add_evaluate_options(command, options->evaluate);
}

}  // namespace halftone::cli
