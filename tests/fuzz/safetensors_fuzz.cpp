// Fuzz entry of the safetensors reader, for libFuzzer or replay_main.cpp.
#include "targets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return halftone::fuzz::run_one<halftone::SafetensorsFile>(data, size);
}
