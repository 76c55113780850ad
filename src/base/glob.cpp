// Backtracking matcher; see glob.h.
#include "base/glob.h"

namespace halftone {
namespace {

bool match_one(std::string_view pattern, std::string_view name) {
  size_t p = 0, n = 0, star = std::string_view::npos, resume = 0;
  while (n < name.size()) {
    if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[n]) && pattern[p] != '*') {
      ++p, ++n;
    } else if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

}  // namespace

bool glob_match(std::string_view pattern, std::string_view name) {
  bool matched = false;
  while (true) {
    const auto comma = pattern.find(',');
    std::string_view one = pattern.substr(0, comma);
    if (!one.empty() && one.front() == '!') {
      if (match_one(one.substr(1), name)) return false;
    } else if (match_one(one, name)) {
      matched = true;
    }
    if (comma == std::string_view::npos) return matched;
    pattern.remove_prefix(comma + 1);
  }
}

}  // namespace halftone
