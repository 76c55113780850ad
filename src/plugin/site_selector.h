// Which linear layers a method touches, as the user named them.
#pragma once

#include <string>
#include <vector>

#include "nn/decoder.h"

namespace halftone {

class SiteSelector {
 public:
  /// `pattern` as in base/glob.h: "blocks.*" (all linear layers of all blocks), "*.mlp.*,!blocks.0.*".
  explicit SiteSelector(std::string pattern = "blocks.*") : pattern_(std::move(pattern)) {}
  bool contains(const std::string& site) const;
  const std::string& pattern() const { return pattern_; }
  /// Throws InvalidArgument, listing some sites, when the pattern matches no linear layer of `model`.
  void check_matches(const nn::Decoder& model) const;

 private:
  std::string pattern_;
};

}  // namespace halftone
