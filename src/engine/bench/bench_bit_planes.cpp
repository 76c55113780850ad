// Cases of the bit-plane GEMM; see bench_bit_planes.h.
#include "engine/bench/bench_bit_planes.h"

#include <cmath>

#include "base/philox.h"
#include "engine/bench/kernel_case.h"
#include "kernels/api/bit_plane.h"

namespace halftone::engine {
namespace {

constexpr double kUnit = 0x1p-24;  // relative error of one f32 rounding
constexpr int64_t kRows = 1536, kColumns = 576;

struct alignas(64) Line {
  uint64_t words[8];
};

struct Operands {
  std::vector<Line> w;
  std::vector<uint64_t> x;
  std::vector<float> w_scales, x_scales, y;
  std::vector<uint16_t> w_offsets, x_offsets;
  std::vector<int32_t> w_sums, x_sums;
};

std::vector<uint8_t> random_codes(int64_t count, int bits, uint64_t seed) {
  PhiloxStream random(seed);
  std::vector<uint8_t> codes(static_cast<size_t>(count));
  for (uint8_t& code : codes) code = static_cast<uint8_t>(random() & ((1u << bits) - 1));
  return codes;
}

using PlaneCase = KernelCase<kernels::BitPlaneProblem, kernels::BitPlaneArgs>;

/// Codes symmetric about 0 with a scale a row, so that no correction vanishes.
PlaneCase plane_case(int64_t m, int64_t n, int p, int q) {
  const BitPlanes weights = {PlaneOrder::Weights, p, n, kColumns}, inputs = {PlaneOrder::Activations, q, m, kColumns};
  auto o = std::make_shared<Operands>();
  const auto w = random_codes(n * kColumns, p, 1), x = random_codes(m * kColumns, q, 2);
  o->w.resize(static_cast<size_t>(weights.size() / 8)), o->x.resize(static_cast<size_t>(inputs.size()));
  pack_bit_planes(weights, w.data(), o->w.data()->words);
  pack_bit_planes(inputs, x.data(), o->x.data());
  const auto rows = static_cast<size_t>(weights.tiles() * kPlaneRows), tokens = static_cast<size_t>(m);
  o->w_scales.assign(rows, 1), o->x_scales.assign(tokens, 1);
  o->w_offsets.assign(rows, static_cast<uint16_t>((1 << p) - 1));
  o->x_offsets.assign(tokens, static_cast<uint16_t>((1 << q) - 1));
  std::vector<int32_t> sums(static_cast<size_t>(n));
  sum_codes(n, kColumns, 0, w.data(), sums.data());
  o->w_sums.resize(rows), o->x_sums.resize(tokens);
  tile_plane_values(n, 1, sums.data(), o->w_sums.data());
  sum_codes(m, kColumns, 0, x.data(), o->x_sums.data());
  o->y.resize(static_cast<size_t>(m * n));
  return {.problem = {.m = m, .n = n, .k = kColumns, .weight_bits = p, .activation_bits = q},
          .args = {{.x = {o->x.data(), o->x_scales.data(), o->x_offsets.data(), o->x_sums.data()},
                    .w = {o->w.data()->words, o->w_scales.data(), o->w_offsets.data(), o->w_sums.data()},
                    .y = o->y.data(),
                    .y_stride = n}},
          .output = o->y,
          // Exact integers: one rounding to f32 and two products.
          .tolerance = 4 * kUnit * std::exp2(p + q - 2) * static_cast<double>(kColumns),
          .bytes = 8.0 * static_cast<double>(weights.size() + inputs.size()) + 4.0 * static_cast<double>(m * n),
          .flops = 2.0 * static_cast<double>(m * n * kColumns),
          .owner = o};
}

}  // namespace

void bench_bit_planes(ExecContext& exec, int rounds, const std::string& filter, std::vector<KernelTiming>& timings) {
  constexpr int kWidths[][2] = {{1, 1}, {1, 8}, {2, 2}, {2, 4}, {2, 8}, {4, 4}, {4, 8}};
  for (const auto& [p, q] : kWidths)
    for (const int64_t m : {1, 8, 128})
      bench_case(exec, "bit_plane", kernels::bit_plane_table(), plane_case(std::min<int64_t>(m, 5), 67, p, q),
                 plane_case(m, kRows, p, q), rounds, filter, timings);
}

}  // namespace halftone::engine
