// Bounds-checked little-endian reads from untrusted bytes: nothing is taken that is not there, and every failure says
// which field of which file wanted how much.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

namespace halftone {

/// `text` for an error message: control and non-ASCII bytes as \xHH, at most 96 characters.
std::string printable(std::string_view text);

/// Reads forward through `bytes`; `file` names them in errors. Both must outlive the reader.
class ByteReader {
 public:
  ByteReader(std::span<const std::byte> bytes, const std::string& file) : bytes_(bytes), file_(file) {}

  uint64_t position() const { return position_; }
  uint64_t remaining() const { return bytes_.size() - position_; }
  const std::string& file() const { return file_; }

  /// The next `count` bytes; throws IoError naming `field` when fewer are left.
  std::span<const std::byte> take(uint64_t count, std::string_view field) {
    if (count > remaining()) throw_short(count, field);
    const auto taken = bytes_.subspan(position_, count);
    position_ += count;
    return taken;
  }
  /// The next number of type T.
  template <class T>
  T read(std::string_view field) {
    T value;
    std::memcpy(&value, take(sizeof value, field).data(), sizeof value);
    return value;
  }
  /// A length of type u64, then that many bytes.
  std::string_view read_string(std::string_view field) {
    const auto length = read<uint64_t>(field);
    const auto text = take(length, field);
    return {reinterpret_cast<const char*>(text.data()), text.size()};
  }
  /// Throws IoError when `count` items of at least `item_bytes` cannot fit into the bytes left.
  void check_count(uint64_t count, uint64_t item_bytes, std::string_view field) const {
    if (count > remaining() / item_bytes) throw_count(count, item_bytes, field);
  }

 private:
  [[noreturn]] void throw_short(uint64_t count, std::string_view field) const;
  [[noreturn]] void throw_count(uint64_t count, uint64_t item_bytes, std::string_view field) const;

  std::span<const std::byte> bytes_;
  const std::string& file_;
  uint64_t position_ = 0;
};

}  // namespace halftone
