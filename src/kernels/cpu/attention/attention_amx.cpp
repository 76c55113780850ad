// Prompt attention with AMX: products of bf16 tiles, summed in f32 (Intel SDM, TDPBF16PS); see PromptTask.
//
// The scheme is FlashAttention-2's (Dao, arXiv:2307.08691): a unit of work is a tile of queries, `acc` and the sum l of
// the weights are divided once at the end, and what a new maximum would rescale is rescaled lazily. The reference m of
// a query is the largest score among the first keys it sees. A bf16 weight is as precise at 2^50 as at 1, so m stays
// until a sum of weights passes kTooLarge; only then is the block's maximum sought and acc rescaled. This spares the
// pass over all scores that finds maxima.
//
// A step is 16 queries with 32 keys. The scores of one step, the weights of an earlier one and the values of the one
// before that are taken side by side, in quarters short enough that the CPU runs tiles and vectors at once. Only a few
// KiB lie between them, so that a block of keys and values fits the first-level cache beside, and acc stays in tile
// registers while 16 queries pass a block.
#define HALFTONE_ISA_NAMESPACE amx
#include "kernels/cpu/amx-inl.h"
#include "kernels/cpu/attention/block-inl.h"

namespace halftone::kernels::amx {

namespace {

constexpr int64_t kTile = 512;  // bf16 elements of a tile register; half as many floats
constexpr int64_t kRows = kPromptRows;
constexpr int64_t kChunk = 32;        // keys of a step: two tiles of scores, one of weights
constexpr int64_t kPass = kKeyBlock;  // keys that stay in the first-level cache while all rows pass
constexpr int kAhead = 1;             // steps between scores and weights, for tile stores to reach the cache
constexpr int kSlots = kAhead + 1;    // steps whose scores are in memory
constexpr float kTooLarge = 0x1p60f;
constexpr int32_t kLargestValueBits = 0x53800000;  // 2^40: times weights of 2^60 and 2^20 keys it is still finite

// Tile registers: every one in use costs, see packed_bf16_amx.cpp.
constexpr int kAcc = 0, kScore = 4, kLeft = 5, kRight = 6, kRegisters = 7;

void configure() {
  TileConfig config;
  for (int i = 0; i < kRegisters; ++i) config.set(i, 16, 64);
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
  for (int64_t chunk = first; chunk < first + kKeyBlock; chunk += kChunk, out += kChunk * p.dim)
    for (int64_t key = 0; key < 16; ++key)
      for (int64_t d = 0; d < p.dim; d += 16)
        store_words(out + d * kChunk + key * 32, pairs(elements(chunk + key, d), elements(chunk + key + 16, d)));
  return maximum_int(largest) < kLargestValueBits;
}

template <KvFormat kFormat>
bool pack(const AttentionParams& p, int64_t kv_head, int64_t first, uint16_t* keys, uint16_t* values) {
  pack_keys<kFormat>(p, kv_head, first, keys);
  return pack_values<kFormat>(p, kv_head, first, values);
}

// ---- a unit of work: a tile of queries of one key-value head ----

struct Unit {
  uint16_t* q;           ///< [row tiles][dim / 32][16][32], times softmax_scale * log2(e)
  float* acc;            ///< [row tiles][dim / 16][16][16]
  float* l;              ///< [2][rows][16], to be summed; steps write one half and the other in turn
  float* m;              ///< [rows]
  int32_t* turns;        ///< [rows], of which one in 16 is used: steps that the tile of rows has had
  int64_t *begin, *end;  ///< [rows] the keys that a row sees
  float* scores;         ///< [kSlots][2][16][16]
  uint16_t* weights;     ///< [2][16][32]
  float* shrink;         ///< [16]
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
  u.scores = reinterpret_cast<float*>(take(kSlots * kTile * 4));
  u.weights = reinterpret_cast<uint16_t*>(take(2 * kTile * 2));
  u.shrink = reinterpret_cast<float*>(take(kRows * 4));
  u.q = reinterpret_cast<uint16_t*>(take(t.padded_rows * u.dim * 2));
  u.acc = reinterpret_cast<float*>(take(t.padded_rows * u.dim * 4));
  u.l = reinterpret_cast<float*>(take(t.padded_rows * 128));
  u.m = reinterpret_cast<float*>(take(t.padded_rows * 4));
  u.turns = reinterpret_cast<int32_t*>(take(t.padded_rows * 4));
  u.begin = reinterpret_cast<int64_t*>(take(t.padded_rows * 8));
  u.end = reinterpret_cast<int64_t*>(take(t.padded_rows * 8));
  return u;
}

/// Reads the queries of tokens [token_begin, token_end). Rows past them see what the last token sees, with queries 0.
void begin_unit(const AttentionParams& p, int64_t kv_head, int64_t token_begin, int64_t token_end, Unit& u) {
  const F factor = set(p.softmax_scale * kLog2e);
  u.rows = (token_end - token_begin) * p.ratio;
  const int64_t padded = (u.rows + kRows - 1) / kRows * kRows;
  for (int64_t row = 0; row < padded; ++row) {
    const bool real = row < u.rows;
    const int64_t token = real ? token_begin + row / p.ratio : token_end - 1;
    u.begin[row] = first_visible(p, token);
    u.end[row] = p.start + token + 1;
    u.m[row] = 0;
    u.turns[row] = 0;
    store(u.l + row * 16, zero());
    const float* q = p.q + token * p.q_stride + (kv_head * p.ratio + row % p.ratio) * p.dim;
    uint16_t* out = u.q + row / kRows * kRows * p.dim + row % kRows * 32;
    for (int64_t d = 0; d < p.dim; d += 32, out += kTile) {
      const I x = (I)_mm512_cvtne2ps_pbh(mul(load(q + d + 16), factor), mul(load(q + d), factor));
      store_words(out, real ? x : set_int(0));
    }
  }
  for (int64_t i = 0; i < padded * p.dim; i += 16) store(u.acc + i, zero());
}

/// Where the sums of weights of a row are after `turns` steps.
float* sums_of(const Unit& u, int64_t row, int32_t turns) { return u.l + (turns % 2 * u.padded_rows + row) * 16; }

void end_unit(const AttentionParams& p, int64_t kv_head, int64_t token_begin, const Unit& u) {
  for (int64_t row = 0; row < u.rows; ++row) {
    float* out = p.out + (token_begin + row / p.ratio) * p.out_stride + (kv_head * p.ratio + row % p.ratio) * p.dim;
    const F inverse = set(1.0f / sum(load(sums_of(u, row, u.turns[row / kRows * kRows]))));
    const float* acc = u.acc + row / kRows * kRows * p.dim + row % kRows * 16;
    for (int64_t d = 0; d < p.dim; d += 16) store(out + d, mul(load(acc + d * kRows), inverse));
  }
}

/// 16 queries with 32 keys.
struct Step {
  int64_t row;        ///< the first
  int64_t first_key;  ///< at a multiple of 32
  const uint16_t* keys;
  const uint16_t* values;
  float* scores;
  uint16_t* weights;
  const float* l_from;  ///< [16][16], sums of weights before this step
  float* l_to;
  bool fresh, last;  ///< the first and the last step of its rows in a block: acc comes and goes
  bool full;         ///< all rows see all keys
  bool reference;    ///< a row sees its first key
  bool shrink;       ///< a row's acc is to be multiplied by u.shrink before these weights join it
};

/// Makes the steps of a unit: for each block of keys, each tile of rows, its chunks of keys.
class Walk {
 public:
  Walk(const PromptTask& t, int64_t head, const Unit& u)
      : u_(u), row_(-kRows), key_(u.begin[0] / kPass * kPass), end_key_(u.end[u.rows - 1]) {
    const int64_t offset = (head * t.blocks - t.first_block) * kKeyBlock * u.dim;
    keys_ = t.keys + offset;
    values_ = t.values + offset;
  }

