// Look-up and registration; see catalogue.h.
#include "plugin/catalogue.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.h"

namespace halftone {

std::string_view to_string(Question question) {
  switch (question) {
    case Question::FewerBits:
      return "fewer bits";
    case Question::FewerOperations:
      return "fewer operations";
    case Question::FewerSteps:
      return "fewer steps";
    case Question::NoWaiting:
      return "no waiting";
  }
  return "?";
}

void Catalogue::add(MethodInfo info, MakeCompressPass make) {
  const std::string name = info.name;
  if (!entries_.try_emplace(name, Entry{std::move(info), std::move(make)}).second)
    throw InvalidArgument("two methods are called '{}'; rename one folder", name);
}

std::vector<const MethodInfo*> Catalogue::methods() const {
  std::vector<const MethodInfo*> all;
  for (const auto& [name, entry] : entries_) all.push_back(&entry.info);
  return all;
}

const MethodInfo& Catalogue::find(const std::string& name) const {
  const auto it = entries_.find(name);
  if (it != entries_.end()) return it->second.info;
  std::vector<std::string> names;
  for (const auto& [known, entry] : entries_) names.push_back(known);
  throw InvalidArgument("there is no method '{}'; the methods are {}", name, fmt::join(names, ", "));
}

std::unique_ptr<CompressPass> Catalogue::make_compress_pass(const std::string& name,
                                                            const OptionValues& options) const {
  find(name);
  return entries_.at(name).make(options);
}

}  // namespace halftone
