// UTF-8 primitives of the io layer: validation by the Unicode standard, table 3-7 (no overlong forms, no surrogates).
// A damaged sequence is reported as its "maximal subpart" (section 3.9, best practice for U+FFFD), so that everything
// that replaces, counts or holds back bytes agrees on where the next character starts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace halftone {

enum class Utf8State {
  Valid,      // a whole character
  Truncated,  // a proper prefix of a character that ends with the text
  Invalid,    // bytes that no continuation can repair
};

/// One step through a UTF-8 text: `length` >= 1 bytes were looked at; `code` is U+FFFD unless the state is Valid.
struct Utf8Char {
  uint32_t code;
  uint32_t length;
  Utf8State state;
};

/// Reads the character at `text[0]`; `text` must not be empty.
Utf8Char utf8_next(std::string_view text);

/// Appends `code` (at most 0x10FFFF) to `out`.
void utf8_append(uint32_t code, std::string& out);

/// True when all of `text` is valid UTF-8.
bool utf8_valid(std::string_view text);

/// Number of characters; each damaged maximal subpart counts as one.
size_t utf8_length(std::string_view text);

}  // namespace halftone
