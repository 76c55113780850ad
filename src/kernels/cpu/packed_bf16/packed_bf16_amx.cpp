// The packed GEMM with bf16 activations on AMX: 16 tokens x 32 weight rows at a time, two tiles of f32 sums.
//
// A panel is two tiles of weights over a part of K, made bf16 in scratch once, where it meets a chunk of tokens. While
// the matrix unit works on one panel, the vector unit expands the next and finishes the block of sums before
// (Background), so that neither waits for the other. Activations lie in tiles already: all reads of the inner loop run
// through memory in order, the panel from the first-level cache and the activations from the second.
//
// Four tile registers, not eight: a product and the loads of the next overlap only while the core has spare registers
// to rename them to, and where another hardware thread is active on it there is one for eight in use (28 ns a product
// of 2 x 2 tiles, 13 with four registers; 6 for either on a core of one's own: docs/performance.md).
#define HALFTONE_ISA_NAMESPACE amx
#include "kernels/cpu/amx-inl.h"
#include "kernels/cpu/elementwise/gate-inl.h"
#include "kernels/cpu/elementwise/norm-inl.h"
#include "kernels/cpu/packed_bf16/expand-inl.h"

namespace halftone::kernels::amx {

namespace {

constexpr int64_t kTile = 1024;                    // bytes of a tile register
constexpr int64_t kChunkBytes = int64_t{1} << 20;  // of activations, to stay in the second-level cache
// Tile registers: the sums of weight tile j are j.
constexpr int kX = 2, kW = 3, kRegisters = 4;

bool is_gated(const PackedBf16Task& task) { return task.gated != Gating::None; }

void configure() {
  TileConfig config;
  for (int i = 0; i < kRegisters; ++i) config.set(i, 16, 64);
  config.load();
}

struct Panel {
  int64_t tile[2];
  int tiles;
  int64_t u0, units;
};

/// The panels of a range of weight tiles, parts of K innermost. For gated outputs a panel is a tile of gates and the
/// tile of their ups.
struct Panels {
  int64_t tile0, tile1, step, second, units, parts, part;

  Panels(const PackedBf16Task& task, int64_t begin, int64_t end)
      : tile0(begin),
        tile1(end),
        step(is_gated(task) ? 1 : 2),
        second(is_gated(task) ? task.packed.n / 32 : 1),
        units(task.packed.units),
        parts((units + kBf16PartUnits - 1) / kBf16PartUnits),
        part((units + parts - 1) / parts) {}

  int64_t count() const { return (tile1 - tile0 + step - 1) / step * parts; }
  Panel operator[](int64_t i) const {
    const int64_t tile = tile0 + i / parts * step, u0 = i % parts * part;
    const int64_t left = units - u0;
    return {{tile, tile + second}, step == 1 || tile + 1 < tile1 ? 2 : 1, u0, left < part ? left : part};
  }
};

constexpr int64_t kGateRows = 4;  // at a time: their chains of dependent instructions overlap

/// gate and up -> act(gate) * up as bf16 for kGateRows tokens, 16 values each.
using GateRows = void (*)(const float* gate, const float* up, uint16_t* y);

template <class Activation>
void gate_rows(const float* gate, const float* up, uint16_t* y) {
  unrolled<kGateRows>([&](int r) HALFTONE_INLINE {
    const F value = gated<Activation>(load(gate + r * 16), load(up + r * 16));
    _mm256_store_si256(reinterpret_cast<__m256i*>(y + r * 32), (__m256i)_mm512_cvtneps_pbh(value));
  });
}

/// Vector work that is done a little after every matrix product.
class Background {
 public:
  explicit Background(const PackedBf16Task& task)
      : task_(task),
        expand_(expand_unit_of(task.packed)),
        gate_(task.gated == Gating::GeGlu ? gate_rows<GeluTanh> : gate_rows<Silu>),
        gated_units_(task.packed.n / 64) {}

  /// Expand `panel` into `out` in the course of `steps`.
  void expand(const Panel& panel, uint8_t* out, int64_t steps) {
    panel_ = panel, out_ = out, steps_ = steps;
    total_ = left_ = panel.tiles * panel.units;
    tile_ = u_ = credit_ = 0;
  }
  void expand_now(const Panel& panel, uint8_t* out) {
    expand(panel, out, 1);
    step();
  }
  /// Make the gated outputs of a token tile and gate tile `tile` from two tiles of sums in the course of `steps`.
  void gate(const float* sums, int64_t token_tile, int64_t tile, int64_t steps) {
    sums_ = sums, row_ = 0, gate_credit_ = 0, gate_steps_ = steps;
    y_ = task_.gated_y + (token_tile * gated_units_ + tile / 2) * 512 + tile % 2 * 16;
  }
  void finish_gates() {
    while (row_ < 16) gate_next();
  }

