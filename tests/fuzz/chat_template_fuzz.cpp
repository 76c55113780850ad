// Fuzz entry of the chat templates, for libFuzzer or replay_main.cpp.
#include <cstddef>
#include <cstdint>

#include "text_targets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  halftone::fuzz::run_template({reinterpret_cast<const char*>(data), size});
  return 0;
}
