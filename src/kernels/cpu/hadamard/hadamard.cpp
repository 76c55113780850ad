// Tables and launchers of the rotations. The bases are prepared once, in the layout that the kernels read.
#include "kernels/api/hadamard.h"

#include <fmt/format.h>

#include <array>
#include <vector>

#include "kernels/cpu/hadamard/hadamard_kernel.h"
#include "numerics/hadamard.h"
#include "numerics/reference/hadamard.h"

namespace halftone::kernels {
namespace {

constexpr int64_t kInlineElements = 1 << 13;  // less work than this is not worth waking a thread
constexpr int64_t kMaxElements = int64_t{1} << 40;

int64_t grain_of(int64_t row_cost) { return std::max<int64_t>(1, kInlineElements / row_cost); }

struct PreparedBase {
  BaseKind kind = BaseKind::None;
  std::vector<float> entries;  ///< column-major
};

PreparedBase prepare(int64_t order, bool transposed) {
  if (order == 1) return {};
  const auto h = hadamard_base(order);
  const auto entry = [&](int64_t r, int64_t c) { return transposed ? h[c * order + r] : h[r * order + c]; };
  const bool conference = order == 28 || order == 36;  // Paley's construction II
  const int64_t size = conference ? order / 2 : order;
  PreparedBase base{conference ? BaseKind::Conference : BaseKind::Matrix, {}};
  for (int64_t c = 0; c < size; ++c)
    for (int64_t r = 0; r < size; ++r) {
      const int value = !conference ? entry(r, c) : r == c ? 0 : entry(2 * r, 2 * c);
      base.entries.push_back(static_cast<float>(value));
    }
  return base;
}

constexpr std::array<int64_t, 5> kOrders = {1, 12, 20, 28, 36};  // 40 * 2^k is 20 * 2^(k+1)

const PreparedBase& prepared_base(int64_t order, bool transposed) {
  static const auto bases = [] {
    std::array<std::array<PreparedBase, 2>, kOrders.size()> all;
    for (size_t i = 0; i < all.size(); ++i) all[i] = {prepare(kOrders[i], false), prepare(kOrders[i], true)};
    return all;
  }();
  size_t at = 0;
  while (kOrders[at] != order) ++at;
  return bases[at][transposed ? 1 : 0];
}

template <const HadamardKernel& Kernel>
void run_hadamard(ExecContext& context, const HadamardProblem& p, const HadamardArgs& a) {
  const int64_t order = hadamard_base_order(p.block);
  const PreparedBase& base = prepared_base(order, p.transposed);
  const HadamardRow row{.n = p.n,
                        .segment = p.block / order,
                        .order = order,
                        .kind = base.kind,
                        .base = base.entries.data(),
                        .scale = a.scale,
                        .before = a.before,
                        .after = a.after};
  context.pool.parallel_for(p.rows, grain_of(p.n), [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) Kernel.transform(row, a.x + r * a.x_stride, a.y + r * a.y_stride);
  });
}

void reference_hadamard(ExecContext&, const HadamardProblem& p, const HadamardArgs& a) {
  reference::hadamard(p.rows, p.n, p.block, p.transposed, a.x, a.x_stride, a.before, a.after, a.scale, a.y, a.y_stride);
}

Rejection malformed(const HadamardProblem& p) {
  if (p.rows < 1 || p.n < 1) return "rows and n must be at least 1";
  if (hadamard_base_order(p.block) == 0)
    return fmt::format("no Hadamard matrix of order {}; orders are 2^k times 1, 12, 20, 28, 36 or 40", p.block);
  if (p.n % p.block != 0) return fmt::format("block {} does not divide n {}", p.block, p.n);
  return {};
}

constexpr KernelEntry<HadamardProblem, HadamardArgs> kHadamards[] = {
    {"avx512", Isa::Avx512, malformed, run_hadamard<avx512::kHadamard>},
    {"avx2", Isa::Avx2, malformed, run_hadamard<avx2::kHadamard>},
    {"reference", Isa::Scalar, malformed, reference_hadamard},
};

template <const HadamardKernel& Kernel>
void run_kronecker(ExecContext& context, const KroneckerProblem& p, const KroneckerArgs& a) {
  const int64_t n = p.a * p.b;
  auto* scratch =
      static_cast<float*>(context.workspace.reserve(static_cast<size_t>(n * context.pool.threads()) * sizeof(float)));
  context.pool.parallel_for(p.rows, grain_of(n * (p.a + p.b) / 8 + 1), [&](int64_t begin, int64_t end, int worker) {
    for (int64_t r = begin; r < end; ++r)
      Kernel.kronecker(p.a, p.b, a.left, a.right, a.x + r * a.x_stride, scratch + worker * n, a.y + r * a.y_stride);
  });
}

void reference_kronecker(ExecContext&, const KroneckerProblem& p, const KroneckerArgs& a) {
  reference::kronecker(p.rows, p.a, p.b, a.left, a.right, a.x, a.x_stride, a.y, a.y_stride);
}

Rejection malformed(const KroneckerProblem& p) {
  if (p.rows < 1 || p.a < 1 || p.b < 1) return "rows, a and b must be at least 1";
  if (p.a > kMaxElements / p.b) return fmt::format("a * b above {}", kMaxElements);
  return {};
}

constexpr KernelEntry<KroneckerProblem, KroneckerArgs> kKroneckers[] = {
    {"avx512", Isa::Avx512, malformed, run_kronecker<avx512::kHadamard>},
    {"avx2", Isa::Avx2, malformed, run_kronecker<avx2::kHadamard>},
    {"reference", Isa::Scalar, malformed, reference_kronecker},
};

/// Checks what both launchers have in common; n is the length of a row.
template <class Problem, class Args>
void check(const char* name, const Problem& p, const Args& a, int64_t n) {
  if (a.x == nullptr || a.y == nullptr) throw InvalidArgument("{} {}: x and y must not be null", name, to_string(p));
  if (p.rows > 1 && (a.x_stride < n || a.y_stride < n))
    throw InvalidArgument("{} {}: x_stride {} and y_stride {} must be at least {}", name, to_string(p), a.x_stride,
                          a.y_stride, n);
  if (a.x == a.y && p.rows > 1 && a.x_stride != a.y_stride)
    throw InvalidArgument("{} {}: in place, x_stride {} and y_stride {} must be equal", name, to_string(p), a.x_stride,
                          a.y_stride);
}

}  // namespace

