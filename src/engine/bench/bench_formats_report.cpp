// Tables, JSON and the page of bench formats; see bench_formats.h.
#include <fmt/format.h>

#include <cmath>

#include "base/json.h"
#include "engine/bench/bench_formats.h"
#include "engine/report/html_report.h"
#include "engine/report/svg_plot.h"

namespace halftone::engine {
namespace {

Json finite(double value) { return std::isfinite(value) ? Json(value) : Json(); }

/// Error relative to the signal, 10^(-SQNR / 10): what data sets of different size can be compared by.
double relative_error(const FormatResult& r) { return r.error.mean_square > 0 ? r.error.mse / r.error.mean_square : 0; }

/// Named are, from few bits to many, the formats that halve the error of the last named one: dozens of names would hide
/// one another.
std::vector<PlotPoint> plot_points(const std::vector<FormatResult>& results) {
  std::vector<PlotPoint> points;
  double last_named = INFINITY;
  for (const auto& r : results) {
    const double error = relative_error(r);
    if (!(error > 0)) continue;  // exact: has no place on a logarithmic axis
    const bool named = error <= last_named / 2;
    if (named) last_named = error;
    points.push_back({r.format, r.bits_per_value, error, named});
  }
  return points;
}

}  // namespace

Table format_table(const std::vector<FormatResult>& results) {
  Table table{{"format", "bits/value", "MSE", "SQNR dB", "cosine", "worst row", "its dB", "clipped", "unused codes"},
              {}};
  for (const auto& r : results)
    table.rows.push_back({r.format, fmt::format("{:.3f}", r.bits_per_value), fmt::format("{:.3g}", r.error.mse),
                          fmt::format("{:.2f}", r.error.sqnr_db), fmt::format("{:.6f}", r.error.cosine),
                          std::to_string(r.error.worst_row), fmt::format("{:.2f}", r.error.worst_row_sqnr_db),
                          fmt::format("{:.3f} %", 100 * r.error.clipped_fraction),
                          fmt::format("{} of {}", r.error.unused_codes(), r.error.codes)});
  return table;
}

Json to_json(const FormatResult& r) {
  return {{"data", r.data},
          {"format", r.format},
          {"element", r.element},
          {"bits_per_value", r.bits_per_value},
          {"values", r.error.elements},
          {"mse", r.error.mse},
          {"mean_square", r.error.mean_square},
          {"sqnr_db", finite(r.error.sqnr_db)},
          {"cosine", r.error.cosine},
          {"largest_error", r.error.largest_error},
          {"worst_row", r.error.worst_row},
          {"worst_row_sqnr_db", finite(r.error.worst_row_sqnr_db)},
          {"clipped_fraction", r.error.clipped_fraction},
          {"codes", r.error.codes},
          {"unused_codes", r.error.unused_codes()}};
}

std::string format_page(const std::vector<FormatResult>& results, const std::vector<std::string>& facts) {
  std::string body = "<h1>Number formats: bits and error</h1>\n";
  for (const auto& fact : facts) body += "<p class=\"facts\">" + escape_html(fact) + "</p>\n";
  for (size_t begin = 0; begin < results.size();) {
    size_t end = begin;
    while (end < results.size() && results[end].data == results[begin].data) ++end;
    const std::vector<FormatResult> set(results.begin() + static_cast<int64_t>(begin),
                                        results.begin() + static_cast<int64_t>(end));
    body += "<h2>" + escape_html(set[0].data) + "</h2>\n";
    body += scatter_plot("Error against size; the dashed line joins the best at each size", "bits per value",
                         "mean square error / mean square", plot_points(set));
    body += html_table(format_table(set));
    begin = end;
  }
  return html_page("halftone: number formats", body);
}

}  // namespace halftone::engine
