// Cells of results, and their layout for terminals; see table.h.
#include "engine/report/table.h"

#include <fmt/format.h>

#include <algorithm>

#include "io/utf8.h"

namespace halftone::engine {
namespace {

std::string rate(double tokens_per_second) {
  return tokens_per_second > 0 ? fmt::format("{:.1f}", tokens_per_second) : "-";
}

std::vector<std::string> cells(const Evaluation& e, const Distance* distance) {
  return {e.name,
          group_digits(e.weight_bytes),
          fmt::format("{:.3f}", e.bits_per_weight),
          group_digits(e.kv_bytes_per_token),
          fmt::format("{:.3f} ± {:.3f}", e.perplexity, e.perplexity_error),
          distance != nullptr ? fmt::format("{:.5f}", distance->kl_divergence) : "-",
          distance != nullptr ? fmt::format("{:.2f} %", 100 * distance->top1_agreement) : "-",
          rate(e.prefill_tokens_per_second),
          rate(e.decode_tokens_per_second)};
}

const std::vector<std::string> kColumns = {"model",          "weight bytes",  "bits/weight",
                                           "KV bytes/token", "perplexity",    "KL to reference",
                                           "top-1",          "prefill tok/s", "decode tok/s"};
constexpr size_t kDistanceColumns[] = {6, 5};  // left out of a single model's table, last first

std::string pad(const std::string& cell, size_t width, bool left) {
  const std::string space(width - std::min(width, utf8_length(cell)), ' ');
  return left ? cell + space : space + cell;
}

}  // namespace

std::string to_text(const Table& table) {
  std::vector<size_t> widths;
  for (size_t c = 0; c < table.header.size(); ++c) {
    widths.push_back(utf8_length(table.header[c]));
    for (const auto& row : table.rows) widths[c] = std::max(widths[c], utf8_length(row[c]));
  }
  std::string text;
  const auto add = [&](const std::vector<std::string>& row) {
    std::string line;
    for (size_t c = 0; c < row.size(); ++c) line += (c > 0 ? "  " : "") + pad(row[c], widths[c], c == 0);
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  };
  add(table.header);
  std::vector<std::string> rule;
  for (const size_t width : widths) rule.emplace_back(width, '-');
  add(rule);
  for (const auto& row : table.rows) add(row);
  return text;
}

std::string group_digits(int64_t number) {
  std::string digits = std::to_string(number);
  const int64_t first = number < 0 ? 1 : 0;
  for (int64_t at = static_cast<int64_t>(digits.size()) - 3; at > first; at -= 3) digits.insert(at, ",");
  return digits;
}

Table comparison_table(const Comparison& comparison) {
  Table table{kColumns, {cells(comparison.reference, nullptr)}};
  for (const auto& other : comparison.others) table.rows.push_back(cells(other.evaluation, &other.distance));
  return table;
}

Table evaluation_table(const Evaluation& evaluation) {
  Table table{kColumns, {cells(evaluation, nullptr)}};
  for (const size_t column : kDistanceColumns) {
    table.header.erase(table.header.begin() + column);
    table.rows[0].erase(table.rows[0].begin() + column);
  }
  return table;
}

}  // namespace halftone::engine
