// The plain interface between the attention launcher and its per-ISA kernels. Only POD types and no inline functions:
// this header is compiled with wide instruction sets too.
//
// A cache is cut into blocks of kKeyBlock keys at fixed positions. A block gives each query a partial result: maximum
// m, sum l of exp(score - m), and the sum `acc` of exp(score - m) * value; partials are merged in block order. A
// partial depends on its query and block alone, hence the same bits for a prefill and a decode, for any number of
// threads.
#pragma once

#include <cstdint>

namespace halftone::kernels {

inline constexpr int kKeyBlock = 64;
/// Rows of queries that a kernel works on at a time.
inline constexpr int kGroup = 6;
/// Floats of a partial row past its head_dim accumulators: [0] is m, [1] is l (0: the query saw no key yet).
inline constexpr int kPartialTail = 16;

enum class KvFormat : int { Float32, Float16, Int8, Int4 };

struct AttentionParams {
  const float* q;
  int64_t q_stride;
  const unsigned char* keys;  ///< [Hkv][capacity][row_bytes]
  const unsigned char* values;
  const uint16_t* key_scales;  ///< [Hkv][capacity][2] or null
  const uint16_t* value_scales;
  int64_t capacity;
  int64_t row_bytes;
  int64_t tokens;
  int64_t start;
  int64_t ratio;  ///< query heads a key-value head
  int64_t dim;
  int64_t window;
  KvFormat format;
  float softmax_scale;
  float* out;
  int64_t out_stride;
};

/// Floats of scratch that a worker needs for tiles of `rows` queries (tokens times ratio).
int64_t attention_scratch_floats(int64_t dim, int64_t rows);

/// One instance per instruction set.
struct AttentionKernel {
  /// Tokens [token_begin, token_end) of the heads of `kv_head`, from first block to output.
  void (*tile)(const AttentionParams& p, int64_t kv_head, int64_t token_begin, int64_t token_end, float* scratch);
  /// Partials of all tokens for one block, row (token * ratio + head) at partials + row * (dim + kPartialTail).
  void (*block)(const AttentionParams& p, int64_t kv_head, int64_t block, float* partials, float* scratch);
  /// Merges the partials [blocks][tokens * ratio] of `kv_head` into the first block's and writes the output.
  void (*merge)(const AttentionParams& p, int64_t kv_head, int64_t blocks, float* partials);
};

namespace avx2 {
extern const AttentionKernel kAttention;
}
namespace avx512 {
extern const AttentionKernel kAttention;
}

}  // namespace halftone::kernels
