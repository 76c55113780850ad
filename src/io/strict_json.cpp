// One pass of checks over JSON events before anything is built; see strict_json.h.
#include "io/strict_json.h"

#include <set>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "io/byte_reader.h"

namespace halftone {
namespace {

class StrictChecker : public nlohmann::json_sax<Json> {
 public:
  StrictChecker(const std::string& file, size_t max_members) : file_(file), max_members_(max_members) {}

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(size_t) override { return open(); }
  bool start_array(size_t) override { return open(); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    if (!keys_.back().insert(name).second)
      throw IoError("{}: the JSON repeats the key '{}' in one object; keep one of them", file_, printable(name));
    if (keys_.back().size() > max_members_)
      throw IoError("{}: a JSON object has more than {} members", file_, max_members_);
    return true;
  }

  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& why) override {
    throw IoError("{}: not JSON at byte {}: {}", file_, position, printable(why.what()));
  }

 private:
  bool open() {
    if (keys_.size() >= kMaxJsonDepth) throw IoError("{}: the JSON nests deeper than {}", file_, kMaxJsonDepth);
    keys_.emplace_back();
    return true;
  }
  bool close() {
    keys_.pop_back();
    return true;
  }

  const std::string& file_;
  size_t max_members_;
  std::vector<std::set<std::string>> keys_;  // of the objects that are open; empty for arrays
};

}  // namespace

void check_strict_json(std::string_view text, const std::string& file, size_t max_members) {
  if (const size_t nul = text.find('\0'); nul != text.npos)  // the library would take it for the end of its input
    throw IoError("{}: not JSON: a NUL at byte {}", file, nul);
  StrictChecker checker(file, max_members);
  Json::sax_parse(text.begin(), text.end(), &checker);
}

Json parse_strict_json(std::string_view text, const std::string& file) {
  constexpr size_t kMaxMembers = 32768;
  check_strict_json(text, file, kMaxMembers);
  return Json::parse(text.begin(), text.end());
}

}  // namespace halftone
