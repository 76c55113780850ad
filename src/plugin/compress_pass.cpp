// Look-ups of the compress seam; see compress_pass.h and site_selector.h.
#include "plugin/compress_pass.h"

#include "base/error.h"
#include "base/glob.h"

namespace halftone {

const InputStatistics& BlockStatistics::input(const std::string& site) const {
  const auto it = inputs.find(site);
  if (it == inputs.end())
    throw InvalidArgument("no calibration statistics were collected for {}; the pass must ask for them in needs()",
                          site);
  return it->second;
}

bool SiteSelector::contains(const std::string& site) const { return glob_match(pattern_, site); }

void SiteSelector::check_matches(const nn::Decoder& model) const {
  for (const auto& block : model.blocks())
    for (const auto* linear : block.linears())
      if (contains(linear->site())) return;
  if (contains(model.lm_head().site())) return;
  throw InvalidArgument("no linear layer matches '{}'; layers are called {} ... {} and lm_head", pattern_,
                        model.blocks().front().q_proj.site(), model.blocks().back().down_proj.site());
}

}  // namespace halftone
