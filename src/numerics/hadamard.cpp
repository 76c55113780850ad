// Paley constructions and the fast transform; see hadamard.h.
#include "numerics/hadamard.h"

#include <array>
#include <cmath>

#include "base/error.h"
#include "base/philox.h"

namespace halftone {
namespace {

constexpr std::array<int64_t, 6> kBaseOrders = {1, 12, 20, 28, 36, 40};

/// Quadratic character of `a` modulo the odd prime q: 0, +1 for squares, -1 otherwise.
int character(int64_t a, int64_t q) {
  a = (a % q + q) % q;
  if (a == 0) return 0;
  for (int64_t root = 1; root < q; ++root)
    if (root * root % q == a) return 1;
  return -1;
}

/// Paley I, q = 3 mod 4: H = I + S with S skew, of order q + 1.
std::vector<int8_t> paley_one(int64_t q) {
  const int64_t n = q + 1;
  std::vector<int8_t> h(n * n);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) {
      int entry = i == 0 ? 1 : j == 0 ? -1 : character(i - j, q);
      if (i == j) entry = 1;
      h[i * n + j] = static_cast<int8_t>(entry);
    }
  return h;
}

/// Paley II, q = 1 mod 4: the symmetric conference matrix of order q + 1 with 0 and +-1 replaced by 2 x 2 blocks.
std::vector<int8_t> paley_two(int64_t q) {
  const int64_t half = q + 1, n = 2 * half;
  std::vector<int8_t> h(n * n);
  for (int64_t i = 0; i < half; ++i)
    for (int64_t j = 0; j < half; ++j) {
      const int entry = i == j ? 0 : (i == 0 || j == 0) ? 1 : character(i - j, q);
      const std::array<int, 4> block =
          entry == 0 ? std::array<int, 4>{1, -1, -1, -1} : std::array<int, 4>{entry, entry, entry, -entry};
      for (int a = 0; a < 2; ++a)
        for (int b = 0; b < 2; ++b) h[(2 * i + a) * n + 2 * j + b] = static_cast<int8_t>(block[2 * a + b]);
    }
  return h;
}

std::vector<int8_t> doubled(const std::vector<int8_t>& h, int64_t n) {
  std::vector<int8_t> result(4 * n * n);
  for (int64_t i = 0; i < 2 * n; ++i)
    for (int64_t j = 0; j < 2 * n; ++j) {
      const int8_t sign = i >= n && j >= n ? -1 : 1;
      result[i * 2 * n + j] = static_cast<int8_t>(sign * h[(i % n) * n + j % n]);
    }
  return result;
}

bool is_power_of_two(int64_t value) { return value > 0 && (value & (value - 1)) == 0; }

}  // namespace

int64_t hadamard_base_order(int64_t k) {
  for (const int64_t base : kBaseOrders)
    if (k > 0 && k % base == 0 && is_power_of_two(k / base)) return base;
  return 0;
}

std::vector<int8_t> hadamard_base(int64_t base) {
  switch (base) {
    case 1:
      return {1};
    case 12:
      return paley_one(11);
    case 20:
      return paley_one(19);
    case 28:
      return paley_two(13);
    case 36:
      return paley_two(17);
    case 40:
      return doubled(paley_one(19), 20);
    default:
      throw InvalidArgument("there is no Hadamard base of order {}; use 1, 12, 20, 28, 36 or 40", base);
  }
}

