// Prompts: one unit per key-value head and tile of tokens, long and short tiles alternating so that the equal shares of
// the pool cost the same. With bf16 products the cache is packed in one parallel loop first.
#include <atomic>

#include "kernels/cpu/attention/launch.h"

namespace halftone::kernels {

int64_t prompt_scratch_bytes(int64_t dim, int64_t padded_rows) {
  // Query and accumulators, l twice, m and a count, the keys that it sees; scores and weights of a few steps.
  const int64_t row = dim * 6 + 2 * 16 * 4 + 2 * 4 + 2 * 8;
  return padded_rows * row + kPromptRows * (3 * 32 * 4 + 2 * 32 * 2 + 4);
}

namespace {

constexpr int64_t kTileRows = 96;           // queries that share a loaded block
constexpr int64_t kPromptTileRows = 192;    // queries that share packed keys on their way through the caches
constexpr int64_t kPromptTileRowsMin = 96;  // where larger tiles would be too few for the threads; 5 % slower
constexpr int64_t kPackedBytes = 32 << 20;  // of packed keys and values at a time, unless one head needs more

}  // namespace

void attend_tiles(ExecContext& context, const AttentionKernel& kernel, const AttentionParams& p, int64_t kv_heads) {
  const int64_t tile_tokens = std::max<int64_t>(1, kTileRows / p.ratio);
  const int64_t tiles = (p.tokens + tile_tokens - 1) / tile_tokens;
  const int64_t scratch_floats = attention_scratch_floats(p.dim, tile_tokens * p.ratio);
  auto* scratch = static_cast<float*>(
      context.workspace.reserve(sizeof(float) * static_cast<size_t>(context.pool.threads() * scratch_floats)));
  context.pool.parallel_for(kv_heads * tiles, 1, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t turn = i / kv_heads;
      const int64_t tile = turn % 2 == 0 ? turn / 2 : tiles - 1 - turn / 2;
      kernel.tile(p, i % kv_heads, tile * tile_tokens, std::min(p.tokens, (tile + 1) * tile_tokens),
                  scratch + worker * scratch_floats);
    }
  });
}

bool attend_prompt(ExecContext& context, const AttentionParams& p, int64_t kv_heads) {
  const int64_t first_key = p.window > 0 ? std::max<int64_t>(0, p.start - p.window + 1) : 0;
  PromptTask t{};
  t.p = p;
  t.first_block = first_key / kKeyBlock;
  t.blocks = (p.start + p.tokens + kKeyBlock - 1) / kKeyBlock - t.first_block;
  const bool many = kv_heads * p.tokens * p.ratio >= 4 * context.pool.threads() * kPromptTileRows;
  t.tile_tokens = std::max<int64_t>(1, (many ? kPromptTileRows : kPromptTileRowsMin) / p.ratio);
  t.tiles = (p.tokens + t.tile_tokens - 1) / t.tile_tokens;
  t.padded_rows = (t.tile_tokens * p.ratio + kPromptRows - 1) / kPromptRows * kPromptRows;
  const int64_t head_elements = t.blocks * kKeyBlock * p.dim,
                scratch_bytes = prompt_scratch_bytes(p.dim, t.padded_rows);
  const int64_t step = std::clamp<int64_t>(kPackedBytes / (4 * head_elements), 1, kv_heads);

  const auto lay_out = [&](WorkspaceCarver carver) {
    t.keys = carver.take<uint16_t>(step * head_elements);
    t.values = carver.take<uint16_t>(step * head_elements);
    return std::pair{carver.take<unsigned char>(context.pool.threads() * scratch_bytes), carver.used};
  };
  unsigned char* scratch =
      lay_out({static_cast<unsigned char*>(context.workspace.reserve(lay_out({nullptr}).second))}).first;
  for (; t.first_head < kv_heads; t.first_head += step) {
    t.heads = std::min(step, kv_heads - t.first_head);
    std::atomic<bool> fits = true;
    context.pool.parallel_for(t.heads * t.blocks, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i)
        if (!amx::kPrompt.pack(t, i / t.blocks, i % t.blocks)) fits.store(false, std::memory_order_relaxed);
    });
    if (!fits.load()) return false;
    context.pool.parallel_for(t.heads * t.tiles, 1, [&](int64_t begin, int64_t end, int worker) {
      amx::kPrompt.units(t, begin, end, scratch + worker * scratch_bytes);
    });
  }
  return true;
}

}  // namespace halftone::kernels
