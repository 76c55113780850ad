// How a model file's weights are held after loading; without libtorch, so that front ends can name it.
#pragma once

#include <cstdint>
#include <string_view>

namespace halftone {
class ThreadPool;
}

namespace halftone::models {

/// What becomes of the quantised tensors of a GGUF file. Other files are read as they are either way.
enum class Weights : uint8_t {
  Stored,   ///< codes and scales stay, bit for bit; Q2_K becomes f32, having no kernel
  Float32,  ///< all become f32: what methods need, and "the model" of every comparison
};

/// "stored", "f32".
std::string_view to_string(Weights weights);
/// Inverse of to_string; throws InvalidArgument naming the accepted values.
Weights parse_weights(std::string_view name);

struct LoadOptions {
  Weights weights = Weights::Stored;
  ThreadPool* pool = nullptr;  ///< whose threads read layers side by side; null: the caller alone
  bool run_only = false;       ///< nn::Decoder::run_only(), layer by layer as they are read
};

}  // namespace halftone::models
