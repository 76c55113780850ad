// Cases of the rotation kernels; see bench_rotations.h.
#include "engine/bench/bench_rotations.h"

#include <cmath>

#include "base/philox.h"
#include "engine/bench/kernel_case.h"
#include "kernels/api/hadamard.h"
#include "numerics/hadamard.h"
#include "numerics/kronecker.h"

namespace halftone::engine {
namespace {

constexpr double kUnit = 0x1p-24;  // relative error of one f32 rounding

struct RotationOperands {
  std::vector<float> x, y, first, second;
};

/// Values in [-1, 1).
std::vector<float> random_values(int64_t count, uint64_t seed) {
  PhiloxStream random(seed);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = 2 * random.uniform() - 1;
  return values;
}

std::shared_ptr<RotationOperands> operands_of(int64_t count, std::vector<float> first, std::vector<float> second) {
  auto o = std::make_shared<RotationOperands>();
  o->x = random_values(count, 1);
  o->y.resize(static_cast<size_t>(count));
  o->first = std::move(first);
  o->second = std::move(second);
  return o;
}

using HadamardCase = KernelCase<kernels::HadamardProblem, kernels::HadamardArgs>;
HadamardCase hadamard_case(int64_t rows, int64_t n, int64_t block) {
  const RandomHadamard rotation(n, 3, block);
  const auto o = operands_of(rows * n, {rotation.signs().begin(), rotation.signs().end()}, {});
  const auto base = static_cast<double>(hadamard_base_order(block));
  const double stages = std::log2(static_cast<double>(block) / base) + (base > 1 ? std::pow(base, 1.5) : 0);
  return {.problem = {rows, n, block, false},
          .args = {{.x = o->x.data(),
                    .x_stride = n,
                    .before = o->first.data(),
                    .scale = 1 / std::sqrt(static_cast<float>(block)),
                    .y = o->y.data(),
                    .y_stride = n}},
          .output = o->y,
          // The error's norm over a block bounds each element; |x| <= sqrt(block), and the map keeps it.
          .tolerance = (stages + 4) * kUnit * std::sqrt(static_cast<double>(block)),
          .bytes = 8.0 * static_cast<double>(rows * n),
          .flops = std::log2(static_cast<double>(block) / base) * static_cast<double>(rows * n) +
                   base * static_cast<double>(rows * n),
          .owner = o};
}

using KroneckerCase = KernelCase<kernels::KroneckerProblem, kernels::KroneckerArgs>;
KroneckerCase kronecker_case(int64_t rows, int64_t a, int64_t b) {
  const int64_t n = a * b;
  const auto o = operands_of(rows * n, random_values(a * a, 4), random_values(b * b, 5));
  return {.problem = {rows, a, b},
          .args = {{.x = o->x.data(),
                    .x_stride = n,
                    .left = o->first.data(),
                    .right = o->second.data(),
                    .y = o->y.data(),
                    .y_stride = n}},
          .output = o->y,
          .tolerance = static_cast<double>(a + b + 1) * kUnit * static_cast<double>(n),  // sums of n values within 1
          .bytes = 8.0 * static_cast<double>(rows * n),
          .flops = 2.0 * static_cast<double>(rows * n * (a + b)),
          .owner = o};
}

}  // namespace

void bench_rotations(ExecContext& exec, int rounds, const std::string& filter, std::vector<KernelTiming>& timings) {
  constexpr int64_t kBlocks[][2] = {{576, 576}, {1536, 1536}, {2048, 2048}, {2048, 128}};  // n, block
  for (const int64_t rows : {1, 512}) {
    for (const auto& [n, block] : kBlocks)
      bench_case(exec, "hadamard", kernels::hadamard_table(), hadamard_case(3, n, block), hadamard_case(rows, n, block),
                 rounds, filter, timings);
    for (const int64_t n : {576, 1536}) {
      const KroneckerSplit split = kronecker_split(n);
      bench_case(exec, "kronecker", kernels::kronecker_table(), kronecker_case(3, split.left, split.right),
                 kronecker_case(rows, split.left, split.right), rounds, filter, timings);
    }
  }
}

}  // namespace halftone::engine
