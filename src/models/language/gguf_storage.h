// One tensor of a GGUF file as a storage.
#pragma once

#include <string>

#include "io/gguf/gguf.h"
#include "models/language/load_options.h"
#include "tensor/storage.h"

namespace halftone::models {

/// Whether a tensor of `type` loads with the file's own values bit for bit: F32, F16, BF16, and under Weights::Stored
/// Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, MXFP4 and Q3_K to Q6_K. Any other type is expanded to f32.
bool keeps_format(GgufType type, Weights weights);

/// What describe() says of a matrix of `type` after loading: "f32", "int4 group 32 symmetric", "int4 super-group 32
/// minimums".
std::string loaded_format(GgufType type, Weights weights);

/// `tensor` as [rows, columns]: f32, f16, bf16, or under Weights::Stored with the file's codes, scales and
/// minimums: mxfp4, or int4 (Q4_0, Q4_1, Q4_K), int3 (Q3_K) or int8 (Q8_0; Q5_0, Q5_1, Q5_K and Q6_K take a byte a
/// code) in groups of 32 or super-groups. The values equal decode_tensor's in every bit. Throws IoError for an MXFP4
/// scale that is NaN.
Storage storage_from_gguf(const GgufTensor& tensor, Weights weights);

}  // namespace halftone::models
