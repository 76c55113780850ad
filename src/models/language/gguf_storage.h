// One tensor of a GGUF file as a storage.
#pragma once

#include <string>

#include "io/gguf/gguf.h"
#include "models/language/load_options.h"
#include "tensor/storage.h"

namespace halftone::models {

/// Whether a tensor of `type` loads with the file's own values bit for bit: F32, F16, BF16, and under Weights::Stored
/// Q4_0 and Q8_0. Any other type is expanded to f32.
bool keeps_format(GgufType type, Weights weights);

/// What describe() says of a matrix of `type` after loading: "f32", "int4 group 32 symmetric".
std::string loaded_format(GgufType type, Weights weights);

/// `tensor` as [rows, columns]: f32, f16, bf16, or under Weights::Stored int4 (Q4_0) or int8 (Q8_0) in symmetric groups
/// of 32, with the file's scales and codes. The values equal decode_tensor's in every bit.
Storage storage_from_gguf(const GgufTensor& tensor, Weights weights);

}  // namespace halftone::models
