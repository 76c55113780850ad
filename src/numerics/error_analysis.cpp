// Streaming sums; see error_analysis.h.
#include "numerics/error_analysis.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace halftone {
namespace {

constexpr int64_t kMostCodes = int64_t{1} << 24;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

}  // namespace

double decibels(double signal, double noise) {
  if (noise == 0) return kInfinity;
  return signal == 0 ? -kInfinity : 10 * std::log10(signal / noise);
}

ErrorAnalysis::ErrorAnalysis(int64_t codes) {
  if (codes < 0 || codes > kMostCodes)
    throw InvalidArgument("error analysis watches 0 .. {} codes, not {}", kMostCodes, codes);
  used_.resize(static_cast<size_t>(codes), false);
}

void ErrorAnalysis::add_row(std::span<const float> original, std::span<const float> restored) {
  if (original.size() != restored.size())
    throw InvalidArgument("error analysis: a row of {} was restored as {} elements", original.size(), restored.size());
  double signal = 0, power = 0, product = 0, noise = 0;
  int64_t compared = 0;
  for (size_t i = 0; i < original.size(); ++i) {
    const double x = original[i], y = restored[i];
    if (!std::isfinite(x) || !std::isfinite(y)) continue;
    const double error = y - x;
    ++compared;
    signal += x * x;
    power += y * y;
    product += x * y;
    noise += error * error;
    largest_ = std::max(largest_, std::fabs(error));
  }
  elements_ += compared;
  not_finite_ += static_cast<int64_t>(original.size()) - compared;
  signal_ += signal;
  restored_ += power;
  product_ += product;
  noise_ += noise;
  const double ratio = noise == 0 ? 0 : signal == 0 ? kInfinity : noise / signal;
  if (ratio > worst_ratio_) {
    worst_ratio_ = ratio;
    worst_row_ = rows_;
  }
  ++rows_;
}

void ErrorAnalysis::add_codes(std::span<const uint32_t> codes) {
  for (const uint32_t code : codes) {
    if (code >= used_.size())
      throw InvalidArgument("error analysis: code {} of a format with {} codes", code, used_.size());
    used_[code] = true;
  }
}

void ErrorAnalysis::merge(const ErrorAnalysis& later) {
  if (used_.size() != later.used_.size())
    throw InvalidArgument("error analyses of {} and {} codes cannot be merged", used_.size(), later.used_.size());
  if (later.worst_ratio_ > worst_ratio_) {
    worst_ratio_ = later.worst_ratio_;
    worst_row_ = rows_ + later.worst_row_;
  }
  rows_ += later.rows_;
  elements_ += later.elements_;
  not_finite_ += later.not_finite_;
  clipped_ += later.clipped_;
  signal_ += later.signal_;
  restored_ += later.restored_;
  product_ += later.product_;
  noise_ += later.noise_;
  largest_ = std::max(largest_, later.largest_);
  for (size_t i = 0; i < used_.size(); ++i) used_[i] = used_[i] || later.used_[i];
}

ErrorReport ErrorAnalysis::report() const {
  ErrorReport report;
  report.rows = rows_;
  report.elements = elements_;
  report.not_finite = not_finite_;
  const auto count = static_cast<double>(std::max<int64_t>(1, elements_));
  report.mean_square = signal_ / count;
  report.mse = noise_ / count;
  report.largest_error = largest_;
  report.sqnr_db = decibels(signal_, noise_);
  const bool no_signal = signal_ == 0, nothing_back = restored_ == 0;
  if (no_signal || nothing_back)
    report.cosine = no_signal && nothing_back ? 1 : 0;
  else
    report.cosine = product_ / (std::sqrt(signal_) * std::sqrt(restored_));
  report.worst_row = worst_row_;
  if (worst_row_ >= 0) report.worst_row_sqnr_db = decibels(1, worst_ratio_);
  if (worst_ratio_ == kInfinity) report.worst_row_sqnr_db = -kInfinity;
  const int64_t seen = elements_ + not_finite_;
  report.clipped_fraction = seen > 0 ? static_cast<double>(clipped_) / static_cast<double>(seen) : 0;
  report.codes = static_cast<int64_t>(used_.size());
  report.codes_used = std::count(used_.begin(), used_.end(), true);
  return report;
}

}  // namespace halftone
