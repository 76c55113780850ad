// bench formats: the data is what it says, figures agree with what formats are known to cost, pages are complete.
#include "engine/bench/bench_formats.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>

#include "base/error.h"
#include "base/json.h"
#include "io/safetensors/safetensors.h"
#include "numerics/half.h"

namespace halftone::engine {
namespace {

using ::testing::HasSubstr;

/// Mean of f(x), in units of its own standard error away from `expected`.
template <class F>
double z_score(const std::vector<float>& values, double expected, F&& f) {
  double sum = 0, squares = 0;
  for (const float v : values) sum += f(v), squares += f(v) * f(v);
  const auto n = static_cast<double>(values.size());
  return (sum / n - expected) / std::sqrt((squares / n - sum / n * sum / n) / n);
}

TEST(BenchFormatsTest, DrawsWhatItSays) {
  const auto sets = synthetic_data(128, 512, 7);
  ASSERT_EQ(sets.size(), 3u);
  for (const auto& set : {sets[0], sets[1]}) {
    EXPECT_LT(std::fabs(z_score(set.values, 0, [](double x) { return x; })), 5) << set.name;
    EXPECT_LT(std::fabs(z_score(set.values, 1, [](double x) { return x * x; })), 5) << set.name;
  }
  // Mean magnitudes tell the two apart: sqrt(2 / pi) and 1 / sqrt(2).
  EXPECT_LT(std::fabs(z_score(sets[0].values, std::sqrt(2 / M_PI), [](double x) { return std::fabs(x); })), 5);
  EXPECT_LT(std::fabs(z_score(sets[1].values, std::sqrt(0.5), [](double x) { return std::fabs(x); })), 5);
  std::set<int64_t> loud;
  for (int64_t c = 0; c < 512; ++c) {
    double squares = 0;
    for (int64_t r = 1; r < 128; ++r) squares += std::pow(sets[2].values[static_cast<size_t>(r * 512 + c)], 2);
    if (squares / 127 > 100) loud.insert(c);  // 1600 expected of an outlier, 1 of the others
  }
  EXPECT_EQ(loud.size(), 6u);  // 1 % of 512, rounded up
  EXPECT_EQ(synthetic_data(128, 512, 7)[2].values, sets[2].values);
  EXPECT_NE(synthetic_data(128, 512, 8)[2].values, sets[2].values);
  EXPECT_THROW(synthetic_data(0, 5, 1), InvalidArgument);
}

std::map<std::string, FormatResult> results_of(const FormatData& data, const std::string& filter = "") {
  OwnedExecContext exec(2);
  std::map<std::string, FormatResult> by_name;
  for (auto& r : bench_formats(exec.get(), data, filter)) by_name[r.format] = r;
  return by_name;
}

TEST(BenchFormatsTest, EveryElementFormatIsThere) {
  std::set<std::string> elements;
  for (const auto& item : format_cases()) elements.insert(item.format.element.name);
  for (const auto& element : kElementFormats) {
    const bool left_out = std::string(element.name) == "f32" || element.kind == ElementKind::PowerOfTwo;
    EXPECT_EQ(elements.count(element.name), left_out ? 0u : 1u) << element.name;
  }
}

TEST(BenchFormatsTest, FiguresAreThoseThatFormatsAreKnownFor) {
  const auto sets = synthetic_data(64, 256, 3);
  auto normal = results_of(sets[0]);
  for (const auto& [name, r] : normal) {
    EXPECT_EQ(r.error.elements, 64 * 256) << name;
    EXPECT_GT(r.error.sqnr_db, r.bits_per_value >= 4 ? 10 : -3) << name;
    EXPECT_GT(r.error.cosine, r.bits_per_value >= 4 ? 0.95 : 0.3) << name;
    EXPECT_GE(r.error.unused_codes(), 0) << name;
    EXPECT_LE(r.error.worst_row_sqnr_db, r.error.sqnr_db) << name;
  }
  // A bit halves the step: 6 dB, and more from 2 to 3 bits, where there are three times as many steps.
  double last = 0;
  for (const char* bits : {"int2", "int3", "int4", "int5", "int6"}) {
    const double found = normal.at(std::string(bits) + " group:32 f16 absmax").error.sqnr_db;
    EXPECT_GT(found, last + (last == 0 ? 0 : 5)) << bits;
    last = found;
  }
  // bf16 has 8 significant bits, so a step of 2^-7 of the binade's lower end, and an error of step^2 / 12 on average;
  // x^2 lies between 1 and 4 squares of that end: between 10 log10(12 * 2^14) = 52.9 dB and 6 dB more.
  EXPECT_NEAR(normal.at("bf16 tensor e8m0 truncation-free").error.sqnr_db, 55.94, 3.02);
  // OCP's scale leaves what lies between 6 and 8 of the largest binade to saturate; TetraJet's rule nothing.
  EXPECT_NEAR(normal.at("mxfp4").error.clipped_fraction, 0.023, 0.006);
  EXPECT_EQ(normal.at("mxfp4 truncation-free").error.clipped_fraction, 0);
  EXPECT_DOUBLE_EQ(normal.at("mxfp4").bits_per_value, 4.25);
  EXPECT_DOUBLE_EQ(normal.at("int4 group:128 f16 absmax").bits_per_value, 4.125);
  // Outliers share a row's scale with everything else; groups of 32 confine them.
  auto outliers = results_of(sets[2], "int4");
  EXPECT_GT(outliers.at("int4 group:32 f16 absmax").error.sqnr_db,
            outliers.at("int4 row f16 absmax").error.sqnr_db + 3);
  EXPECT_TRUE(results_of(sets[0], "no such format").empty());
}

TEST(BenchFormatsTest, OrderAndThreadsDoNotMatter) {
  const auto data = synthetic_data(9, 77, 3)[1];  // short last groups
  OwnedExecContext one(1), three(3);
  const auto a = bench_formats(one.get(), data, ""), b = bench_formats(three.get(), data, "");
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(to_json(a[i]), to_json(b[i]));
    EXPECT_NE(a[i].element, "complex");  // codes two numbers at a time: 77 columns will not do
    if (i > 0) {
      EXPECT_LE(a[i - 1].bits_per_value, a[i].bits_per_value);
    }
  }
  auto bad = data;
  bad.values[80] = NAN;
  EXPECT_THROW(bench_formats(three.get(), bad, ""), NumericError);
}

TEST(BenchFormatsTest, PageAndTableHoldEverything) {
  const auto sets = synthetic_data(8, 64, 1);
  OwnedExecContext exec(1);
  std::vector<FormatResult> all;
  for (const auto& set : sets)
    for (const auto& r : bench_formats(exec.get(), set, "fp4")) all.push_back(r);
  const std::string page = format_page(all, {"a fact <&>"});
  for (const char* part : {"a fact &lt;&amp;&gt;", "<h2>normal</h2>", "<h2>laplace</h2>", "<h2>outliers</h2>", "mxfp4",
                           "nvfp4", "bits per value", "</html>"})
    EXPECT_THAT(page, HasSubstr(part));
  size_t plots = 0;
  for (size_t at = page.find("<svg"); at != std::string::npos; at = page.find("<svg", at + 1)) ++plots;
  EXPECT_EQ(plots, 3u);
  const std::string table = to_text(format_table(all));
  EXPECT_THAT(table, HasSubstr("unused codes"));
  EXPECT_THAT(table, HasSubstr(" of 16"));
  const Json json = to_json(all[0]);
  for (const char* field : {"data", "format", "element", "bits_per_value", "mse", "sqnr_db", "cosine", "worst_row",
                            "clipped_fraction", "unused_codes"})
    EXPECT_TRUE(json.contains(field)) << field;
}

TEST(BenchFormatsTest, ReadsTensorsOfFiles) {
  const auto path =
      std::filesystem::temp_directory_path() / ("halftone_formats_" + std::to_string(getpid()) + ".safetensors");
  std::vector<uint16_t> half(6 * 4);
  for (size_t i = 0; i < half.size(); ++i) half[i] = f32_to_f16(static_cast<float>(i));
  const std::vector<int32_t> ints(4, 1);
  write_safetensors(path, std::vector<TensorView>{{"w", SafetensorsType::F16, {6, 4}, std::as_bytes(std::span(half))},
                                                  {"i", SafetensorsType::I32, {4}, std::as_bytes(std::span(ints))}});
  const FormatData whole = tensor_data(path, "w", 100), part = tensor_data(path, "w", 3);
  EXPECT_EQ(whole.rows, 6);
  EXPECT_EQ(whole.columns, 4);
  EXPECT_EQ(whole.values[23], 23);
  EXPECT_EQ(part.rows, 3);
  EXPECT_EQ(part.values, (std::vector<float>{0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19}));  // rows 0, 2 and 4
  EXPECT_THROW(tensor_data(path, "i", 1), Unsupported);
  EXPECT_THROW(tensor_data(path, "none", 1), IoError);
  EXPECT_THROW(tensor_data(path, "w", 0), InvalidArgument);
  std::filesystem::remove(path);
  EXPECT_THROW(tensor_data("/nonexistent.gguf", "w", 1), IoError);
}

}  // namespace
}  // namespace halftone::engine
