// Axes, marks and labels; see svg_plot.h.
#include "engine/report/svg_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace halftone::engine {
namespace {

constexpr double kWidth = 760, kLeft = 216, kRight = 90, kTop = 16, kBottom = 46, kRow = 30;
constexpr double kScatterLeft = 76, kScatterHeight = 340, kLabelHeight = 15;
constexpr size_t kNameCharacters = 30;
constexpr double kLogarithmicFrom = 8;  // an interval plot whose values differ by more than this factor

/// A linear or logarithmic map of values to pixels, with round tick values.
class Axis {
 public:
  Axis(double low, double high, double from, double to, bool logarithmic = false)
      : low_(logarithmic ? std::log10(low) : low),
        high_(logarithmic ? std::log10(high) : high),
        from_(from),
        to_(to),
        logarithmic_(logarithmic) {
    if (high_ - low_ <= std::abs(high_) * 1e-9) low_ -= 0.5, high_ += 0.5;
  }
  double pixel(double value) const {
    const double v = logarithmic_ ? std::log10(value) : value;
    return from_ + (to_ - from_) * (v - low_) / (high_ - low_);
  }
  std::vector<double> ticks() const { return logarithmic_ ? logarithmic_ticks() : linear_ticks(); }

 private:
  std::vector<double> linear_ticks() const {
    const double rough = (high_ - low_) / 5, magnitude = std::pow(10, std::floor(std::log10(rough)));
    double step = 10 * magnitude;
    for (const double candidate : {5.0, 2.0, 1.0})
      if (candidate * magnitude >= rough) step = candidate * magnitude;
    std::vector<double> ticks;
    for (double i = std::ceil(low_ / step - 1e-9); i * step <= high_ + 1e-9 * step; ++i)
      ticks.push_back(i * step + 0.0);  // + 0.0: no "-0"
    return ticks;
  }
  std::vector<double> logarithmic_ticks() const {
    const bool wide = high_ - low_ > 3;
    std::vector<double> ticks;
    for (double decade = std::floor(low_); decade <= std::ceil(high_); ++decade)
      for (const double factor : {1.0, 2.0, 5.0}) {
        const double tick = factor * std::pow(10, decade), at = std::log10(tick);
        if (at >= low_ - 1e-9 && at <= high_ + 1e-9 && (factor == 1 || !wide)) ticks.push_back(tick);
      }
    return ticks;
  }

  double low_, high_, from_, to_;
  bool logarithmic_;
};

std::string text(double x, double y, const char* anchor, const char* style, const std::string& words) {
  return fmt::format(R"(<text x="{:.1f}" y="{:.1f}" text-anchor="{}" class="{}">{}</text>)", x, y, anchor, style,
                     escape_html(words));
}

std::string line(double x1, double y1, double x2, double y2, const char* style) {
  return fmt::format(R"(<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" class="{}"/>)", x1, y1, x2, y2, style);
}

std::string shorten(const std::string& name) {
  if (name.size() <= kNameCharacters) return name;
  size_t cut = kNameCharacters - 1;
  while (cut > 0 && (static_cast<unsigned char>(name[cut]) & 0xC0) == 0x80) --cut;  // not inside a character
  return name.substr(0, cut) + "…";
}

std::string frame(const std::string& title, double height, const std::string& body) {
  return fmt::format(
      "<figure><figcaption>{}</figcaption>\n<svg viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" aria-label=\"{}\" "
      "xmlns=\"http://www.w3.org/2000/svg\">{}</svg></figure>\n",
      escape_html(title), kWidth, height, escape_html(title), body);
}

std::string horizontal_axis(const Axis& axis, double top, double bottom, double left, const std::string& label) {
  std::string svg;
  for (const double tick : axis.ticks()) {
    const double x = axis.pixel(tick);
    svg += line(x, top, x, bottom, "grid") + text(x, bottom + 16, "middle", "label", fmt::format("{:g}", tick));
  }
  svg += line(left, bottom, kWidth - kRight, bottom, "axis");
  return svg + text((left + kWidth - kRight) / 2, bottom + 36, "middle", "label", label);
}

/// Names in the left margin, one a row; full names as tooltips.
std::string row_names(const std::vector<PlotInterval>& rows) {
  std::string svg;
  for (size_t i = 0; i < rows.size(); ++i)
    svg += fmt::format(
        "<g><title>{}</title>{}</g>", escape_html(rows[i].name),
        text(kLeft - 10, kTop + kRow * (static_cast<double>(i) + 0.5) + 4, "end", "label", shorten(rows[i].name)));
  return svg;
}

/// The staircase along the points that no other beats in both coordinates.
std::string frontier(std::vector<PlotPoint> points, const Axis& x, const Axis& y) {
  std::sort(points.begin(), points.end(),
            [](const PlotPoint& a, const PlotPoint& b) { return a.x != b.x ? a.x < b.x : a.y < b.y; });
  std::string path;
  double best = INFINITY;
  for (const auto& point : points) {
    if (point.y >= best) continue;
    if (path.empty())
      path = fmt::format("M{:.1f},{:.1f}", x.pixel(point.x), y.pixel(point.y));
    else
      path += fmt::format("H{:.1f}V{:.1f}", x.pixel(point.x), y.pixel(point.y));
    best = point.y;
  }
  return fmt::format(R"(<path d="{}" class="line"/>)", path);
}

/// Marks and their names, above the frontier's lines; names move down where they would lie over one another.
std::string named_marks(std::vector<PlotPoint> points, const Axis& x, const Axis& y) {
  std::sort(points.begin(), points.end(), [](const PlotPoint& a, const PlotPoint& b) { return a.y > b.y; });
  std::string svg;
  double last[2] = {-INFINITY, -INFINITY};  // lowest name so far on the left-hand and right-hand side
  for (const auto& point : points) {
    const double px = x.pixel(point.x), py = y.pixel(point.y);
    svg += fmt::format(R"(<circle cx="{:.1f}" cy="{:.1f}" r="5" class="mark"><title>{}: {:g}, {:g}</title></circle>)",
                       px, py, escape_html(point.name), point.x, point.y);
    if (!point.named) continue;
    const bool left = px > (kScatterLeft + kWidth - kRight) / 2;
    const double name_y = std::max(py - 9, last[left] + kLabelHeight);
    last[left] = name_y;
    svg += text(px + (left ? -4 : 4), name_y, left ? "end" : "start", "label", shorten(point.name));
  }
  return svg;
}

}  // namespace

