// halftone bench formats: what every number format costs.
#pragma once

#include <memory>
#include <string>

#include "cli/command.h"

namespace halftone::cli {

/// What only this suite takes.
struct FormatBenchOptions {
  std::string tensor, plot;
  int64_t rows = 256, columns = 1024;
  uint64_t seed = 1;
};

/// Adds --tensor, --plot, --rows, --columns and --seed.
void add_format_options(CLI::App& command, FormatBenchOptions& options);

/// Measures and prints. `model` serves --tensor; `filter` is a part of a format's name.
int run_formats(const CommonOptions& common, const FormatBenchOptions& options, const std::string& model,
                const std::string& filter);

}  // namespace halftone::cli