  bool next(Step& s) {
    const bool fresh = chunk_ >= chunk_end_;
    while (chunk_ >= chunk_end_)
      if (!next_rows()) return false;
    slot_ = slot_ + 1 == kSlots ? 0 : slot_ + 1;
    side_ ^= 1;
    const int64_t last_row = row_ + kRows - 1, end = chunk_ + kChunk;
    s.row = row_;
    s.first_key = chunk_;
    s.keys = keys_ + chunk_ * u_.dim;
    s.values = values_ + chunk_ * u_.dim;
    s.scores = u_.scores + slot_ * kTile;
    s.weights = u_.weights + side_ * kTile;
    s.fresh = fresh;
    s.last = end >= chunk_end_;
    s.full = u_.begin[last_row] <= chunk_ && u_.end[row_] >= end;
    s.reference = u_.begin[last_row] >= chunk_ && u_.begin[row_] < end;
    s.shrink = false;
    s.l_from = sums_of(u_, row_, u_.turns[row_]);
    s.l_to = sums_of(u_, row_, ++u_.turns[row_]);
    chunk_ = end;
    return true;
  }

 private:
  bool next_rows() {
    row_ += kRows;
    if (row_ >= u_.rows) row_ = 0, key_ += kPass;
    if (key_ >= end_key_) return false;
    const int64_t begin = u_.begin[row_] > key_ ? u_.begin[row_] : key_;
    const int64_t end = u_.end[row_ + kRows - 1] < key_ + kPass ? u_.end[row_ + kRows - 1] : key_ + kPass;
    chunk_ = begin / kChunk * kChunk;
    chunk_end_ = end;
    return true;
  }

