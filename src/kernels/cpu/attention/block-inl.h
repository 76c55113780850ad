// What the float and the integer path of attention share: which keys a query sees, the scratch of a worker, a block of
// the cache, and softmax over a row of a block.
#pragma once

#include "kernels/cpu/attention/attention_kernel.h"
#include "kernels/cpu/simd-inl.h"

namespace halftone::kernels::HALFTONE_ISA_NAMESPACE {

inline constexpr int kVectors = kKeyBlock / kLanes;  // of a row of scores
inline constexpr int kMaxDim = 256;
inline constexpr float kLog2e = 1.44269504f;

/// Row tiles of few rows take more vectors a row, to keep about as many accumulators busy.
template <int Rows>
inline constexpr int kTileVectors = (Rows <= 3 ? 2 : 1) * (kRegisters == 32 ? 2 : 1);

/// Asks for the cache line of p ahead of time, into L2: a block ahead may not fit L1 beside the one at work. Assembly:
/// g++ 12 takes a function that does nothing else for one without effect, and drops the calls it has not inlined yet.
static inline void ask(const void* p) { asm volatile("prefetcht1 %0" : : "m"(*static_cast<const char*>(p))); }

struct Span {  ///< the keys of a block that a query sees
  int64_t begin, end;
  bool empty() const { return begin >= end; }
  bool full() const { return begin == 0 && end == kKeyBlock; }
};

static int64_t clamp_to_block(int64_t x) { return x < 0 ? 0 : x > kKeyBlock ? kKeyBlock : x; }

static int64_t first_visible(const AttentionParams& p, int64_t token) {
  const int64_t first = p.start + token - p.window + 1;
  return p.window > 0 && first > 0 ? first : 0;
}

static inline Span visible(const AttentionParams& p, int64_t token, int64_t block) {
  const int64_t base = block * kKeyBlock;
  return {clamp_to_block(first_visible(p, token) - base), clamp_to_block(p.start + token + 1 - base)};
}

/// Lanes [v * kLanes, (v + 1) * kLanes) that are inside the span.
static M seen(const Span& span, int v) {
  return without(first_lanes(span.end - v * kLanes), first_lanes(span.begin - v * kLanes));
}

struct Scratch {
  float* keys;       ///< [kKeyBlock][dim], for keys and values that many queries share, as floats
  float* values;     ///< likewise
  float* scales;     ///< [4][kKeyBlock]: scales and zero points of keys, then of values
  float* scores;     ///< [kGroup][kKeyBlock]
  int32_t* weights;  ///< [kGroup][kKeyBlock / 2] operand words
  int32_t* sums;     ///< [kGroup][kMaxDim]
  float* partials;   ///< [kGroup][dim + kPartialTail]
  float* rest;
};

static inline Scratch carve(float* memory, int64_t dim) {
  Scratch s;
  s.keys = memory;
  s.values = s.keys + kKeyBlock * dim;
  s.scales = s.values + kKeyBlock * dim;
  s.scores = s.scales + 4 * kKeyBlock;
  s.weights = reinterpret_cast<int32_t*>(s.scores + kGroup * kKeyBlock);
  s.sums = s.weights + kGroup * kKeyBlock / 2;
  s.partials = reinterpret_cast<float*>(s.sums + kGroup * kMaxDim);
  s.rest = s.partials + kGroup * (dim + kPartialTail);
  return s;
}

struct Block {
  int64_t index;
  const unsigned char* keys;  ///< in the cache's format, or floats where `floats`
  const unsigned char* values;
  bool floats;
  int64_t keys_ahead, values_ahead;  ///< bytes to what is asked for while this block is read; or 0
};

/// Rows of a group: where their queries are, what they see, and where their partials go.
template <int Rows>
struct Group {
  const float* q[Rows];
  const int32_t* prepared[Rows];
  float* out[Rows];
  Span spans[Rows];
  int64_t keys_ahead, values_ahead;  ///< of the block
  Span any;                          ///< from the first key that a row sees to the last
};

}  // namespace halftone::kernels::HALFTONE_ISA_NAMESPACE
