// The plain interface between the attention launcher and its per-ISA kernels. Only POD types and no inline functions:
// this header is compiled with wide instruction sets too.
//
// A cache is cut into blocks of kKeyBlock keys at fixed positions. A block gives each query a partial result: maximum
// m of its scores (in units of log 2), sum l of 2^(score - m), and the sum `acc` of 2^(score - m) * value; partials are
// merged in block order. A partial depends on its query and block alone, hence the same bits for a prefill and a
// decode, for any number of threads and sequences.
#pragma once

#include <cstdint>

namespace halftone::kernels {

inline constexpr int kKeyBlock = 128;
/// Rows of queries that a kernel works on at a time.
inline constexpr int kGroup = 6;
/// Floats of a partial row past its head_dim accumulators: [0] is m, [1] is l (0: the query saw no key yet).
inline constexpr int kPartialTail = 16;
/// Words of a prepared query past its head_dim / 2 operand words (integer caches): see int_path-inl.h.
inline constexpr int kQueryTail = 16;

enum class KvFormat : int { Float32, Float16, Int8, Int4 };

struct AttentionParams {
  const float* q;
  int64_t q_stride;
  const unsigned char* keys;  ///< numerics/kv_layout.h
  const unsigned char* values;
  const uint16_t* key_scales;  ///< null for float formats
  const uint16_t* value_scales;
  int64_t head_bytes;   ///< between two heads of keys or values
  int64_t head_scales;  ///< f16 values between two heads of scales
  int64_t token_bytes;  ///< of one head and side
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

/// 32-bit words of `rows` prepared queries.
int64_t attention_query_words(int64_t dim, int64_t rows);
/// Floats of scratch that a worker needs, tiles of `rows` queries (tokens times ratio) included.
int64_t attention_scratch_floats(int64_t dim, int64_t rows);

/// A block of a head, and what its thread will read after it, to be asked for on the way; or null.
struct AttentionUnit {
  int64_t kv_head, block;
  const unsigned char* next_keys;
  const unsigned char* next_values;
  const uint16_t* next_key_scales;  ///< with next_keys, integer formats only
  const uint16_t* next_value_scales;
};

/// One instance per instruction set. Row (token - token_begin) * ratio + head of a key-value head is a query.
struct AttentionKernel {
  /// Prepares the queries of tokens [token_begin, token_end); a matter of the integer formats, nothing for floats.
  void (*prepare)(const AttentionParams& p, int64_t kv_head, int64_t token_begin, int64_t token_end, int32_t* queries);
  /// Tokens [token_begin, token_end) of the heads of `kv_head`, from first block to output.
  void (*tile)(const AttentionParams& p, int64_t kv_head, int64_t token_begin, int64_t token_end, float* scratch);
  /// Partials of all tokens, prepared in `queries`, for one block: row r at partials + r * (dim + kPartialTail).
  void (*block)(const AttentionParams& p, const AttentionUnit& unit, const int32_t* queries, float* partials,
                float* scratch);
  /// Merges the partials [blocks][tokens * ratio] of `kv_head` into the first block's and writes the output.
  void (*merge)(const AttentionParams& p, int64_t kv_head, int64_t blocks, float* partials);
};

/// Rows of queries that the bf16 prompt kernel works on at a time.
inline constexpr int kPromptRows = 16;

/// A prompt with bf16 products. First the blocks of keys that its queries see are packed to bf16 in the order that
/// matrix instructions want, rows past the last key as zeros; then units of `tile_tokens` queries of a key-value head
/// run over them. The packed operands hold `heads` key-value heads from `first_head` on.
struct PromptTask {
  AttentionParams p;
  int64_t first_head, heads;
  int64_t first_block, blocks;  ///< of kKeyBlock keys
  uint16_t* keys;               ///< [heads][blocks][kKeyBlock / 16][dim / 2][16 keys][2 elements]
  uint16_t* values;             ///< [heads][blocks][kKeyBlock / 32][dim / 16][16][16 elements][2 keys, 16 apart]
  int64_t tile_tokens, tiles;
  int64_t padded_rows;  ///< tile_tokens * ratio rounded up to kPromptRows
};

/// Bytes of scratch that a worker needs in `units`.
int64_t prompt_scratch_bytes(int64_t dim, int64_t padded_rows);

struct PromptKernel {
  /// Packs block `block` of head `head`, both counted from the task's first; false where a value is 2^40 or more or not
  /// finite, which weights of 0 would not hide.
  bool (*pack)(const PromptTask& t, int64_t head, int64_t block);
  /// Units [begin, end) of heads * tiles; scratch is 64-byte aligned.
  void (*units)(const PromptTask& t, int64_t begin, int64_t end, void* scratch);
};

namespace avx2 {
extern const AttentionKernel kAttention;
}
namespace avx512 {
extern const AttentionKernel kAttention;
}
namespace amx {
extern const PromptKernel kPrompt;
}

}  // namespace halftone::kernels
