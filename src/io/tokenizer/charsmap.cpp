// The look-up of charsmap.h and the base64 that JSON files wrap it in.
#include "io/tokenizer/charsmap.h"

#include <cstring>

#include "base/error.h"
#include "io/utf8.h"

namespace halftone::detail {
namespace {

constexpr std::string_view kBase64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

constexpr size_t kMaxRewrittenBytes = size_t{1} << 30;

// A unit of the double array: an offset to its children in bits 10 to 30, shifted by 8 where bit 9 is set; bit 8 says
// that a value follows; bits 0 to 7 (and bit 31, which only values have) are the label. A value is in bits 0 to 30.
uint32_t offset_of(uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); }
uint32_t label_of(uint32_t unit) { return unit & (1u << 31 | 0xFF); }
bool has_value(uint32_t unit) { return unit >> 8 & 1; }
uint32_t value_of(uint32_t unit) { return unit & 0x7FFFFFFFu; }

}  // namespace

Charsmap::Charsmap(std::string_view bytes) {
  if (bytes.empty()) return;
  uint32_t size = 0;
  if (bytes.size() >= sizeof size) std::memcpy(&size, bytes.data(), sizeof size);
  if (size == 0 || size % 4 != 0 || size > bytes.size() - sizeof size)
    throw InvalidArgument(
        "tokenizer: the charsmap has {} bytes and says that {} of them, behind the first 4, are its trie; wanted a "
        "multiple of 4 that fits",
        bytes.size(), size);
  units_.resize(size / 4);
  std::memcpy(units_.data(), bytes.data() + sizeof size, size);
  replacements_ = bytes.substr(sizeof size + size);
}

Charsmap::Match Charsmap::longest(std::string_view text) const {
  Match match;
  uint32_t node = offset_of(units_[0]);
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<uint8_t>(text[i]);
    node ^= byte;
    if (node >= units_.size() || label_of(units_[node]) != byte) break;
    const uint32_t unit = units_[node];
    node ^= offset_of(unit);
    if (!has_value(unit)) continue;
    if (node >= units_.size())
      throw InvalidArgument("tokenizer: the charsmap is damaged: a value at unit {} of {}", node, units_.size());
    match = {i + 1, value_of(units_[node])};
  }
  return match;
}

void Charsmap::rewrite(std::string_view text, std::string& out) const {
  while (!text.empty()) {
    const Match match = empty() ? Match{} : longest(text);
    size_t used = match.length;
    if (used == 0) {
      used = utf8_next(text).length;
      out.append(text.substr(0, used));
    } else {
      if (match.value >= replacements_.size())
        throw InvalidArgument("tokenizer: the charsmap is damaged: a replacement at byte {} of {}", match.value,
                              replacements_.size());
      out.append(replacements_.c_str() + match.value);  // up to its NUL, which the string has at its end at least
    }
    text.remove_prefix(used);
    if (out.size() > kMaxRewrittenBytes)
      throw InvalidArgument("tokenizer: the charsmap makes more than {} bytes of the text; encode it in parts",
                            kMaxRewrittenBytes);
  }
}

std::string decode_base64(std::string_view text, std::string_view source) {
  std::string out;
  uint32_t bits = 0, count = 0;
  const size_t size = text.size();
  while (!text.empty() && text.back() == '=' && size - text.size() < 2) text.remove_suffix(1);
  for (const char c : text) {
    const auto digit = kBase64.find(c);
    if (size % 4 != 0 || digit == std::string_view::npos)
      throw IoError("{} is not base64: {} characters, or one outside the alphabet", source, size);
    bits = bits << 6 | static_cast<uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    out.push_back(static_cast<char>(bits >> count));
  }
  return out;
}

std::string encode_base64(std::string_view bytes) {
  std::string out;
  for (size_t at = 0; at < bytes.size(); at += 3) {
    const size_t count = std::min<size_t>(3, bytes.size() - at);
    uint32_t bits = 0;
    for (size_t i = 0; i < 3; ++i) bits = bits << 8 | (i < count ? static_cast<uint8_t>(bytes[at + i]) : 0);
    for (size_t i = 0; i < 4; ++i) out.push_back(i <= count ? kBase64[bits >> (18 - 6 * i) & 63] : '=');
  }
  return out;
}

}  // namespace halftone::detail
