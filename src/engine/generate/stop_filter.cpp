// Searching for stop texts across pieces; see stop_filter.h.
#include "engine/generate/stop_filter.h"

#include <algorithm>

#include "base/error.h"
#include "io/utf8.h"

namespace halftone::engine {

StopFilter::StopFilter(std::vector<std::string> stops) : stops_(std::move(stops)) {
  for (const auto& stop : stops_) {
    if (stop.empty()) throw InvalidArgument("a stop text is empty; it would end every generation at once");
    if (!utf8_valid(stop))
      throw InvalidArgument("a stop text of {} bytes is not UTF-8; it could never match", stop.size());
  }
}

/// Length of the longest end of the held text that begins a stop text.
size_t StopFilter::held_suffix() const {
  size_t longest = 0;
  for (const auto& stop : stops_)
    for (size_t length = std::min(stop.size() - 1, held_.size()); length > longest; --length)
      if (std::string_view(held_).substr(held_.size() - length) == std::string_view(stop).substr(0, length))
        longest = length;
  return longest;
}

std::string StopFilter::push(std::string_view piece) {
  if (stopped_) return {};
  held_ += piece;
  size_t first_end = std::string::npos,
         begin = 0;  // of the stop text that is complete first; the longest of equal ones
  for (const auto& stop : stops_) {
    const size_t at = held_.find(stop);
    if (at == std::string::npos) continue;
    const size_t end = at + stop.size();
    if (end < first_end || (end == first_end && at < begin)) first_end = end, begin = at;
  }
  stopped_ = first_end != std::string::npos;
  const size_t certain = stopped_ ? begin : held_.size() - held_suffix();
  std::string passed = held_.substr(0, certain);
  held_.erase(0, stopped_ ? held_.size() : certain);
  return passed;
}

std::string StopFilter::flush() { return std::exchange(held_, {}); }

}  // namespace halftone::engine