  const Unit& u_;
  const uint16_t* keys_;
  const uint16_t* values_;
  int64_t row_, key_, end_key_, chunk_ = 0, chunk_end_ = 0;
  int slot_ = 0, side_ = 0;
};

// ---- the tiles of a step, in four quarters: two of scores, two of values ----

/// kDim: 32 or 64, which fit the tile registers, or 0 for more.
template <int kDim>
int64_t dim_of(const Unit& u) {
  return kDim == 0 ? u.dim : kDim;
}

/// Scores of the queries with the first or second tile of keys.
template <int kDim, int kHalf>
[[gnu::always_inline]] inline void score(const Unit& u, const Step& s) {
  const int64_t depth = dim_of<kDim>(u) / 32;
  const uint16_t *q = u.q + s.row * dim_of<kDim>(u), *keys = s.keys + kHalf * depth * kTile;
  tile_zero<kScore>();
  for (int64_t i = 0; i < depth; ++i) {
    tile_load<kLeft>(q + i * kTile, 64);
    tile_load<kRight>(keys + i * kTile, 64);
    tile_dot_bf16<kScore, kLeft, kRight>();
  }
  tile_store<kScore>(s.scores + kHalf * kTile / 2, 64);
}

template <int kTiles>
[[gnu::always_inline]] inline void load_acc(const float* acc) {
  tile_load<kAcc>(acc, 64);
  tile_load<kAcc + 1>(acc + kTile / 2, 64);
  if constexpr (kTiles == 4) {
    tile_load<kAcc + 2>(acc + kTile, 64);
    tile_load<kAcc + 3>(acc + kTile + kTile / 2, 64);
  }
}

template <int kTiles>
[[gnu::always_inline]] inline void store_acc(float* acc) {
  tile_store<kAcc>(acc, 64);
  tile_store<kAcc + 1>(acc + kTile / 2, 64);
  if constexpr (kTiles == 4) {
    tile_store<kAcc + 2>(acc + kTile, 64);
    tile_store<kAcc + 3>(acc + kTile + kTile / 2, 64);
  }
}

/// Sums kFirst and kFirst + 1 of acc += weights * values.
template <int kFirst>
[[gnu::always_inline]] inline void add_values(const uint16_t* values) {
  tile_load<kRight>(values, 64);
  tile_dot_bf16<kAcc + kFirst, kLeft, kRight>();
  tile_load<kRight>(values + kTile, 64);
  tile_dot_bf16<kAcc + kFirst + 1, kLeft, kRight>();
}

[[gnu::noinline]] void shrink_acc(const Unit& u, const Step& s) {
  for (int64_t d = 0; d < u.dim; d += 16)
    for (int64_t r = 0; r < kRows; ++r) {
      float* acc = u.acc + s.row * u.dim + d * kRows + r * 16;
      store(acc, mul(load(acc), set(u.shrink[r])));
    }
}

/// Values of the first or second half of the dimensions. acc stays in registers from a fresh step to the last one, or
/// passes through them where it is too large.
template <int kDim, int kHalf>
[[gnu::always_inline]] inline void value(const Unit& u, const Step& s) {
  constexpr int kTiles = kDim == 32 ? 2 : 4;
  const int64_t dim = dim_of<kDim>(u);
  float* acc = u.acc + s.row * dim;
  if constexpr (kHalf == 0) {
    if (s.shrink) [[unlikely]] {
      if (kDim != 0 && !s.fresh) store_acc<kTiles>(acc);
      shrink_acc(u, s);
    }
    if (kDim != 0 && (s.fresh || s.shrink)) load_acc<kTiles>(acc);
    tile_load<kLeft>(s.weights, 64);
  }
  if constexpr (kDim != 0) {
    if constexpr (2 * kHalf < kTiles) add_values<2 * kHalf>(s.values + 2 * kHalf * kTile);
    if (kHalf == 1 && s.last) store_acc<kTiles>(acc);
    return;
  }
  const int64_t middle = (dim / 64 + 1) / 2 * 64;
  int64_t d = kHalf * middle;
  for (; d + 64 <= (kHalf == 0 ? middle : dim); d += 64) {
    load_acc<4>(acc + d * kRows);
    add_values<0>(s.values + d * kChunk);
    add_values<2>(s.values + d * kChunk + 2 * kTile);
    store_acc<4>(acc + d * kRows);
  }
  if (kHalf == 0 || d >= dim) return;
  load_acc<2>(acc + d * kRows);
  add_values<0>(s.values + d * kChunk);
  store_acc<2>(acc + d * kRows);
}

// ---- the vectors of a step ----

/// 2^x within 7.6e-5 of it plus what makes cutting its last 16 bits off round to bf16; 0 where not `seen`, and NaN
/// stays NaN. The minimax cubic of the fraction on [0, 1].
template <bool kMasked>
F weight(F x, M seen) {
  constexpr float kHalfUnit = 0x1p-8f;    // of a bf16 in [1, 2)
  const F r = _mm512_reduce_ps(x, 0x09);  // x - floor(x)
  F y = fma(set(7.802452266e-2f), r, set(2.260671554e-1f));
  y = fma(y, r, set(6.958335405e-1f));
  y = fma(y, r, set(9.999252186e-1f + kHalfUnit));
  return kMasked ? _mm512_maskz_scalef_ps(seen, y, x) : _mm512_scalef_ps(y, x);
}

/// Words of bf16 pairs: the upper halves of a below those of b.
I upper_halves(F a, F b) {
  const I order = set_int(0x00000302);
  const I lanes = _mm512_broadcast_i32x4(_mm_setr_epi32(0, 0x0404, 0x0808, 0x0c0c));
  return _mm512_mask_shuffle_epi8(as_int(b), 0x3333333333333333, as_int(a), add_int(order, lanes));
}

/// Keys of a step that row r sees, counted from its first.
Span span_of(const Unit& u, const Step& s, int64_t r) {
  return {u.begin[s.row + r] - s.first_key, u.end[s.row + r] - s.first_key};
}

/// Writes the weights of row r relative to m; l plus their sums.
template <bool kMasked>
[[gnu::always_inline]] inline F weigh_row(const Unit& u, const Step& s, int64_t r, F m, F l) {
  const Span span = kMasked ? span_of(u, s, r) : Span{};
  const F a = weight<kMasked>(sub(load(s.scores + r * 16), m), kMasked ? seen(span, 0) : M{});
  const F b = weight<kMasked>(sub(load(s.scores + kTile / 2 + r * 16), m), kMasked ? seen(span, 1) : M{});
  const I rounded = upper_halves(a, b);
  store_words(s.weights + r * 32, rounded);
  return _mm512_dpbf16_ps(l, (__m512bh)rounded, (__m512bh)set_int(0x3f803f80));
}

/// Rows [kBegin, kBegin + 4); `largest` takes the bits of the largest sum, NaN on top.
template <bool kMasked, int kBegin>
[[gnu::always_inline]] inline void weigh(const Unit& u, const Step& s, I& largest) {
#pragma GCC unroll 4
  for (int64_t r = kBegin; r < kBegin + 4; ++r) {
    const F l = weigh_row<kMasked>(u, s, r, set(u.m[s.row + r]), load(s.l_from + r * 16));
    largest = _mm512_max_epu32(largest, as_int(l));
    store(s.l_to + r * 16, l);
  }
}

/// The largest score that row r sees in a step, or `least`.
float largest_score(const Unit& u, const Step& s, int64_t r, float least) {
  const Span span = span_of(u, s, r);
  F top = set(least);
  for (int v = 0; v < 2; ++v) top = select(seen(span, v), max(load(s.scores + v * kTile / 2 + r * 16), top), top);
  return maximum(top);
}

[[gnu::noinline]] void find_references(const Unit& u, const Step& s) {
  for (int64_t r = 0; r < kRows; ++r)
    if (u.begin[s.row + r] >= s.first_key && u.begin[s.row + r] < s.first_key + kChunk)
      u.m[s.row + r] = largest_score(u, s, r, -__builtin_inff());
}

/// Gives rows with too large sums a new reference, and weights anew.
[[gnu::noinline]] void lower_weights(const Unit& u, Step& s) {
  s.shrink = true;
  for (int64_t r = 0; r < kRows; ++r) {
    u.shrink[r] = 1;
    if (_mm512_cmp_ps_mask(load(s.l_to + r * 16), set(kTooLarge), _CMP_NLT_UQ) == 0) continue;
    const float m = largest_score(u, s, r, u.m[s.row + r]);
    const F shrink = exp2_negative(set(u.m[s.row + r] - m));
    u.m[s.row + r] = m;
    u.shrink[r] = _mm512_cvtss_f32(shrink);
    store(s.l_to + r * 16, weigh_row<true>(u, s, r, set(m), mul(load(s.l_from + r * 16), shrink)));
  }
}

// ---- a unit's steps ----

/// One quarter of a turn: tiles of two steps, then four rows of another step's vectors beside them.
template <int kDim, int kQuarter>
[[gnu::always_inline]] inline void quarter(const Unit& u, const Step* scored, const Step* weighed, const Step* added,
                                           I& largest) {
  if constexpr (kQuarter < 2) {
    if (scored != nullptr) score<kDim, kQuarter>(u, *scored);
  } else {
    if (added != nullptr) value<kDim, kQuarter - 2>(u, *added);
  }
  if (weighed == nullptr) return;
  weighed->full ? weigh<false, 4 * kQuarter>(u, *weighed, largest) : weigh<true, 4 * kQuarter>(u, *weighed, largest);
}

/// Scores of one step, weights of an earlier one and values of the one before that, side by side; null for none.
template <int kDim>
void turn(const Unit& u, const Step* scored, Step* weighed, const Step* added) {
  I largest = set_int(0);
  if (weighed != nullptr && weighed->reference) find_references(u, *weighed);
  quarter<kDim, 0>(u, scored, weighed, added, largest);
  quarter<kDim, 1>(u, scored, weighed, added, largest);
  quarter<kDim, 2>(u, scored, weighed, added, largest);
  quarter<kDim, 3>(u, scored, weighed, added, largest);
  if (_mm512_cmp_epu32_mask(largest, as_int(set(kTooLarge)), _MM_CMPINT_NLT) != 0) [[unlikely]]
    lower_weights(u, *weighed);
}

/// All blocks of keys with all rows of a unit.
template <int kDim>
void run_unit(const PromptTask& t, int64_t head, const Unit& u) {
  Walk walk(t, head, u);
  Step steps[4];  // step i in steps[i % 4]; a turn takes steps i + kAhead, i and i - 1
  int64_t made = 0;
  bool more = true;
  for (int64_t i = -kAhead; i <= made; ++i) {
    if (more) more = walk.next(steps[made % 4]);
    const bool scores = more;
    if (more) ++made;
    turn<kDim>(u, scores ? &steps[(i + kAhead) % 4] : nullptr, i >= 0 && i < made ? &steps[i % 4] : nullptr,
               i >= 1 ? &steps[(i - 1) % 4] : nullptr);
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
    if (u.dim == 32)
      run_unit<32>(t, head, u);
    else if (u.dim == 64)
      run_unit<64>(t, head, u);
    else
      run_unit<0>(t, head, u);
    end_unit(t.p, t.first_head + head, token_begin, u);
  }
  tile_release();
}

}  // namespace

const PromptKernel kPrompt = {prompt_pack, prompt_units};

}  // namespace halftone::kernels::amx
