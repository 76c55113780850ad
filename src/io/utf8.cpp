// UTF-8 stepping; see utf8.h.
#include "io/utf8.h"

namespace halftone {

Utf8Char utf8_next(std::string_view text) {
  constexpr uint32_t kReplacement = 0xFFFD;
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return {lead, 1, Utf8State::Valid};
  if (lead < 0xC2 || lead > 0xF4) return {kReplacement, 1, Utf8State::Invalid};
  const uint32_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  uint32_t code = lead & (0x7Fu >> length);
  for (uint32_t i = 1; i < length; ++i) {
    if (i == text.size()) return {kReplacement, i, Utf8State::Truncated};
    uint8_t low = 0x80, high = 0xBF;
    if (i == 1) {  // the second byte rules out overlong forms, surrogates and codes above 0x10FFFF
      if (lead == 0xE0) low = 0xA0;
      if (lead == 0xED) high = 0x9F;
      if (lead == 0xF0) low = 0x90;
      if (lead == 0xF4) high = 0x8F;
    }
    if (byte(i) < low || byte(i) > high) return {kReplacement, i, Utf8State::Invalid};
    code = code << 6 | (byte(i) & 0x3Fu);
  }
  return {code, length, Utf8State::Valid};
}

void utf8_append(uint32_t code, std::string& out) {
  const auto put = [&](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6);
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

bool utf8_valid(std::string_view text) {
  while (!text.empty()) {
    const Utf8Char next = utf8_next(text);
    if (next.state != Utf8State::Valid) return false;
    text.remove_prefix(next.length);
  }
  return true;
}

size_t utf8_length(std::string_view text) {
  size_t count = 0;
  for (; !text.empty(); ++count) text.remove_prefix(utf8_next(text).length);
  return count;
}

}  // namespace halftone
