// Prompt attention with AMX: products of bf16 tiles, summed in f32 (Intel SDM, TDPBF16PS); see PromptTask.
//
// The scheme is FlashAttention-2's (Dao, arXiv:2307.08691): a unit of work is a tile of queries, `acc` and the sum l of
// the weights are divided once at the end, and what a new maximum would rescale is rescaled lazily. The reference m of
// a query is the largest score among the first keys it sees. A bf16 weight is as precise at 2^50 as at 1, so m stays
// until a sum of weights passes kTooLarge; only then is the block's maximum sought and acc rescaled. This spares the
// pass over all scores that finds maxima.
//
// 32 queries with a block of keys at a time: scores to memory, weights to memory, values. Running the vectors of one
// such job beside the tiles of the next gained nothing measurable and its second buffers crowded the first-level cache.
#define HALFTONE_ISA_NAMESPACE amx
#include "kernels/cpu/amx-inl.h"
#include "kernels/cpu/attention/block-inl.h"

namespace halftone::kernels::amx {

namespace {

constexpr int64_t kTile = 512;  // bf16 elements of a tile register; half as many floats
constexpr int64_t kChunk = 32;  // keys of a pair of score tiles, and of a tile of weights
constexpr int64_t kPair = kPromptRows;
constexpr float kTooLarge = 0x1p60f;
constexpr int32_t kLargestValueBits = 0x53800000;  // 2^40: times weights of 2^60 and 2^20 keys it is still finite

// Tile registers where not said otherwise: sums [2 row tiles][2 column tiles], then left and right operands.
constexpr int kSums = 0, kLeft = 4, kRight = 6;

void configure() {
  TileConfig config;
  for (int i = 0; i < 8; ++i) config.set(i, 16, 64);
  config.load();
}

// ---- packing a block of the cache ----

/// Words of bf16 pairs: even[i] in the low half, odd[i] in the high one.
I pairs(F even, F odd) {
  const I lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const I order = add_int(bit_or(lanes, shift_left(lanes, 16)), set_int(16 << 16));
  return _mm512_permutexvar_epi16(order, (I)_mm512_cvtne2ps_pbh(odd, even));
}

/// Element d of the 16 keys of a group.
template <KvFormat kFormat>
F key_element(const unsigned char* group, int64_t d, F scale, F zero_point) {
  if constexpr (kFormat == KvFormat::Float32) return load(reinterpret_cast<const float*>(group) + d * 16);
  if constexpr (kFormat == KvFormat::Float16) return load_half(reinterpret_cast<const uint16_t*>(group) + d * 16);
  constexpr bool kBytes = kFormat == KvFormat::Int8;
  const I words = load_words(group + (kBytes ? d / 4 : d / 8) * 64, 16);
  const I code = bit_and(shift_right(words, static_cast<int>(d % 4 * 8 + (kBytes ? 0 : d % 8 / 4 * 4))),
                         set_int(kBytes ? 255 : 15));
  return mul(sub(to_float(code), zero_point), scale);
}

/// Elements [d, d + 16) of the value of a token.
template <KvFormat kFormat>
F value_elements(const unsigned char* head, int64_t token, int64_t d, int64_t dim, float scale, float zero_point) {
  if constexpr (kFormat == KvFormat::Float32) return load(reinterpret_cast<const float*>(head) + token * dim + d);
  if constexpr (kFormat == KvFormat::Float16)
    return load_half(reinterpret_cast<const uint16_t*>(head) + token * dim + d);
  constexpr bool kBytes = kFormat == KvFormat::Int8;
  const I words = load_words(head + ((kBytes ? token / 4 : token / 8) * dim + d) * 4, 16);
  const I code = shift_right(words, static_cast<int>(token % 4 * 8 + (kBytes ? 0 : token % 8 / 4 * 4)));
  // Bytes are code - 128: adding 128 modulo 256 gives the code.
  const I whole = kBytes ? bit_and(add_int(code, set_int(128)), set_int(255)) : bit_and(code, set_int(15));
  return mul(sub(to_float(whole), set(zero_point)), set(scale));
}

struct Half {
  const uint16_t* bits;
  float operator[](int64_t i) const { return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(bits[i]))); }
};