  void step() {
    if (row_ < 16) {
      gate_credit_ += 16 / kGateRows;
      if (gate_credit_ >= gate_steps_) gate_credit_ -= gate_steps_, gate_next();
    }
    if (left_ == 0) return;
    for (credit_ += total_; credit_ >= steps_; credit_ -= steps_) expand_next();
  }

 private:
  void expand_next() {
    expand_(task_.packed, panel_.tile[tile_], panel_.u0 + u_, out_ + (tile_ * kBf16PartUnits + u_) * kTile);
    if (++u_ == panel_.units) u_ = 0, ++tile_;
    --left_;
  }
  void gate_next() {
    gate_(sums_ + row_ * 16, sums_ + 256 + row_ * 16, y_ + row_ * 32);
    row_ += kGateRows;
  }

  const PackedBf16Task& task_;
  const ExpandUnit expand_;
  const GateRows gate_;
  const int64_t gated_units_;
  Panel panel_ = {};
  uint8_t* out_ = nullptr;
  int64_t tile_ = 0, u_ = 0, total_ = 0, left_ = 0, credit_ = 0, steps_ = 1;
  const float* sums_ = nullptr;
  uint16_t* y_ = nullptr;
  int64_t row_ = 16, gate_credit_ = 0, gate_steps_ = 1;
};

/// A tile of sums in memory.
struct Sums {
  float* at;
  int64_t stride;  // bytes
};

/// What the sums of a block begin with.
enum class Begin { Zero, Bias, Memory };

struct Block {
  const uint8_t* x;
  const uint8_t* w[2];
  int64_t units;
  Begin begin;
  Sums from[2], to[2];
  const float* bias[2];
};

template <int kSum>
[[gnu::always_inline]] inline void begin_sums(const Block& b) {
  if (b.begin == Begin::Zero) return tile_zero<kSum>();
  if (b.begin == Begin::Bias) return tile_load<kSum>(b.bias[kSum], 0);  // the same line for every token
  tile_load<kSum>(b.from[kSum].at, b.from[kSum].stride);
}

template <int kSum>
[[gnu::always_inline]] inline void end_sums(const Block& b) {
  tile_store<kSum>(b.to[kSum].at, b.to[kSum].stride);
}

template <bool kTwoTiles>
void multiply(const Block& b, Background& background) {
  begin_sums<0>(b);
  if constexpr (kTwoTiles) begin_sums<1>(b);
  for (int64_t u = 0; u < b.units; ++u) {
    tile_load_streamed<kX>(b.x + u * kTile, 64);
    tile_load<kW>(b.w[0] + u * kTile, 64);
    tile_dot_bf16<0, kX, kW>();
    if constexpr (kTwoTiles) {
      tile_load<kW>(b.w[1] + u * kTile, 64);
      tile_dot_bf16<1, kX, kW>();
    }
    background.step();
  }
  end_sums<0>(b);
  if constexpr (kTwoTiles) end_sums<1>(b);
}

/// Moves the part of a tile of sums that lies inside y between scratch and y.
void copy_edge(const PackedTask& t, int64_t m, int64_t tile, float* scratch, bool into_y) {
  const int64_t left = t.n - tile * 16;
  for (int64_t r = 0; r < 16 && m + r < t.m; ++r) {
    float* y = t.y + (m + r) * t.y_stride + tile * 16;
    into_y ? store(y, load(scratch + 16 * r), left) : store(scratch + 16 * r, load(y, left));
  }
}

/// A tile of tokens against a panel expanded at w. Between parts of K and at y's edges, sums wait in `slot`.
void run_block(const PackedBf16Task& task, int64_t token_tile, const Panel& panel, const uint8_t* w, float* slot,
               Background& background) {
  const PackedTask& t = task.packed;
  const int64_t m = token_tile * 16;
  const bool first = panel.u0 == 0, last = panel.u0 + panel.units == t.units;
  Block b{.x = reinterpret_cast<const uint8_t*>(task.x) + (token_tile * t.units + panel.u0) * kTile,
          .units = panel.units};
  b.begin = !first || task.accumulate ? Begin::Memory : t.bias != nullptr ? Begin::Bias : Begin::Zero;
  alignas(64) float bias[2][16];
  bool edge[2] = {};
  for (int j = 0; j < panel.tiles; ++j) {
    const int64_t tile = panel.tile[j];
    b.w[j] = w + j * kBf16PartUnits * kTile;
    if (b.begin == Begin::Bias) store(bias[j], load(t.bias + tile * 16, t.n - tile * 16));
    b.bias[j] = bias[j];
    edge[j] = !is_gated(task) && (m + 16 > t.m || (tile + 1) * 16 > t.n);
    const Sums here = {slot + 256 * j, 64};
    const Sums there = edge[j] || is_gated(task) ? here : Sums{t.y + m * t.y_stride + tile * 16, t.y_stride * 4};
    b.from[j] = first ? there : here;
    b.to[j] = last ? there : here;
    if (edge[j] && first && task.accumulate) copy_edge(t, m, tile, here.at, false);
  }
  panel.tiles > 1 ? multiply<true>(b, background) : multiply<false>(b, background);
  for (int j = 0; last && j < panel.tiles; ++j)
    if (edge[j]) copy_edge(t, m, panel.tile[j], b.to[j].at, true);
}

}  // namespace

void packed_bf16(const PackedBf16Task& task, int64_t token_tile0, int64_t token_tile1, int64_t tile0, int64_t tile1,
                 void* scratch) {
  const int64_t units = task.packed.units, fitting = kChunkBytes / (units * kTile);
  const int64_t chunk = fitting < 1 ? 1 : fitting < kBf16ChunkTiles ? fitting : kBf16ChunkTiles;
  const Panels panels(task, tile0, tile1);
  auto* w = static_cast<uint8_t*>(scratch);
  uint8_t* const buffers[2] = {w, w + kBf16PanelBytes};
  auto* slots = reinterpret_cast<float*>(w + 2 * kBf16PanelBytes);
  Background background(task);
  configure();
  background.expand_now(panels[0], buffers[0]);
  int64_t done = 0;  // panels
  for (int64_t begin = token_tile0; begin < token_tile1; begin += chunk) {
    const int64_t end = begin + chunk < token_tile1 ? begin + chunk : token_tile1;
    for (int64_t i = 0; i < panels.count(); ++i, ++done) {
      const Panel panel = panels[i];
      const bool more = i + 1 < panels.count() || end < token_tile1;
      if (more)
        background.expand(panels[(i + 1) % panels.count()], buffers[(done + 1) % 2], (end - begin) * panel.units);
      for (int64_t token_tile = begin; token_tile < end; ++token_tile) {
        // With one part of K two slots take turns: the background reads one while the other fills.
        float* slot = slots + 512 * (panels.parts > 1 ? token_tile - begin : (token_tile - begin) % 2);
        run_block(task, token_tile, panel, buffers[done % 2], slot, background);
        if (!is_gated(task) || panel.u0 + panel.units < units) continue;
        background.finish_gates();
        background.gate(slot, token_tile, panel.tile[0], panel.units);
      }
    }
  }
  background.finish_gates();
  tile_release();
}

void round_tile(const RoundTask& t, int64_t tile) {
  const int64_t units = (t.k + 31) / 32;
  uint16_t* y = t.y + tile * units * 512;
  for (int64_t r = 0; r < 16; ++r) {
    const int64_t row = tile * 16 + r, length = row < t.rows ? t.k : 0;
    const float* x = t.x + (row < t.rows ? row * t.x_stride : 0);
    const F inverse = t.norm && length > 0 ? inverse_rms(x, length, t.epsilon) : set(1.0f);
    const auto value = [&](int64_t i) HALFTONE_INLINE {
      const F v = mul(load(x + i, length - i), inverse);
      return t.norm_weight != nullptr ? mul(v, load(t.norm_weight + i, length - i)) : v;
    };
    for (int64_t u = 0; u < units; ++u)
      _mm512_store_si512(y + u * 512 + r * 32, (I)_mm512_cvtne2ps_pbh(value(u * 32 + 16), value(u * 32)));
  }
}

}  // namespace halftone::kernels::amx
