// Error texts of ByteReader; see byte_reader.h.
#include "io/byte_reader.h"

#include "base/error.h"

namespace halftone {

std::string printable(std::string_view text) {
  constexpr size_t kMaxCharacters = 96;
  std::string shown;
  for (const char c : text) {
    if (shown.size() >= kMaxCharacters) return shown + "...";
    if (c >= 0x20 && c < 0x7f)
      shown += c;
    else
      shown += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  }
  return shown;
}

void ByteReader::throw_short(uint64_t count, std::string_view field) const {
  throw IoError("{}: {} at byte {} needs {} bytes, {} are left; the file is cut short or damaged, fetch it again",
                file_, field, position_, count, remaining());
}

void ByteReader::throw_count(uint64_t count, uint64_t item_bytes, std::string_view field) const {
  throw IoError("{}: {} is {}, but the {} bytes left hold at most {} of at least {} bytes; the file is damaged", file_,
                field, count, remaining(), remaining() / item_bytes, item_bytes);
}

}  // namespace halftone
