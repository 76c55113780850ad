// A comparison as one HTML file that needs nothing else: table, plots, and where each model came from.
#pragma once

#include <filesystem>
#include <string>

#include "engine/evaluate/evaluate.h"
#include "engine/report/table.h"

namespace halftone::engine {

/// What the numbers were taken on; empty fields are left out.
struct ReportInfo {
  std::string text;    ///< name of the evaluated text
  int64_t window = 0;  ///< tokens
  std::string command;
  std::string device;  ///< processor and threads
  std::string date;
};

/// A whole page around `body`, in the style that plots and tables expect: well-formed XML when the body is.
std::string html_page(const std::string& title, const std::string& body);
/// A table for such a page.
std::string html_table(const Table& table, bool first_is_reference = false);

/// The page as text: well-formed XML, no scripts, no external resources.
std::string render_html_report(const Comparison& comparison, const ReportInfo& info);

/// Replaces the file at `path` whole or not at all; throws IoError.
void write_html_report(const Comparison& comparison, const ReportInfo& info, const std::filesystem::path& path);

}  // namespace halftone::engine