template <KvFormat kFormat>
void pack_keys(const AttentionParams& p, int64_t kv_head, int64_t first, uint16_t* out) {
  const int64_t end = p.start + p.tokens;
  for (int64_t key = first; key < first + kKeyBlock; key += 16) {
    const M filled = first_lanes(end - key);
    F scale = zero(), zero_point = zero();
    if constexpr (kFormat == KvFormat::Int8 || kFormat == KvFormat::Int4) {
      const uint16_t* scales = p.key_scales + kv_head * p.head_scales + 2 * key;
      if (key < end) scale = load_half(scales), zero_point = load_half(scales + 16);
    }
    const unsigned char* group = p.keys + kv_head * p.head_bytes + key * p.token_bytes;
    for (int64_t d = 0; d < p.dim; d += 2, out += 32) {
      F even = zero(), odd = zero();
      if (key < end) {
        even = select(filled, key_element<kFormat>(group, d, scale, zero_point), zero());
        odd = select(filled, key_element<kFormat>(group, d + 1, scale, zero_point), zero());
      }
      store_words(out, pairs(even, odd));
    }
  }
}

template <KvFormat kFormat>
bool pack_values(const AttentionParams& p, int64_t kv_head, int64_t first, uint16_t* out) {
  constexpr bool kScaled = kFormat == KvFormat::Int8 || kFormat == KvFormat::Int4;
  const unsigned char* head = p.values + kv_head * p.head_bytes;
  const int64_t end = p.start + p.tokens;
  I largest = set_int(0);
  const auto elements = [&](int64_t token, int64_t d) __attribute__((always_inline)) {
    if (token >= end) return zero();
    float scale = 0, zero_point = 0;
    if constexpr (kScaled) {
      const Half scales{p.value_scales + kv_head * p.head_scales + token / 16 * 32 + token % 16};
      scale = scales[0], zero_point = scales[16];
    }
    const F x = value_elements<kFormat>(head, token, d, p.dim, scale, zero_point);
    largest = max_int(bit_and(as_int(x), set_int(0x7fffffff)), largest);
    return x;
  };
  for (int64_t key = first; key < first + kKeyBlock; key += 2) {
    uint16_t* line = out + (key - first) / kChunk * kChunk * p.dim + key % kChunk / 2 * 32;
    for (int64_t d = 0; d < p.dim; d += 16, line += kTile)
      store_words(line, pairs(elements(key, d), elements(key + 1, d)));
  }
  return maximum_int(largest) < kLargestValueBits;
}

template <KvFormat kFormat>
bool pack(const AttentionParams& p, int64_t kv_head, int64_t first, uint16_t* keys, uint16_t* values) {
  pack_keys<kFormat>(p, kv_head, first, keys);
  return pack_values<kFormat>(p, kv_head, first, values);
}

// ---- a unit of work: a tile of queries of one key-value head ----

struct Unit {
  uint16_t* q;           ///< [pairs][2 row tiles][dim / 32][16][32], times softmax_scale * log2(e)
  float* acc;            ///< [pairs][dim / 16][32][16]
  float* l;              ///< [rows][16], to be summed
  float* m;              ///< [rows]
  int64_t *begin, *end;  ///< [rows] the keys that a row sees
  float* scores;         ///< [kKeyBlock / 16][32][16]
  uint16_t* weights;     ///< [kKeyBlock / 32][32][32]
  int64_t dim, rows, padded_rows;
};

Unit carve_unit(const PromptTask& t, unsigned char* memory) {
  Unit u{};
  u.dim = t.p.dim;
  u.padded_rows = t.padded_rows;
  const auto take = [&](int64_t bytes) {
    unsigned char* at = memory;
    memory += bytes;
    return at;
  };
  u.q = reinterpret_cast<uint16_t*>(take(t.padded_rows * u.dim * 2));
  u.acc = reinterpret_cast<float*>(take(t.padded_rows * u.dim * 4));
  u.l = reinterpret_cast<float*>(take(t.padded_rows * 64));
  u.m = reinterpret_cast<float*>(take(t.padded_rows * 4));
  u.begin = reinterpret_cast<int64_t*>(take(t.padded_rows * 8));
  u.end = reinterpret_cast<int64_t*>(take(t.padded_rows * 8));
  u.scores = reinterpret_cast<float*>(take(kPair * kKeyBlock * 4));
  u.weights = reinterpret_cast<uint16_t*>(take(kPair * kKeyBlock * 2));
  return u;
}

