// The page, part by part; see html_report.h.
#include "engine/report/html_report.h"

#include <fmt/format.h>

#include "base/atomic_file.h"
#include "base/json.h"
#include "engine/report/svg_plot.h"
#include "engine/report/table.h"

namespace halftone::engine {
namespace {

constexpr const char* kStyle = R"(
:root { color-scheme: light dark; --ink: #1d2330; --soft: #667085; --paper: #ffffff; --grid: #e4e7ec; --mark: #2f6fb3;
  --reference: #98a2b3; --shade: #f5f7fa; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --soft: #9aa4b2; --paper: #14171d; --grid: #2b313b;
  --mark: #6cb0f5; --reference: #667085; --shade: #1c2129; } }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 64rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem; margin: 2.25rem 0 .5rem; }
.facts, .note { color: var(--soft); margin: .15rem 0; } code, pre { font: 13px/1.45 ui-monospace, monospace; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: nowrap; }
th, td { padding: .4rem .7rem; text-align: right; border-bottom: 1px solid var(--grid); }
th:first-child, td:first-child { text-align: left; } th { font-weight: 600; color: var(--soft); }
tr.reference td { background: var(--shade); } figure { margin: 1.5rem 0 0; } figcaption { font-weight: 600; }
svg { width: 100%; height: auto; font: 12px system-ui, sans-serif; } .label { fill: var(--soft); } .value { fill: var(--ink); }
.axis { stroke: var(--soft); } .grid { stroke: var(--grid); } .mark { fill: var(--mark); }
.mark-reference { fill: var(--reference); } .line { fill: none; stroke: var(--mark); stroke-dasharray: 5 4; }
.error { stroke: var(--ink); } .rule { stroke: var(--reference); stroke-dasharray: 5 4; }
details { border: 1px solid var(--grid); border-radius: 6px; padding: .5rem .9rem; margin: .5rem 0; }
summary { cursor: pointer; font-weight: 600; } pre { white-space: pre-wrap; overflow-wrap: anywhere; }
)";

std::string header(const Comparison& comparison, const ReportInfo& info) {
  std::string html = fmt::format("<h1>{} and {} compressed {}</h1>\n", escape_html(comparison.reference.name),
                                 comparison.others.size(), comparison.others.size() == 1 ? "form" : "forms");
  const auto fact = [&](const std::string& text) { html += "<p class=\"facts\">" + text + "</p>\n"; };
  std::string scored = fmt::format("{} tokens scored", group_digits(comparison.tokens));
  if (!info.text.empty()) scored += " of " + escape_html(info.text);
  if (info.window > 0) scored += fmt::format(", in windows of {}", info.window);
  fact(scored);
  if (!info.device.empty()) fact(escape_html(info.device));
  if (!info.date.empty()) fact(escape_html(info.date));
  if (!info.command.empty()) fact("<code>" + escape_html(info.command) + "</code>");
  return html;
}

std::string plots(const Comparison& comparison) {
  std::vector<PlotPoint> divergence;
  std::vector<PlotInterval> perplexity, decode, prefill;
  const auto add = [&](const Evaluation& e, bool reference) {
    perplexity.push_back({e.name, e.perplexity, e.perplexity_error, reference});
    prefill.push_back({e.name, e.prefill_tokens_per_second, 0, reference});
    if (e.decode_tokens_per_second > 0) decode.push_back({e.name, e.decode_tokens_per_second, 0, reference});
  };
  add(comparison.reference, true);
  for (const auto& other : comparison.others) {
    add(other.evaluation, false);
    divergence.push_back({other.evaluation.name, static_cast<double>(other.evaluation.weight_bytes) * 1e-6,
                          other.distance.kl_divergence});
  }
  return scatter_plot("Divergence from the reference against size; the dashed line joins the best at each size",
                      "weights, MB", "KL to reference, nats per token", divergence) +
         interval_plot("Perplexity, with one standard error to each side", "perplexity", perplexity) +
         bar_plot("Decode, one token at a time", "tokens per second", decode) +
         bar_plot("Prefill, whole windows with the logits of every position", "tokens per second", prefill);
}

std::string provenance(const Evaluation& e) {
  std::string html = fmt::format(
      "<details><summary>{}</summary>\n<p>{} from {}, {} parameters, {} bytes of weights, KV "
      "cache in {}.</p>\n<div class=\"scroll\"><table><thead><tr><th>stored as</th><th>matrices</th>"
      "<th>bytes</th></tr></thead><tbody>\n",
      escape_html(e.name), escape_html(e.architecture), escape_html(e.source_kind), group_digits(e.parameters),
      group_digits(e.weight_bytes), escape_html(e.kv_format));
  for (const auto& share : e.storages)
    html += fmt::format("<tr><td>{}</td><td>{}</td><td>{}</td></tr>\n", escape_html(share.format), share.layers,
                        group_digits(share.bytes));
  html += "</tbody></table></div>\n";
  if (!e.provenance.empty()) html += "<pre>" + escape_html(Json::parse(e.provenance).dump(2)) + "</pre>\n";
  return html + "</details>\n";
}

}  // namespace

std::string html_page(const std::string& title, const std::string& body) {
  std::string html =
      "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n<head><meta charset=\"utf-8\"/>\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n";
  html += "<title>" + escape_html(title) + "</title>\n<style>" + kStyle + "</style></head>\n<body>\n";
  return html + body + "</body>\n</html>\n";
}

std::string html_table(const Table& table, bool first_is_reference) {
  std::string html = "<div class=\"scroll\"><table>\n<thead><tr>";
  for (const auto& cell : table.header) html += "<th>" + escape_html(cell) + "</th>";
  html += "</tr></thead>\n<tbody>\n";
  for (size_t i = 0; i < table.rows.size(); ++i) {
    html += i == 0 && first_is_reference ? "<tr class=\"reference\">" : "<tr>";
    for (const auto& cell : table.rows[i]) html += "<td>" + escape_html(cell) + "</td>";
    html += "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

std::string render_html_report(const Comparison& comparison, const ReportInfo& info) {
  std::string html = header(comparison, info);
  html += "<h2>Results</h2>\n" + html_table(comparison_table(comparison), true);
  html +=
      "<p class=\"note\">Perplexity ± one standard error by bootstrap over windows. KL to reference: mean over tokens, "
      "in nats. "
      "top-1: tokens whose most likely successor is the reference's.</p>\n";
  html += plots(comparison);
  html += "<h2>Models</h2>\n" + provenance(comparison.reference);
  for (const auto& other : comparison.others) html += provenance(other.evaluation);
  return html_page("halftone: " + comparison.reference.name, html);
}

void write_html_report(const Comparison& comparison, const ReportInfo& info, const std::filesystem::path& path) {
  write_file(path, render_html_report(comparison, info));
}

}  // namespace halftone::engine
