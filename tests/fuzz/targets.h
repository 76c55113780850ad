// What the fuzz programs and the replay in tests/io run on one input: parse it and, when it parses, read everything.
// An Error is the right answer to damage; any other exception, crash or sanitizer report is a finding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "io/gguf/gguf.h"
#include "io/safetensors/safetensors.h"

namespace halftone::fuzz {

enum class Outcome { Opened, Refused };

/// Calls `read`; an Error is as good as success.
template <class Read>
void allow_error(Read&& read) {
  try {
    read();
  } catch (const Error&) {
  }
}

inline void read_everything(const GgufFile& file) {
  for (const GgufEntry& entry : file.metadata()) {
    allow_error([&] { file.get_u64(entry.key); });
    allow_error([&] { file.get_i64(entry.key); });
    allow_error([&] { file.get_f32(entry.key); });
    allow_error([&] { file.get_bool(entry.key); });
    allow_error([&] { file.get_string(entry.key); });
    allow_error([&] { file.get_strings(entry.key); });
    allow_error([&] { file.get_i64s(entry.key); });
    allow_error([&] { file.get_f32s(entry.key); });
  }
  for (const GgufTensor& tensor : file.tensors()) {
    std::vector<float> values(static_cast<size_t>(tensor.elements()));  // its bytes are there, so this is bounded
    decode_tensor(tensor, values.data());
  }
}

inline void read_everything(const SafetensorsFile& file) {
  for (const TensorView& tensor : file.tensors()) {
    file.tensor(tensor.name);
    volatile std::byte last{};  // the reads must happen, for the address sanitizer to judge
    for (const std::byte byte : tensor.bytes) last = byte;
    static_cast<void>(last);
  }
}

template <class File>
Outcome run(std::span<const std::byte> bytes) {
  try {
    read_everything(File::parse(bytes, "input"));
    return Outcome::Opened;
  } catch (const Error&) {
    return Outcome::Refused;
  }
}

template <class File>
int run_one(const uint8_t* data, size_t size) {
  run<File>(std::as_bytes(std::span(data, size)));
  return 0;
}

}  // namespace halftone::fuzz