/// Reads the queries of tokens [token_begin, token_end). Rows past them see what the last token sees, with queries 0.
void begin_unit(const AttentionParams& p, int64_t kv_head, int64_t token_begin, int64_t token_end, Unit& u) {
  const F factor = set(p.softmax_scale * kLog2e);
  u.rows = (token_end - token_begin) * p.ratio;
  const int64_t padded = (u.rows + kPair - 1) / kPair * kPair;
  for (int64_t row = 0; row < padded; ++row) {
    const bool real = row < u.rows;
    const int64_t token = real ? token_begin + row / p.ratio : token_end - 1;
    u.begin[row] = first_visible(p, token);
    u.end[row] = p.start + token + 1;
    u.m[row] = 0;
    store(u.l + row * 16, zero());
    const float* q = p.q + token * p.q_stride + (kv_head * p.ratio + row % p.ratio) * p.dim;
    uint16_t* out = u.q + row / 16 * 16 * p.dim + row % 16 * 32;
    for (int64_t d = 0; d < p.dim; d += 32, out += kTile) {
      const I x = (I)_mm512_cvtne2ps_pbh(mul(load(q + d + 16), factor), mul(load(q + d), factor));
      store_words(out, real ? x : set_int(0));
    }
  }
  for (int64_t i = 0; i < padded * p.dim; i += 16) store(u.acc + i, zero());
}

void end_unit(const AttentionParams& p, int64_t kv_head, int64_t token_begin, const Unit& u) {
  for (int64_t row = 0; row < u.rows; ++row) {
    float* out = p.out + (token_begin + row / p.ratio) * p.out_stride + (kv_head * p.ratio + row % p.ratio) * p.dim;
    const F inverse = set(1.0f / sum(load(u.l + row * 16)));
    const float* acc = u.acc + row / kPair * kPair * p.dim + row % kPair * 16;
    for (int64_t d = 0; d < p.dim; d += 16) store(out + d, mul(load(acc + d * kPair), inverse));
  }
}

/// 32 queries with the keys of a block that any of them sees, in whole chunks.
struct Job {
  int64_t row;  ///< the first
  int64_t first_key;
  int64_t chunk_begin, chunk_end;  ///< of the block
  const uint16_t* keys;
  const uint16_t* values;
};

/// Sums += two left tiles, `left_step` elements apart, times two right ones.
[[gnu::always_inline]] inline void multiply(const uint16_t* left, int64_t left_step, const uint16_t* right,
                                            int64_t right_step) {
  tile_load<kLeft>(left, 64);
  tile_load<kRight>(right, 64);
  tile_dot_bf16<kSums, kLeft, kRight>();
  tile_load<kRight + 1>(right + right_step, 64);
  tile_dot_bf16<kSums + 1, kLeft, kRight + 1>();
  tile_load<kLeft + 1>(left + left_step, 64);
  tile_dot_bf16<kSums + 2, kLeft + 1, kRight>();
  tile_dot_bf16<kSums + 3, kLeft + 1, kRight + 1>();
}

/// Sums to [2 column tiles][32 rows][16].
[[gnu::always_inline]] inline void store_sums(float* to) {
  tile_store<kSums>(to, 64);
  tile_store<kSums + 1>(to + kTile, 64);
  tile_store<kSums + 2>(to + kTile / 2, 64);
  tile_store<kSums + 3>(to + kTile + kTile / 2, 64);
}

/// Scores of a chunk: two tiles of queries with two of keys.
void score_chunk(const Unit& u, const Job& job, int64_t chunk) {
  const int64_t depth = u.dim / 32 * kTile;
  const uint16_t *q = u.q + job.row * u.dim, *keys = job.keys + 2 * chunk * depth;
  float* s = u.scores + 2 * chunk * kTile;
  tile_zero<kSums>();
  tile_zero<kSums + 1>();
  tile_zero<kSums + 2>();
  tile_zero<kSums + 3>();
  for (int64_t i = 0; i < depth; i += kTile) multiply(q + i, depth, keys + i, depth);
  store_sums(s);
}