namespace {

/// The bases, built once.
const std::vector<int8_t>& cached_base(int64_t order) {
  static const auto bases = [] {
    std::array<std::vector<int8_t>, kBaseOrders.size()> all;
    for (size_t i = 0; i < all.size(); ++i) all[i] = hadamard_base(kBaseOrders[i]);
    return all;
  }();
  for (size_t i = 0; i < bases.size(); ++i)
    if (kBaseOrders[i] == order) return bases[i];
  throw InvalidArgument("there is no Hadamard base of order {}", order);
}

/// H = base (x) Sylvester(2^n), times `scale`: butterflies inside each of the segments, then the base across them.
template <class T>
void transform_block(std::span<T> row, const std::vector<int8_t>& base, int64_t order, bool transposed, T scale) {
  const auto size = static_cast<int64_t>(row.size()), segment = size / order;
  for (int64_t half = 1; half < segment; half *= 2)
    for (int64_t start = 0; start < size; start += 2 * half)
      for (int64_t i = start; i < start + half; ++i) {
        const T a = row[i], b = row[i + half];
        row[i] = a + b;
        row[i + half] = a - b;
      }
  std::array<T, 40> mixed;
  for (int64_t i = 0; i < segment; ++i) {
    for (int64_t r = 0; r < order; ++r) {
      T sum = 0;
      for (int64_t c = 0; c < order; ++c) {
        const int8_t entry = transposed ? base[c * order + r] : base[r * order + c];
        sum += static_cast<T>(entry) * row[c * segment + i];
      }
      mixed[r] = sum * scale;
    }
    for (int64_t r = 0; r < order; ++r) row[r * segment + i] = mixed[r];
  }
}

template <class T>
void transform_row(std::span<T> row, int64_t block, bool transposed, T scale) {
  const int64_t order = hadamard_base_order(block);
  if (order == 0)
    throw InvalidArgument("no Hadamard transform of length {}; lengths are 2^n times 1, 12, 20, 28, 36 or 40", block);
  if (static_cast<int64_t>(row.size()) % block != 0)
    throw InvalidArgument("a row of {} is no multiple of Hadamard blocks of {}", row.size(), block);
  const auto& base = cached_base(order);
  for (size_t at = 0; at < row.size(); at += static_cast<size_t>(block))
    transform_block(row.subspan(at, static_cast<size_t>(block)), base, order, transposed, scale);
}

}  // namespace

void hadamard_in_place(std::span<float> row, int64_t block, bool transposed) {
  transform_row(row, block, transposed, 1.0f);
}
void hadamard_in_place(std::span<double> row, int64_t block, bool transposed) {
  transform_row(row, block, transposed, 1.0);
}

RandomHadamard::RandomHadamard(int64_t k, uint64_t seed, int64_t block)
    : size_(k), block_(block == 0 ? k : block), seed_(seed), signs_(k > 0 ? k : 0, int8_t{1}) {
  if (hadamard_base_order(block_) == 0)
    throw Unsupported("no Hadamard transform of length {}; lengths are 2^n times 1, 12, 20, 28, 36 or 40", block_);
  if (k < 1 || k % block_ != 0)
    throw InvalidArgument("a length of {} is no multiple of Hadamard blocks of {}; take a block that divides it", k,
                          block_);
  if (seed_ == 0) return;
  PhiloxStream random(seed_);
  for (auto& sign : signs_) sign = (random() & 1u) != 0 ? int8_t{1} : int8_t{-1};
}

template <class T>
void RandomHadamard::transform(std::span<T> row, bool inverse) const {
  if (static_cast<int64_t>(row.size()) != size_)
    throw InvalidArgument("a Hadamard transform of length {} got a row of {}", size_, row.size());
  if (!inverse)
    for (int64_t i = 0; i < size_; ++i) row[i] *= static_cast<T>(signs_[i]);
  transform_row(row, block_, inverse, static_cast<T>(1.0 / std::sqrt(static_cast<double>(block_))));
  if (inverse)
    for (int64_t i = 0; i < size_; ++i) row[i] *= static_cast<T>(signs_[i]);
}

void RandomHadamard::apply(std::span<float> row) const { transform(row, false); }
void RandomHadamard::apply(std::span<double> row) const { transform(row, false); }
void RandomHadamard::apply_inverse(std::span<float> row) const { transform(row, true); }
void RandomHadamard::apply_inverse(std::span<double> row) const { transform(row, true); }

}  // namespace halftone
