// What the commands of the program share: registration, common options, numbers with ranges, output.
#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "base/exec_context.h"
#include "base/json_fwd.h"
#include "base/options.h"
#include "engine/model.h"

namespace halftone::cli {

/// Options that every command has.
struct CommonOptions {
  bool json = false;
  bool quiet = false;
  int threads = 0;
};

/// Exit codes; 130 and 141 are what a shell shows for Ctrl-C and for a closed pipe.
enum ExitCode { kSuccess = 0, kNegative = 1, kBadInput = 2, kInterrupted = 130 };

class Program {
 public:
  Program();
  /// Adds a command; `action` runs when the user chose it, after all options are parsed, and returns the exit code.
  CLI::App& add(const std::string& name, const std::string& description, std::function<int()> action);
  /// Parses and runs; throws halftone::Error.
  int run(int argc, char** argv);

  const CommonOptions& common() const { return common_; }

 private:
  CLI::App app_;
  CommonOptions common_;
  std::map<const CLI::App*, std::function<int()>> actions_;
};

/// "0 .. 1024".
inline std::string range_text(Range range) {
  const auto describe = [](double x) { return x >= 1e15 ? std::string("any") : fmt::format("{}", x); };
  return describe(range.min) + " .. " + describe(range.max);
}

/// Accepts numbers of `range`.
inline CLI::Validator in_range(Range range) {
  return CLI::Validator(
      [range](std::string& text) {
        double number = 0;
        const bool parsed = CLI::detail::lexical_cast(text, number);
        if (parsed && number >= range.min && number <= range.max) return std::string();
        return "'" + text + "' is not a number in " + range_text(range);
      },
      range_text(range));
}

/// Adds `--name N` with its range checked and, with its default, shown by --help.
template <class Number>
CLI::Option* add_number(CLI::App& command, const std::string& name, Number& value, Range range,
                        const std::string& help) {
  return command.add_option(name, value, fmt::format("{} [{}; default {}]", help, range_text(range), value))
      ->check(in_range(range))
      ->option_text("N");
}

/// Adds the --kv option: "f32", "f16", "int8" or "int4"; empty means the model's own.
CLI::Option* add_kv_format(CLI::App& command, std::string& value);
/// Adds the --weights option: "stored" or "f32".
CLI::Option* add_weights(CLI::App& command, models::Weights& value);
/// Adds the MODEL argument.
CLI::Option* add_model(CLI::App& command, std::string& path, const std::string& name = "MODEL");

/// `json` on a line of its own on standard output; damaged UTF-8 in it becomes U+FFFD.
void print_json(const Json& json);
/// `text` on standard output as it is.
void print_text(std::string_view text);
/// Flushes standard output; throws IoError when anything written there was lost.
void finish_output();

/// Remarks on standard error, unless --quiet, that `model` has layers without a fast kernel.
void warn_if_slow(const CommonOptions& common, const ExecContext& exec, const models::LanguageModel& model);

/// "Intel(R) Xeon(R), avx512, 2 threads".
std::string device_text(const ExecContext& exec);

/// From now on Ctrl-C sets a flag instead of ending the process; a second one ends it.
void catch_interrupts();
bool interrupted();
void clear_interrupt();

/// A model's name for people: the file's or folder's name without its extension.
std::string short_name(const std::string& path);

void add_inspect(Program& program);
void add_compress(Program& program);
void add_eval(Program& program);
void add_compare(Program& program);
void add_generate(Program& program);
void add_chat(Program& program);
void add_tokenize(Program& program);
void add_list(Program& program);
void add_show(Program& program);
void add_bench(Program& program);

}  // namespace halftone::cli