/// Scores of a job where all its queries fit the tile registers, kSteps = dim / 32 tiles twice: half as many loads.
template <int kSteps>
void score_resident(const Unit& u, const Job& job) {
  constexpr int kQueries = 4, kKeys = 2;
  const uint16_t* q = u.q + job.row * u.dim;
  tile_load<kQueries>(q, 64);
  tile_load<kQueries + 1>(q + kSteps * kTile, 64);
  if constexpr (kSteps == 2) {
    tile_load<kQueries + 2>(q + kTile, 64);
    tile_load<kQueries + 3>(q + 3 * kTile, 64);
  }
  for (int64_t i = 2 * job.chunk_begin; i < 2 * job.chunk_end; ++i) {
    const uint16_t* keys = job.keys + i * kSteps * kTile;
    tile_zero<kSums>();
    tile_zero<kSums + 1>();
    tile_load<kKeys>(keys, 64);
    tile_dot_bf16<kSums, kQueries, kKeys>();
    tile_dot_bf16<kSums + 1, kQueries + 1, kKeys>();
    if constexpr (kSteps == 2) {
      tile_load<kKeys + 1>(keys + kTile, 64);
      tile_dot_bf16<kSums, kQueries + 2, kKeys + 1>();
      tile_dot_bf16<kSums + 1, kQueries + 3, kKeys + 1>();
    }
    tile_store<kSums>(u.scores + i * kTile, 64);
    tile_store<kSums + 1>(u.scores + i * kTile + kTile / 2, 64);
  }
}

void score(const Unit& u, const Job& job) {
  if (u.dim == 32) return score_resident<1>(u, job);
  if (u.dim == 64) return score_resident<2>(u, job);
  for (int64_t chunk = job.chunk_begin; chunk < job.chunk_end; ++chunk) score_chunk(u, job, chunk);
}

/// acc += weights * values.
void add_values(const Unit& u, const Job& job) {
  for (int64_t d = 0; d < u.dim; d += 32) {
    float* acc = u.acc + job.row * u.dim + d * kPair;
    tile_load<kSums>(acc, 64);
    tile_load<kSums + 1>(acc + kTile, 64);
    tile_load<kSums + 2>(acc + kTile / 2, 64);
    tile_load<kSums + 3>(acc + kTile + kTile / 2, 64);
    for (int64_t chunk = job.chunk_begin; chunk < job.chunk_end; ++chunk)
      multiply(u.weights + chunk * 2 * kTile, kTile, job.values + (chunk * u.dim + d) * kChunk, kTile);
    store_sums(acc);
  }
}

/// 2^x within 7.6e-5 of it where `seen`, else 0; NaN stays NaN. The minimax cubic of the fraction on [0, 1].
template <bool kMasked>
F weight(F x, M seen) {
  const F r = _mm512_reduce_ps(x, 0x09);  // x - floor(x)
  F y = fma(set(7.802452266e-2f), r, set(2.260671554e-1f));
  y = fma(y, r, set(6.958335405e-1f));
  y = fma(y, r, set(9.999252186e-1f));
  return kMasked ? _mm512_maskz_scalef_ps(seen, y, x) : _mm512_scalef_ps(y, x);
}

/// A row's scores of a block: 16 of them at `scores` + 512 v for v in [2 chunk_begin, 2 chunk_end).
struct ScoreRow {
  const float* scores;
  uint16_t* weights;
  int64_t chunk_begin, chunk_end;
  Span span;
};

/// Writes the weights and returns the sums of l and the rounded weights.
template <bool kMasked>
F weigh(const ScoreRow& row, float reference, F l) {
  const I ones = set_int(0x3f803f80);
  const F m = set(reference);
  for (int64_t c = row.chunk_begin; c < row.chunk_end; ++c) {
    const M low = kMasked ? seen(row.span, static_cast<int>(2 * c)) : M{};
    const M high = kMasked ? seen(row.span, static_cast<int>(2 * c + 1)) : M{};
    const F a = weight<kMasked>(sub(load(row.scores + 2 * c * kTile), m), low);
    const F b = weight<kMasked>(sub(load(row.scores + (2 * c + 1) * kTile), m), high);
    const __m512bh rounded = _mm512_cvtne2ps_pbh(b, a);
    store_words(row.weights + c * 2 * kTile, (I)rounded);
    l = _mm512_dpbf16_ps(l, rounded, (__m512bh)ones);
  }
  return l;
}

float largest_score(const ScoreRow& row, int64_t chunk_begin, int64_t chunk_end, float least) {
  F top = set(least);
  for (int64_t v = 2 * chunk_begin; v < 2 * chunk_end; ++v)
    top = select(seen(row.span, static_cast<int>(v)), max(load(row.scores + v * kTile), top), top);
  return maximum(top);
}

