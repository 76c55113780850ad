// Tables and the HTML report: contents, alignment, and markup that is well formed and needs nothing from outside.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "base/atomic_file.h"
#include "base/error.h"
#include "engine/bench/statistics.h"
#include "engine/report/html_report.h"
#include "engine/report/svg_plot.h"
#include "engine/report/table.h"

namespace halftone::engine {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Evaluation evaluation(const std::string& name, int64_t bytes, double perplexity, double error) {
  Evaluation e;
  e.name = name, e.architecture = "llama", e.source_kind = "gguf", e.kv_format = "f16";
  e.storages = {{"int4 group 64 asymmetric", 210, bytes}};
  e.weight_bytes = bytes, e.bits_per_weight = 4.5, e.kv_bytes_per_token = 23040, e.parameters = 134515008;
  e.perplexity = perplexity, e.perplexity_error = error;
  e.prefill_tokens_per_second = 400, e.decode_tokens_per_second = 60;
  return e;
}

Comparison comparison() {
  Comparison c;
  c.reference = evaluation("reference <&>", 538060032, 20.5, 0.75);
  c.tokens = 16352;
  c.others = {
      {evaluation("rtn \"4\"", 110000000, 23, 0.8), {0.12, 0.01, 0.81}},
      {evaluation("gptq", 110000000, 21.5, 0.8), {0.05, 0.01, 0.88}},
      {evaluation("w8a8 with a rather long name that does not fit", 160000000, 20.6, 0.75), {0.004, 0.001, 0.97}}};
  c.others[1].evaluation.provenance = R"({"method":"gptq","note":"a < b"})";
  return c;
}

/// Empty when every element of `xml` is closed in order and no stray '<' or '&' is left; else what is wrong.
std::string malformed(const std::string& xml) {
  std::vector<std::string> open;
  for (size_t at = 0; at < xml.size();) {
    if (xml[at] == '&') {
      const size_t end = xml.find(';', at);
      if (end == std::string::npos || end - at > 6) return "a stray & at " + xml.substr(at, 40);
    }
    if (xml[at] != '<') {
      ++at;
      continue;
    }
    const size_t end = xml.find('>', at);
    if (end == std::string::npos) return "a tag without end: " + xml.substr(at, 40);
    const std::string tag = xml.substr(at + 1, end - at - 1);
    at = end + 1;
    if (tag.empty() || tag.find('<') != std::string::npos) return "a stray < before " + tag;
    if (tag[0] == '!' || tag.back() == '/') continue;
    if (tag[0] != '/') {
      open.push_back(tag.substr(0, tag.find_first_of(" \n")));
    } else {
      if (open.empty() || open.back() != tag.substr(1))
        return "</" + tag.substr(1) + "> does not close " + (open.empty() ? "anything" : open.back());
      open.pop_back();
    }
  }
  return open.empty() ? "" : "unclosed " + open.back();
}

TEST(Malformed, FindsWhatIsWrong) {
  EXPECT_EQ(malformed("<a><b x=\"1\"/>t&amp;</a>"), "");
  EXPECT_NE(malformed("<a><b></a></b>"), "");
  EXPECT_NE(malformed("<a>x & y</a>"), "");
  EXPECT_NE(malformed("<a>"), "");
}

TEST(HtmlReport, IsWellFormedAndSelfContained) {
  const std::string html = render_html_report(
      comparison(),
      {.text = "book & more", .window = 512, .command = "halftone compare a b", .device = "cpu", .date = "today"});
  EXPECT_EQ(malformed(html), "");
  EXPECT_THAT(html, HasSubstr("reference &lt;&amp;&gt;"));
  EXPECT_THAT(html, HasSubstr("rtn &quot;4&quot;"));
  EXPECT_THAT(html, HasSubstr("538,060,032"));
  EXPECT_THAT(html, HasSubstr("23.000 ± 0.800"));
  EXPECT_THAT(html, HasSubstr("16,352 tokens scored of book &amp; more, in windows of 512"));
  EXPECT_THAT(html, HasSubstr("a &lt; b"));
  for (const char* outside : {"src=", "href=", "<script", "@import", "url("})
    EXPECT_THAT(html, Not(HasSubstr(outside)));
  size_t plots = 0;
  for (size_t at = html.find("<svg"); at != std::string::npos; at = html.find("<svg", at + 1)) ++plots;
  EXPECT_EQ(plots, 4u);
}

TEST(HtmlReport, ModelsWithoutDivergenceOrSpeedStillGiveAPage) {
  Comparison c = comparison();
  c.others.resize(1);
  c.others[0].distance = {0, 0, 1};
  c.others[0].evaluation.perplexity = c.reference.perplexity;
  for (auto* e : {&c.reference, &c.others[0].evaluation}) e->decode_tokens_per_second = 0, e->perplexity_error = 0;
  const std::string html = render_html_report(c, {});
  EXPECT_EQ(malformed(html), "");
  EXPECT_THAT(html, Not(HasSubstr("nan")));
  EXPECT_THAT(html, Not(HasSubstr("inf\"")));
}

TEST(HtmlReport, AppearsWholeOrNotAtAll) {
  const auto path =
      std::filesystem::temp_directory_path() / ("halftone-report-" + std::to_string(::getpid()) + ".html");
  write_html_report(comparison(), {}, path);
  EXPECT_EQ(read_text(path), render_html_report(comparison(), {}));
  std::filesystem::remove(path);
  EXPECT_THROW(write_html_report(comparison(), {}, "/no/such/folder/report.html"), IoError);
}

TEST(ScatterPlot, DrawsTheFrontierOfTheBest) {
  // b is beaten by a in both coordinates; c is larger but closer.
  const std::string svg = scatter_plot("t", "x", "y", {{"a", 10, 0.1}, {"b", 12, 0.2}, {"c", 20, 0.01}});
  const size_t begin = svg.find("<path d=\"") + 9;
  const std::string path = svg.substr(begin, svg.find('"', begin) - begin);
  EXPECT_EQ(std::count(path.begin(), path.end(), 'M') + std::count(path.begin(), path.end(), 'V'), 2);
  EXPECT_EQ(scatter_plot("t", "x", "y", {}), "");
}

TEST(Table, ColumnsLineUp) {
  const std::string text = to_text({{"model", "p"}, {{"a", "1.5 ± 0.1"}, {"longer", "22"}}});
  EXPECT_EQ(text, "model           p\n------  ---------\na       1.5 ± 0.1\nlonger         22\n");
}

TEST(Table, ComparisonHasARowForEachModel) {
  const Table table = comparison_table(comparison());
  ASSERT_EQ(table.rows.size(), 4u);
  for (const auto& row : table.rows) EXPECT_EQ(row.size(), table.header.size());
  EXPECT_EQ(table.rows[2][5], "0.05000");
  EXPECT_EQ(table.rows[2][6], "88.00 %");
  EXPECT_EQ(table.rows[0][5], "-");
  const Table single = evaluation_table(comparison().reference);
  EXPECT_EQ(single.header.size(), 7u);
  EXPECT_EQ(single.rows[0].size(), 7u);
  EXPECT_EQ(single.header[5], "prefill tok/s");
}

TEST(Table, DigitsAreGrouped) {
  EXPECT_EQ(group_digits(0), "0");
  EXPECT_EQ(group_digits(999), "999");
  EXPECT_EQ(group_digits(1000), "1,000");
  EXPECT_EQ(group_digits(538060032), "538,060,032");
  EXPECT_EQ(group_digits(-100), "-100");
  EXPECT_EQ(group_digits(-1234567), "-1,234,567");
}

TEST(Statistics, MedianAndSpread) {
  EXPECT_EQ(median({}), 0);
  EXPECT_EQ(median({3, 1, 2}), 2);
  EXPECT_EQ(median({4, 1, 2, 3}), 2.5);
  EXPECT_EQ(relative_spread({2, 1, 4}), 1.5);
}

}  // namespace
}  // namespace halftone::engine
