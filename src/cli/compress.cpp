// halftone compress MODEL -o OUT --method NAME
#include "engine/compress/compress.h"

#include "base/json.h"
#include "cli/command.h"
#include "engine/report/table.h"

namespace halftone::cli {
namespace {

struct CompressOptions {
  engine::CompressRequest request;
  std::string model, output, calibration;
  std::vector<std::string> method_options;
  bool no_resume = false;
};

constexpr double kNoLimit = 1e15;

Json to_json(const engine::CompressRequest& request, const engine::CompressReport& report) {
  return {{"output", request.output.string()},         {"method", request.method},
          {"original_bytes", report.original_bytes},   {"weight_bytes", report.compressed_bytes},
          {"bits_per_weight", report.bits_per_weight}, {"seconds", report.seconds},
          {"resumed_blocks", report.resumed_blocks}};
}

int run(const CommonOptions& common, CompressOptions& options) {
  engine::CompressRequest& request = options.request;
  request.model = options.model;
  request.output = options.output;
  request.calibration = options.calibration;
  request.resume = !options.no_resume;
  for (const auto& text : options.method_options) {
    auto [name, value] = parse_option(text);
    if (!request.method_options.emplace(name, value).second)
      throw InvalidArgument("--method-option {} is given twice; keep one", name);
  }
  request.cancelled = interrupted;
  catch_interrupts();
  Catalogue catalogue;
  register_all_methods(catalogue);
  OwnedExecContext exec(common.threads);
  const engine::CompressReport report = engine::compress(exec.get(), catalogue, request);
  if (common.json) {
    print_json(to_json(request, report));
  } else {
    print_text(fmt::format("{}: {} bytes of weights, {:.3f} bits per weight (original: {} bytes), {:.1f} s\n",
                           options.output, engine::group_digits(report.compressed_bytes), report.bits_per_weight,
                           engine::group_digits(report.original_bytes), report.seconds));
  }
  return kSuccess;
}

}  // namespace

void add_compress(Program& program) {
  auto options = std::make_shared<CompressOptions>();
  CLI::App& command = program.add("compress", "Compresses a model with a method of the catalogue",
                                  [&program, options] { return run(program.common(), *options); });
  engine::CompressRequest& request = options->request;
  add_model(command, options->model);
  command.add_option("-o,--output", options->output, "file to write; a name in .gguf gives GGUF, others our artifact")
      ->required()
      ->option_text("FILE (needed)");
  command.add_option("-m,--method", request.method, "name of a method: see 'halftone list'")
      ->required()
      ->option_text("NAME (needed)");
  command
      .add_option("--method-option", options->method_options,
                  "an option of the method, any number of times: see 'halftone show NAME'")
      ->option_text("NAME=VALUE")
      ->allow_extra_args(false);
  command
      .add_option("--sites", request.sites,
                  "layers to compress, as patterns: \"blocks.*,!blocks.0.*\" [default blocks.*]")
      ->option_text("GLOBS");
  command.add_option("--calibrate", options->calibration, "text file for methods that look at activations")
      ->option_text("FILE");
  add_number(command, "--calibration-tokens", request.calibration_tokens, {2, 1 << 24}, "tokens of that text to use");
  add_number(command, "--window", request.window, {2, 1 << 20}, "tokens in a calibration sequence");
  add_number(command, "--seed", request.seed, {0, kNoLimit}, "of everything random");
  command.add_flag("--no-resume", options->no_resume, "start again even if an interrupted run left its blocks");
}

}  // namespace halftone::cli