void weigh_row(const Unit& u, const Job& job, int64_t r) {
  const int64_t at = job.row + r;
  const ScoreRow row{u.scores + r * 16,
                     u.weights + r * 32,
                     job.chunk_begin,
                     job.chunk_end,
                     {clamp_to_block(u.begin[at] - job.first_key), clamp_to_block(u.end[at] - job.first_key)}};
  if (u.begin[at] >= job.first_key && !row.span.empty()) {
    const int64_t chunk = row.span.begin / kChunk;
    u.m[at] = largest_score(row, chunk, chunk + 1, -__builtin_inff());
  }
  const F before = load(u.l + at * 16);
  const bool full = row.span.begin <= job.chunk_begin * kChunk && row.span.end >= job.chunk_end * kChunk;
  F l = full ? weigh<false>(row, u.m[at], before) : weigh<true>(row, u.m[at], before);
  if (_mm512_cmp_ps_mask(l, set(kTooLarge), _CMP_NLT_UQ) != 0) [[unlikely]] {
    const float m = largest_score(row, job.chunk_begin, job.chunk_end, u.m[at]);
    const F shrink = exp2_negative(set(u.m[at] - m));
    u.m[at] = m;
    l = weigh<true>(row, m, mul(before, shrink));
    float* acc = u.acc + job.row * u.dim + r * 16;
    for (int64_t d = 0; d < u.dim; d += 16) store(acc + d * kPair, mul(load(acc + d * kPair), shrink));
  }
  store(u.l + at * 16, l);
}

/// All blocks of keys with all rows of a unit.
void run_unit(const PromptTask& t, int64_t head, const Unit& u) {
  const int64_t end_key = u.end[u.rows - 1];
  for (int64_t key = u.begin[0] / kKeyBlock * kKeyBlock; key < end_key; key += kKeyBlock) {
    const int64_t at = (head * t.blocks * kKeyBlock + key - t.first_block * kKeyBlock) * u.dim;
    for (int64_t row = 0; row < u.rows; row += kPair) {
      const int64_t begin = clamp_to_block(u.begin[row] - key), end = clamp_to_block(u.end[row + kPair - 1] - key);
      if (begin >= end) continue;
      const Job job{row, key, begin / kChunk, (end + kChunk - 1) / kChunk, t.keys + at, t.values + at};
      score(u, job);
      for (int64_t r = 0; r < kPair; ++r) weigh_row(u, job, r);
      add_values(u, job);
    }
  }
}

bool prompt_pack(const PromptTask& t, int64_t head, int64_t block) {
  const int64_t at = (head * t.blocks + block) * kKeyBlock * t.p.dim, kv_head = t.first_head + head;
  const int64_t first = (t.first_block + block) * kKeyBlock;
  switch (t.p.format) {
    case KvFormat::Float32:
      return pack<KvFormat::Float32>(t.p, kv_head, first, t.keys + at, t.values + at);
    case KvFormat::Float16:
      return pack<KvFormat::Float16>(t.p, kv_head, first, t.keys + at, t.values + at);
    case KvFormat::Int8:
      return pack<KvFormat::Int8>(t.p, kv_head, first, t.keys + at, t.values + at);
    default:
      return pack<KvFormat::Int4>(t.p, kv_head, first, t.keys + at, t.values + at);
  }
}

void prompt_units(const PromptTask& t, int64_t begin, int64_t end, void* scratch) {
  Unit u = carve_unit(t, static_cast<unsigned char*>(scratch));
  configure();
  for (int64_t i = begin; i < end; ++i) {
    const int64_t head = i % t.heads, turn = i / t.heads;
    const int64_t tile = turn % 2 == 0 ? turn / 2 : t.tiles - 1 - turn / 2;  // short and long ones
    const int64_t token_begin = tile * t.tile_tokens, token_end = token_begin + t.tile_tokens;
    const int64_t token_last = token_end < t.p.tokens ? token_end : t.p.tokens;
    begin_unit(t.p, t.first_head + head, token_begin, token_last, u);
    run_unit(t, head, u);
    end_unit(t.p, t.first_head + head, token_begin, u);
  }
  tile_release();
}

}  // namespace

const PromptKernel kPrompt = {prompt_pack, prompt_units};

}  // namespace halftone::kernels::amx
