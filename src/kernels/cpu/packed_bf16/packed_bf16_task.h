// What the AMX translation unit of the packed bf16 GEMM sees: plain data only.
#pragma once

#include "kernels/cpu/packed_gemm/packed_task.h"

namespace halftone::kernels {

/// The weights and outputs of `packed`, with bf16 activations in tiles.
struct PackedBf16Task {
  PackedTask packed;
  const uint16_t* x;
  bool accumulate;
};

/// Units of K whose weights are expanded at a time: two tiles of them, 32 KiB, stay in the first-level cache.
constexpr int64_t kBf16PartUnits = 18;
/// Scratch of a worker: the expanded weights of two tiles, and four tiles of sums at the edges of y.
constexpr int64_t kBf16ScratchBytes = 2 * kBf16PartUnits * 1024 + 4 * 1024;

namespace amx {
/// Pairs of token tiles [pair0, pair1) against the weight tiles [tile0, tile1).
void packed_bf16(const PackedBf16Task& task, int64_t pair0, int64_t pair1, int64_t tile0, int64_t tile1, void* scratch);
/// Token tile `tile` of x, rows past `rows` and elements past k as zeros.
void round_tile(const float* x, int64_t x_stride, int64_t rows, int64_t k, int64_t tile, uint16_t* y);
}  // namespace amx

}  // namespace halftone::kernels
