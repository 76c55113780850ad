// The catalogue of methods: what each is called, which seam it fills, its options, and how to make one. Filled by the
// generated register_all_methods(), which calls each method folder's register_NAME(Catalogue&).
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/json_fwd.h"
#include "base/options.h"
#include "plugin/compress_pass.h"

namespace halftone {

/// The four questions that sort every method (docs/layers.md).
enum class Question : uint8_t { FewerBits, FewerOperations, FewerSteps, NoWaiting };
std::string_view to_string(Question question);

/// A method, described for a person.
struct MethodInfo {
  std::string name;   ///< as on the command line: "qoq"
  std::string title;  ///< one line
  Question question = Question::FewerBits;
  std::string seam;                 ///< "compress"
  std::string paper;                ///< authors, title, identifier
  std::string summary;              ///< two or three sentences for a user
  std::vector<OptionInfo> options;  ///< filled by Catalogue::add_compress_pass
};

class Catalogue {
 public:
  using MakeCompressPass = std::function<std::unique_ptr<CompressPass>(const OptionValues&)>;

  /// Registers `Pass`, which has a nested Options (base/options.h) and is constructed from one.
  template <class Pass>
  void add_compress_pass(MethodInfo info) {
    info.seam = "compress";
    info.options = describe_options<typename Pass::Options>();
    const std::string owner = "method " + info.name;
    add(std::move(info), [owner](const OptionValues& values) -> std::unique_ptr<CompressPass> {
      typename Pass::Options options;
      read_options(owner, values, options);
      return std::make_unique<Pass>(options);
    });
  }

  /// All methods in name order.
  std::vector<const MethodInfo*> methods() const;
  /// Throws InvalidArgument listing the known names.
  const MethodInfo& find(const std::string& name) const;
  /// Makes a pass from options as the user wrote them; throws InvalidArgument for an unknown method or a bad option.
  std::unique_ptr<CompressPass> make_compress_pass(const std::string& name, const OptionValues& options) const;

 private:
  void add(MethodInfo info, MakeCompressPass make);
  struct Entry {
    MethodInfo info;
    MakeCompressPass make;
  };
  std::map<std::string, Entry> entries_;
};

/// Defined in the generated catalogue.cpp.
void register_all_methods(Catalogue& catalogue);

}  // namespace halftone
