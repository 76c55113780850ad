// Registration and output; see command.h.
#include "cli/command.h"

#include <fmt/format.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>

#include "base/error.h"
#include "base/json.h"
#include "base/progress.h"
#include "engine/inspect/inspect.h"

namespace halftone::cli {
namespace {

constexpr int kMaxThreads = 1024;

volatile std::sig_atomic_t g_interrupted = 0;  // a signal handler can reach nothing else

void on_interrupt(int) {
  g_interrupted = 1;
  std::signal(SIGINT, SIG_DFL);
}

/// What went wrong, in better words than the parser's where the command itself is unknown.
std::string explain(const CLI::App& app, const CLI::ParseError& error) {
  const auto rest = app.remaining();
  if (!app.get_subcommands().empty() || rest.empty() || rest.front().starts_with("-")) return error.what();
  std::string known;
  for (const auto* command : app.get_subcommands({})) known += (known.empty() ? "" : ", ") + command->get_name();
  return fmt::format("'{}' is no command; there are {}", rest.front(), known);
}

}  // namespace

Program::Program()
    : app_("halftone compresses, measures and runs language models: fewer bits, fewer operations.", "halftone") {
  app_.require_subcommand(1);
  app_.footer(
      "Every command explains itself: halftone COMMAND --help. Exit codes: 0 done, 1 done with a negative "
      "result, 2 bad input.");
}

CLI::App& Program::add(const std::string& name, const std::string& description, std::function<int()> action) {
  CLI::App* command = app_.add_subcommand(name, description);
  command->add_flag("--json", common_.json, "print one JSON document on standard output, and nothing else there");
  command->add_flag("-q,--quiet", common_.quiet, "no progress and no remarks on standard error");
  add_number(*command, "-t,--threads", common_.threads, {0, kMaxThreads}, "threads of the kernels, 0: one a core");
  actions_[command] = std::move(action);
  return *command;
}

int Program::run(int argc, char** argv) {
  try {
    app_.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) return app_.exit(error);  // --help
    const auto chosen = app_.get_subcommands();
    fmt::print(stderr, "halftone: error: {}\nhalftone: see 'halftone {}--help'\n", explain(app_, error),
               chosen.empty() ? "" : chosen.front()->get_name() + " ");
    return kBadInput;
  }
  Progress::set_enabled(!common_.quiet);
  return actions_.at(app_.get_subcommands().front())();
}

CLI::Option* add_kv_format(CLI::App& command, std::string& value) {
  return command
      .add_option("--kv", value,
                  "format of the KV cache: f32, f16, int8 or int4 [default: what the model was made for]")
      ->check(CLI::IsMember({"f32", "f16", "int8", "int4"}))
      ->option_text("FORMAT");
}

CLI::Option* add_weights(CLI::App& command, models::Weights& value) {
  return command
      .add_option_function<std::string>(
          "--weights", [&value](const std::string& name) { value = models::parse_weights(name); },
          fmt::format(
              "tensors of GGUF files: stored keeps codes and scales as they are, f32 expands every quantised type "
              "[default {}]",
              models::to_string(value)))
      ->check(CLI::IsMember({"stored", "f32"}))
      ->option_text("FORMAT");
}

CLI::Option* add_model(CLI::App& command, std::string& path, const std::string& name) {
  return command.add_option(name, path, "a GGUF file, a Hugging Face folder, or an artifact of ours")
      ->required()
      ->option_text(" ");
}

void print_json(const Json& json) { print_text(json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"); }

void print_text(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); }

void finish_output() {
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0)
    throw IoError("standard output could not be written: {}", std::strerror(errno));
}

void warn_if_slow(const CommonOptions& common, const ExecContext& exec, const models::LanguageModel& model) {
  const std::string text = common.quiet ? std::string() : engine::slow_layers(model, exec.isa);
  if (!text.empty()) fmt::print(stderr, "halftone: note: {}\n", text);
}

std::string device_text(const ExecContext& exec) {
  return fmt::format("{}, {}, {} thread{}", cpu_name(), to_string(exec.isa), exec.pool.threads(),
                     exec.pool.threads() == 1 ? "" : "s");
}

void catch_interrupts() {
  struct sigaction action = {};
  action.sa_handler = on_interrupt;  // without SA_RESTART, so that a read of the terminal ends too
  sigaction(SIGINT, &action, nullptr);
}

bool interrupted() { return g_interrupted != 0; }

void clear_interrupt() {
  g_interrupted = 0;
  catch_interrupts();
}

std::string short_name(const std::string& path) {
  std::filesystem::path plain = std::filesystem::path(path).lexically_normal();
  if (!plain.has_filename()) plain = plain.parent_path();
  return plain.stem().string();
}

}  // namespace halftone::cli
