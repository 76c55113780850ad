// Small SVG plots, as text to put into a page. Colours and fonts come from the page's style sheet through class names:
// axis, grid, label, value, mark, mark-reference, line, error, rule.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace halftone::engine {

/// `text` with &, <, > and quotes replaced by entities.
std::string escape_html(std::string_view text);

struct PlotPoint {
  std::string name;
  double x = 0;
  double y = 0;
  bool named = true;  ///< otherwise the name is a tooltip only
};

/// Points with their names, and the staircase of those that no other point beats in both coordinates (smaller is
/// better). The vertical axis is logarithmic when every y is above 0.
std::string scatter_plot(const std::string& title, const std::string& x_label, const std::string& y_label,
                         const std::vector<PlotPoint>& points);

struct PlotInterval {
  std::string name;
  double value = 0;
  double error = 0;
  bool reference = false;
};

/// A row each: value as a dot with a bar of +- error (not below half the value); a dashed rule at the first reference.
/// The axis is logarithmic when the values differ by a large factor.
std::string interval_plot(const std::string& title, const std::string& x_label,
                          const std::vector<PlotInterval>& intervals);

/// A row each: a bar from 0 to the value, with the value written beside it; errors are not drawn.
std::string bar_plot(const std::string& title, const std::string& x_label, const std::vector<PlotInterval>& bars);

}  // namespace halftone::engine
