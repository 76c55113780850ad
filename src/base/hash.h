// 64-bit FNV-1a, to recognise unchanged inputs (not for security).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

namespace halftone {

uint64_t hash_bytes(std::string_view bytes, uint64_t seed = 0xcbf29ce484222325u);
/// Of a file's contents; for a folder, of its files' names and contents in name order. Throws IoError.
uint64_t hash_file(const std::filesystem::path& path);

}  // namespace halftone
