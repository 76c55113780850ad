// Stop texts in a stream: text passes through as soon as it cannot belong to a stop text any more, and ends before the
// stop text that is complete first. What passes does not depend on how the stream was cut into pieces.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace halftone::engine {

class StopFilter {
 public:
  /// Throws InvalidArgument for an empty stop text or one that is not UTF-8.
  explicit StopFilter(std::vector<std::string> stops);

  /// Text that is certain after `piece`; nothing once a stop text was found.
  std::string push(std::string_view piece);
  /// The end of the stream: what was still held back.
  std::string flush();
  /// Whether a stop text was found.
  bool stopped() const { return stopped_; }

 private:
  size_t held_suffix() const;

  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace halftone::engine
