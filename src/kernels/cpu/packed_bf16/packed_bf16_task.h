// What the AMX translation unit of the packed bf16 GEMM sees: plain data only.
#pragma once

#include "kernels/cpu/packed_gemm/packed_task.h"

namespace halftone::kernels {

enum class Gating : uint8_t { None, SwiGlu, GeGlu };

/// The weights and outputs of `packed`, with bf16 activations in tiles.
struct PackedBf16Task {
  PackedTask packed;
  const uint16_t* x;
  bool accumulate;
  Gating gated;  ///< with it, outputs are tiles of bf16 in gated_y instead of y
  uint16_t* gated_y;
};

/// Activations to be rounded; see kernels/api/packed_bf16.h.
struct RoundTask {
  const float* x;
  int64_t x_stride, rows, k;
  bool norm;
  const float* norm_weight;
  float epsilon;
  uint16_t* y;
};

/// Units of K whose weights are expanded at a time: two tiles of them stay in the first-level cache.
constexpr int64_t kBf16PartUnits = 18;
constexpr int64_t kBf16PanelBytes = 2 * kBf16PartUnits * 1024;
/// Token tiles that meet a panel before the next, at most.
constexpr int64_t kBf16ChunkTiles = 64;
/// Scratch of a worker: two panels, one in use and one in the making, and two tiles of sums for each token tile.
constexpr int64_t kBf16ScratchBytes = 2 * kBf16PanelBytes + kBf16ChunkTiles * 2048;

namespace amx {
/// Token tiles [token_tile0, token_tile1) against the weight tiles [tile0, tile1), with gating against the gates' tiles
/// [tile0, tile1) and those of their ups.
void packed_bf16(const PackedBf16Task& task, int64_t token_tile0, int64_t token_tile1, int64_t tile0, int64_t tile1,
                 void* scratch);
/// Token tile `tile` of x, rows past `rows` and elements past k as zeros.
void round_tile(const RoundTask& task, int64_t tile);
}  // namespace amx

}  // namespace halftone::kernels