std::string escape_html(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      case '\'':
        escaped += "&#39;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

std::string scatter_plot(const std::string& title, const std::string& x_label, const std::string& y_label,
                         const std::vector<PlotPoint>& points) {
  if (points.empty()) return {};
  double x_max = 0, y_min = INFINITY, y_max = -INFINITY;
  for (const auto& p : points) x_max = std::max(x_max, p.x), y_min = std::min(y_min, p.y), y_max = std::max(y_max, p.y);
  const bool logarithmic = y_min > 0;
  const double bottom = kScatterHeight - kBottom;
  const Axis x(0, x_max * 1.08, kScatterLeft, kWidth - kRight);
  const Axis y(logarithmic ? y_min / 1.6 : 0, logarithmic ? y_max * 1.6 : y_max * 1.15, bottom, kTop, logarithmic);
  std::string svg = horizontal_axis(x, kTop, bottom, kScatterLeft, x_label);
  for (const double tick : y.ticks()) {
    svg += line(kScatterLeft, y.pixel(tick), kWidth - kRight, y.pixel(tick), "grid");
    svg += text(kScatterLeft - 8, y.pixel(tick) + 4, "end", "label", fmt::format("{:g}", tick));
  }
  svg += line(kScatterLeft, kTop, kScatterLeft, bottom, "axis");
  svg += fmt::format("<g transform=\"rotate(-90)\">{}</g>", text(-(kTop + bottom) / 2, 18, "middle", "label", y_label));
  return frame(title, kScatterHeight, svg + frontier(points, x, y) + named_marks(points, x, y));
}

std::string interval_plot(const std::string& title, const std::string& x_label,
                          const std::vector<PlotInterval>& intervals) {
  if (intervals.empty()) return {};
  double low = INFINITY, high = -INFINITY;
  const auto lower = [](const PlotInterval& i) { return std::max(i.value - i.error, i.value / 2); };
  for (const auto& i : intervals) low = std::min(low, lower(i)), high = std::max(high, i.value + i.error);
  const bool logarithmic = low > 0 && high > kLogarithmicFrom * low;
  const double margin = std::max((high - low) * 0.06, high * 0.01);
  const Axis axis = logarithmic ? Axis(low / 1.1, high * 1.1, kLeft, kWidth - kRight, true)
                                : Axis(std::max(0.0, low - margin), high + margin, kLeft, kWidth - kRight);
  const double bottom = kTop + kRow * static_cast<double>(intervals.size());
  std::string svg = horizontal_axis(axis, kTop, bottom, kLeft, x_label) + row_names(intervals);
  const auto reference = std::find_if(intervals.begin(), intervals.end(), [](const auto& i) { return i.reference; });
  if (reference != intervals.end())
    svg += line(axis.pixel(reference->value), kTop, axis.pixel(reference->value), bottom, "rule");
  for (size_t i = 0; i < intervals.size(); ++i) {
    const auto& interval = intervals[i];
    const double y = kTop + kRow * (static_cast<double>(i) + 0.5);
    const double from = axis.pixel(lower(interval)), to = axis.pixel(interval.value + interval.error);
    svg +=
        line(from, y, to, y, "error") + line(from, y - 5, from, y + 5, "error") + line(to, y - 5, to, y + 5, "error");
    svg += fmt::format(R"(<circle cx="{:.1f}" cy="{:.1f}" r="5" class="{}"/>)", axis.pixel(interval.value), y,
                       interval.reference ? "mark-reference" : "mark");
    svg += text(kWidth - kRight + 8, y + 4, "start", "value", fmt::format("{:.3f}", interval.value));
  }
  return frame(title, bottom + kBottom, svg);
}

std::string bar_plot(const std::string& title, const std::string& x_label, const std::vector<PlotInterval>& bars) {
  if (bars.empty()) return {};
  double high = 0;
  for (const auto& bar : bars) high = std::max(high, bar.value);
  const Axis axis(0, high > 0 ? high * 1.02 : 1, kLeft, kWidth - kRight);
  const double bottom = kTop + kRow * static_cast<double>(bars.size());
  std::string svg = horizontal_axis(axis, kTop, bottom, kLeft, x_label) + row_names(bars);
  for (size_t i = 0; i < bars.size(); ++i) {
    const double y = kTop + kRow * static_cast<double>(i), end = axis.pixel(std::max(0.0, bars[i].value));
    svg += fmt::format(R"(<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="2" class="{}"/>)", kLeft,
                       y + 6, end - kLeft, kRow - 12, bars[i].reference ? "mark-reference" : "mark");
    svg += text(end + 8, y + kRow / 2 + 4, "start", "value", fmt::format("{:.1f}", bars[i].value));
  }
  return frame(title, bottom + kBottom, svg);
}

}  // namespace halftone::engine
