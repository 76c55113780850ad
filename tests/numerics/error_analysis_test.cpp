// Error figures by hand, against a two-pass oracle, and merged over parts.
#include "numerics/error_analysis.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "base/error.h"
#include "base/philox.h"

namespace halftone {
namespace {

using Row = std::vector<float>;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST(ErrorAnalysisTest, FiguresByHand) {
  ErrorAnalysis analysis(4);
  analysis.add_row(Row{3, 4}, Row{3, 5});    // noise 1, signal 25
  analysis.add_row(Row{1, -1}, Row{0, -1});  // noise 1, signal 2
  analysis.add_codes(std::vector<uint32_t>{0, 3, 3});
  analysis.add_clipped(1);
  const ErrorReport r = analysis.report();
  EXPECT_EQ(r.rows, 2);
  EXPECT_EQ(r.elements, 4);
  EXPECT_EQ(r.mse, 0.5);
  EXPECT_EQ(r.mean_square, 27.0 / 4);
  EXPECT_EQ(r.largest_error, 1);
  EXPECT_DOUBLE_EQ(r.sqnr_db, 10 * std::log10(13.5));
  EXPECT_DOUBLE_EQ(r.cosine, (9 + 20 + 0 + 1) / std::sqrt(27.0 * 35));
  EXPECT_EQ(r.worst_row, 1);
  EXPECT_DOUBLE_EQ(r.worst_row_sqnr_db, 10 * std::log10(2.0));
  EXPECT_EQ(r.clipped_fraction, 0.25);
  EXPECT_EQ(r.codes_used, 2);
  EXPECT_EQ(r.unused_codes(), 2);
}

TEST(ErrorAnalysisTest, ExactAndEmptyAndZeroTensors) {
  const ErrorReport empty = ErrorAnalysis().report();
  EXPECT_EQ(empty.rows, 0);
  EXPECT_EQ(empty.mse, 0);
  EXPECT_EQ(empty.worst_row, -1);
  EXPECT_EQ(empty.clipped_fraction, 0);
  ErrorAnalysis exact;
  exact.add_row(Row{1, 2}, Row{1, 2});
  EXPECT_EQ(exact.report().sqnr_db, kInfinity);
  EXPECT_EQ(exact.report().worst_row, 0);
  EXPECT_EQ(exact.report().worst_row_sqnr_db, kInfinity);
  EXPECT_DOUBLE_EQ(exact.report().cosine, 1);
  ErrorAnalysis zeros;
  zeros.add_row(Row{0, 0}, Row{0, -0.0f});
  EXPECT_EQ(zeros.report().cosine, 1);
  zeros.add_row(Row{0, 0}, Row{0, 1});  // noise without signal
  EXPECT_EQ(zeros.report().cosine, 0);
  EXPECT_EQ(zeros.report().worst_row, 1);
  EXPECT_EQ(zeros.report().worst_row_sqnr_db, -kInfinity);
  EXPECT_EQ(zeros.report().sqnr_db, -kInfinity);
}

TEST(ErrorAnalysisTest, NotFiniteIsCountedApart) {
  ErrorAnalysis analysis;
  analysis.add_row(Row{1, INFINITY, 2, std::nanf("")}, Row{2, INFINITY, INFINITY, 0});
  const ErrorReport r = analysis.report();
  EXPECT_EQ(r.elements, 1);
  EXPECT_EQ(r.not_finite, 3);
  EXPECT_EQ(r.mse, 1);
  EXPECT_EQ(r.cosine, 1);
}

// Values whose squares a float sum would lose: 1e8 rows' worth of weight in one element beside many small ones.
TEST(ErrorAnalysisTest, SmallErrorsBesideLargeValuesCount) {
  ErrorAnalysis analysis;
  Row original(10001, 1.0f), restored(10001, 1.0f + 0x1p-10f);
  original[0] = restored[0] = 1e6f;
  analysis.add_row(original, restored);
  EXPECT_DOUBLE_EQ(analysis.report().mse, 10000 * 0x1p-20 / 10001);
}

TEST(ErrorAnalysisTest, PartsMergeToTheWhole) {
  PhiloxStream stream(3);
  std::normal_distribution<float> normal;
  ErrorAnalysis whole(16), parts[3] = {ErrorAnalysis(16), ErrorAnalysis(16), ErrorAnalysis(16)};
  double noise = 0, signal = 0, product = 0, power = 0, worst = 0;
  int64_t worst_row = -1, count = 0;
  for (int64_t row = 0; row < 60; ++row) {
    Row a(static_cast<size_t>(1 + row % 13)), b(a.size());
    double row_noise = 0, row_signal = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      a[i] = normal(stream);
      b[i] = a[i] + 0.01f * normal(stream);
      row_noise += std::pow(double{b[i]} - a[i], 2);
      row_signal += double{a[i]} * a[i];
      product += double{a[i]} * b[i];
      power += double{b[i]} * b[i];
      ++count;
    }
    noise += row_noise;
    signal += row_signal;
    if (row_noise / row_signal > worst) worst = row_noise / row_signal, worst_row = row;
    const uint32_t code = stream() % 11;
    for (auto* to : {&whole, &parts[row / 20]}) {
      to->add_row(a, b);
      to->add_codes(std::span(&code, 1));
      to->add_clipped(row % 3);
    }
  }
  parts[0].merge(parts[1]);
  parts[0].merge(parts[2]);
  for (const ErrorReport& r : {whole.report(), parts[0].report()}) {
    EXPECT_EQ(r.rows, 60);
    EXPECT_EQ(r.elements, count);
    const double close = 1e-13;  // 420 additions in double, in another order
    EXPECT_NEAR(r.mse, noise / static_cast<double>(count), close * r.mse);
    EXPECT_NEAR(r.sqnr_db, 10 * std::log10(signal / noise), 1e-11);
    EXPECT_NEAR(r.cosine, product / std::sqrt(signal * power), close);
    EXPECT_EQ(r.worst_row, worst_row);
    EXPECT_NEAR(r.worst_row_sqnr_db, -10 * std::log10(worst), 1e-11);
    EXPECT_EQ(r.clipped_fraction, 60.0 / static_cast<double>(count));
    EXPECT_EQ(r.unused_codes(), whole.report().unused_codes());
    EXPECT_GE(r.unused_codes(), 5);
  }
}

TEST(ErrorAnalysisTest, RefusesMismatches) {
  ErrorAnalysis analysis(4);
  EXPECT_THROW(analysis.add_row(Row{1, 2}, Row{1}), InvalidArgument);
  EXPECT_THROW(analysis.add_codes(std::vector<uint32_t>{4}), InvalidArgument);
  EXPECT_THROW(analysis.merge(ErrorAnalysis(5)), InvalidArgument);
  EXPECT_THROW(ErrorAnalysis(-1), InvalidArgument);
}

}  // namespace
}  // namespace halftone
