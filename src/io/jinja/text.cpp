// Text operations behind the string filters and methods; see functions.h.
#include <algorithm>

#include "io/jinja/functions.h"
#include "io/utf8.h"

namespace halftone::jinja {
namespace {

uint32_t upper_code(uint32_t c) {
  if (c >= 'a' && c <= 'z') return c - 32;
  if (c < 0x80) return c;
  if ((c >= 0xE0 && c <= 0xFE && c != 0xF7) || (c >= 0x3B1 && c <= 0x3C9 && c != 0x3C2) || (c >= 0x430 && c <= 0x44F))
    return c - 32;
  if (c >= 0x450 && c <= 0x45F) return c - 80;
  if (c == 0xFF) return 0x178;
  return c == 0x3C2 ? 0x3A3 : c;
}

uint32_t lower_code(uint32_t c) {
  if (c >= 'A' && c <= 'Z') return c + 32;
  if (c < 0x80) return c;
  if ((c >= 0xC0 && c <= 0xDE && c != 0xD7) || (c >= 0x391 && c <= 0x3A9 && c != 0x3A2) || (c >= 0x410 && c <= 0x42F))
    return c + 32;
  if (c >= 0x400 && c <= 0x40F) return c + 80;
  return c == 0x178 ? 0xFF : c;
}

template <class Map>
std::string map_codes(std::string_view text, const Map& map) {
  std::string out;
  out.reserve(text.size());
  for (; !text.empty();) {
    const Utf8Char next = utf8_next(text);
    if (next.state == Utf8State::Valid)
      map(next.code, out);
    else
      out.append(text.substr(0, next.length));
    text.remove_prefix(next.length);
  }
  return out;
}

}  // namespace

bool is_space(uint32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

std::string to_upper(std::string_view text) {
  return map_codes(text, [](uint32_t code, std::string& out) {
    if (code == 0xDF)
      out += "SS";
    else
      utf8_append(upper_code(code), out);
  });
}

std::string to_lower(std::string_view text) {
  return map_codes(text, [](uint32_t code, std::string& out) { utf8_append(lower_code(code), out); });
}

std::string capitalize(std::string_view text) {
  if (text.empty()) return {};
  const uint32_t length = utf8_next(text).length;
  return to_upper(text.substr(0, length)) + to_lower(text.substr(length));
}

std::string strip(std::string_view text, const std::string* chars, bool left, bool right) {
  const auto strips = [&](std::string_view unit) {
    const Utf8Char c = utf8_next(unit);
    return chars ? chars->find(unit) != std::string::npos : c.state == Utf8State::Valid && is_space(c.code);
  };
  while (left && !text.empty()) {
    const uint32_t length = utf8_next(text).length;
    if (!strips(text.substr(0, length))) break;
    text.remove_prefix(length);
  }
  while (right && !text.empty()) {
    size_t begin = text.size() - 1;
    while (begin > 0 && text.size() - begin < 4 && (text[begin] & 0xC0) == 0x80) --begin;
    if (!strips(text.substr(begin))) break;
    text.remove_suffix(text.size() - begin);
  }
  return std::string(text);
}

std::string replace_all(std::string_view text, std::string_view from, std::string_view to, int64_t limit,
                        Context& context) {
  std::string out;
  if (limit < 0) limit = INT64_MAX;
  const auto append = [&](std::string_view part) {
    context.check_bytes(out.size() + part.size());
    out.append(part);
  };
  for (; limit > 0; --limit) {
    // An empty pattern matches before every character and at the end, as in Python.
    const size_t at = from.empty() ? 0 : text.find(from);
    if (at == std::string_view::npos) break;
    append(text.substr(0, at));
    append(to);
    text.remove_prefix(at + from.size());
    if (!from.empty()) continue;
    if (text.empty()) return out;
    const uint32_t length = utf8_next(text).length;
    append(text.substr(0, length));
    text.remove_prefix(length);
  }
  append(text);
  return out;
}

}  // namespace halftone::jinja