std::string to_string(const HadamardProblem& p) {
  return fmt::format("rows={} n={} block={}{}", p.rows, p.n, p.block, p.transposed ? " transposed" : "");
}
std::string to_string(const KroneckerProblem& p) { return fmt::format("rows={} a={} b={}", p.rows, p.a, p.b); }

KernelTable<HadamardProblem, HadamardArgs> hadamard_table() { return kHadamards; }
KernelTable<KroneckerProblem, KroneckerArgs> kronecker_table() { return kKroneckers; }

void hadamard(ExecContext& context, const HadamardProblem& p, const HadamardArgs& a) {
  if (const Rejection why = malformed(p); !why.empty()) throw InvalidArgument("hadamard {}: {}", to_string(p), why);
  check("hadamard", p, a, p.n);
  run_selected("hadamard", hadamard_table(), context, p, a);
}

void kronecker(ExecContext& context, const KroneckerProblem& p, const KroneckerArgs& a) {
  if (const Rejection why = malformed(p); !why.empty()) throw InvalidArgument("kronecker {}: {}", to_string(p), why);
  check("kronecker", p, a, p.a * p.b);
  if (a.left == nullptr || a.right == nullptr)
    throw InvalidArgument("kronecker {}: left and right must not be null", to_string(p));
  run_selected("kronecker", kronecker_table(), context, p, a);
}

}  // namespace halftone::kernels
