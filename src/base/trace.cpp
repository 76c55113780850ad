// See trace.h.
#include "base/trace.h"

#include <algorithm>

namespace halftone {

void Trace::add(const char* operation, const char* kernel, double seconds) {
  for (Sum& sum : sums_)
    if (sum.operation == operation && sum.kernel == kernel) {
      ++sum.calls, sum.seconds += seconds;
      return;
    }
  sums_.push_back({operation, kernel, 1, seconds});
}

std::vector<Trace::Entry> Trace::entries() const {
  std::vector<Entry> all;
  for (const Sum& sum : sums_) {
    const auto same = std::find_if(all.begin(), all.end(), [&](const Entry& entry) {
      return entry.operation == sum.operation && entry.kernel == sum.kernel;
    });
    if (same == all.end())
      all.push_back({sum.operation, sum.kernel, sum.calls, sum.seconds});
    else
      same->calls += sum.calls, same->seconds += sum.seconds;
  }
  std::sort(all.begin(), all.end(), [](const Entry& a, const Entry& b) { return a.seconds > b.seconds; });
  return all;
}

}  // namespace halftone
