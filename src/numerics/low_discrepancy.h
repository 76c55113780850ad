// Low-discrepancy points: Sobol' nets in natural order with random digital shift or Owen scrambling, and additive
// recurrences, as 32-bit integers that rounding can use in place of random bits.
//
// Sobol' points are the XOR of direction numbers over the set bits of the index (Joe & Kuo, SIAM J. Sci. Comput. 30,
// 2008, whose numbers the table of the first 16 dimensions holds). A shift or scramble drawn afresh each step makes
// every single point uniform, so what is rounded with them stays unbiased, while the first 2^m points of a dimension
// still lie one in each interval [i, i+1) / 2^m. Owen scrambling (nested uniform) is stateless here: the random bit of
// a tree node is a hash of seed, dimension and the path to it, instead of a stored tree.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <span>

#include "base/error.h"
#include "base/philox.h"

namespace halftone {

inline constexpr int kSobolDimensions = 16;

/// How a net is randomised. A net that is not starts with the origin, and its points are not random at all.
enum class Scramble : uint8_t {
  None,
  DigitalShift,  ///< XOR with 32 random bits a dimension: Owen's error rate is lost, the net property is not
  Owen,          ///< each bit flipped by a random bit of its own for every path of the bits before it
};

namespace low_discrepancy_detail {

/// A primitive polynomial x^degree + a_1 x^(degree-1) + ... + 1, inner coefficients as bits of `inner`, and the odd
/// starting numbers m_1 .. m_degree.
struct SobolRow {
  int degree;
  uint32_t inner;
  std::array<uint32_t, 6> start;
};

inline constexpr std::array<SobolRow, kSobolDimensions - 1> kSobolRows = {{{1, 0, {1}},
                                                                           {2, 1, {1, 3}},
                                                                           {3, 1, {1, 3, 1}},
                                                                           {3, 2, {1, 1, 1}},
                                                                           {4, 1, {1, 1, 3, 3}},
                                                                           {4, 4, {1, 3, 5, 13}},
                                                                           {5, 2, {1, 1, 5, 5, 17}},
                                                                           {5, 4, {1, 1, 5, 5, 5}},
                                                                           {5, 7, {1, 1, 7, 11, 19}},
                                                                           {5, 11, {1, 1, 5, 1, 1}},
                                                                           {5, 13, {1, 1, 1, 3, 11}},
                                                                           {5, 14, {1, 3, 5, 5, 31}},
                                                                           {6, 1, {1, 3, 3, 9, 7, 49}},
                                                                           {6, 13, {1, 1, 1, 15, 21, 21}},
                                                                           {6, 16, {1, 3, 1, 13, 27, 49}}}};

/// Column k of the generator matrix of `dimension`, most significant bit first.
constexpr std::array<uint32_t, 32> sobol_columns(int dimension) {
  std::array<uint32_t, 32> columns{};
  if (dimension == 0) {
    for (int k = 0; k < 32; ++k) columns[k] = uint32_t{1} << (31 - k);
    return columns;
  }
  const SobolRow& row = kSobolRows[dimension - 1];
  for (int k = 0; k < 32; ++k) {
    if (k < row.degree) {
      columns[k] = row.start[k] << (31 - k);
      continue;
    }
    columns[k] = columns[k - row.degree] ^ columns[k - row.degree] >> row.degree;
    for (int j = 1; j < row.degree; ++j)
      if ((row.inner >> (row.degree - 1 - j) & 1u) != 0) columns[k] ^= columns[k - j];
  }
  return columns;
}

/// A bijective mixing of 64 bits (Stafford's variant 13 of the murmur finaliser).
constexpr uint64_t mix(uint64_t x) {
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
  x = (x ^ x >> 27) * 0x94D049BB133111EBu;
  return x ^ x >> 31;
}

}  // namespace low_discrepancy_detail

/// One dimension of a Sobol' sequence, 2^32 points, as 32-bit integers (the point times 2^32).
class Sobol {
 public:
  /// `dimension` 0 .. kSobolDimensions - 1; throws InvalidArgument otherwise. Equal seeds give equal points; for a
  /// fresh randomisation, take another seed. Scramble::None ignores the seed.
  explicit Sobol(int dimension, Scramble scramble = Scramble::None, uint64_t seed = 0) : scramble_(scramble) {
    if (dimension < 0 || dimension >= kSobolDimensions)
      throw InvalidArgument("there is no Sobol dimension {}; dimensions are 0 .. {}", dimension, kSobolDimensions - 1);
    columns_ = low_discrepancy_detail::sobol_columns(dimension);
    const auto words = philox4x32({static_cast<uint32_t>(dimension), 0, 0, 0},
                                  {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
    shift_ = scramble == Scramble::DigitalShift ? words[0] : 0;
    tree_ = uint64_t{words[1]} << 32 | words[2];
  }

  /// Point `index` times 2^32.
  uint32_t bits(uint32_t index) const {
    uint32_t point = 0;
    for (; index != 0; index &= index - 1) point ^= columns_[std::countr_zero(index)];
    return randomise(point);
  }
  /// Point `index`, rounded down to 24 bits: in [0, 1), exact in f32.
  float unit(uint32_t index) const { return static_cast<float>(bits(index) >> 8) * 0x1p-24f; }

  /// Points first .. first + out.size() - 1 (modulo 2^32), one XOR each: equal to bits() of each index.
  void fill(uint32_t first, std::span<uint32_t> out) const {
    std::array<uint32_t, 33> steps{};  // steps[k]: XOR of columns 0 .. k, what changes when bit k of the index rises
    for (int k = 0; k < 32; ++k) steps[k] = columns_[k] ^ (k > 0 ? steps[k - 1] : 0);
    steps[32] = steps[31];  // the index wraps to 0
    uint32_t point = 0;
    for (uint32_t i = first; i != 0; i &= i - 1) point ^= columns_[std::countr_zero(i)];
    uint32_t index = first;
    for (uint32_t& value : out) {
      value = randomise(point);
      point ^= steps[std::countr_zero(++index)];
    }
  }

 private:
  uint32_t randomise(uint32_t point) const { return scramble_ == Scramble::Owen ? owen(point) : point ^ shift_; }

  /// Bit b (from the top) is flipped by one hash bit of (seed, dimension, b, the b bits of the point above it).
  uint32_t owen(uint32_t point) const {
    uint32_t flips = 0;
    for (int b = 0; b < 32; ++b) {
      const uint64_t path = b == 0 ? 0 : point >> (32 - b);
      const uint64_t node = (uint64_t{1} << b) + path;  // heap order: every node of the binary tree has its own number
      flips |= static_cast<uint32_t>(low_discrepancy_detail::mix(tree_ ^ low_discrepancy_detail::mix(node)) >> 63)
               << (31 - b);
    }
    return point ^ flips;
  }

  std::array<uint32_t, 32> columns_{};
  Scramble scramble_;
  uint32_t shift_ = 0;
  uint64_t tree_ = 0;
};

/// Dimension j of the d-dimensional additive recurrence x_i = (shift + i / g^(j+1)) mod 1, where g > 1 solves
/// g^(d+1) = g + 1 (Roberts' R_d; the golden-ratio sequence for d = 1): one multiplication a point, no table.
class AdditiveRecurrence {
 public:
  /// 0 <= j < d <= 16; throws InvalidArgument. The shift is uniform, drawn from `seed`; 0 for seed 0.
  explicit AdditiveRecurrence(int j = 0, int d = 1, uint64_t seed = 0) {
    if (d < 1 || d > 16 || j < 0 || j >= d)
      throw InvalidArgument("there is no additive recurrence {} of {}; counts are 1 .. 16 and numbers below them", j,
                            d);
    double g = 1.5;  // Newton from above the root; only + - * /, so every machine finds the same bits
    for (int step = 0; step < 64; ++step) {
      double power = 1;
      for (int i = 0; i < d; ++i) power *= g;
      g -= (power * g - g - 1) / ((d + 1) * power - 1);
    }
    double alpha = 1;
    for (int i = 0; i <= j; ++i) alpha /= g;
    alpha_ = static_cast<uint64_t>(alpha * 0x1p64) | 1;  // odd: the integers do not repeat before 2^64
    if (seed != 0) shift_ = low_discrepancy_detail::mix(seed + 0x9E3779B97F4A7C15u * static_cast<uint64_t>(j + 1));
  }

  /// Point `index` times 2^32, rounded down.
  uint32_t bits(uint64_t index) const { return static_cast<uint32_t>((shift_ + index * alpha_) >> 32); }
  float unit(uint64_t index) const { return static_cast<float>(bits(index) >> 8) * 0x1p-24f; }

 private:
  uint64_t alpha_;
  uint64_t shift_ = 0;
};

/// The seed of a stream of dither for one use: another for every step, tensor and role, the same when a run replays.
constexpr uint64_t dither_seed(uint64_t seed, uint64_t step, uint64_t tensor, uint64_t role) {
  using low_discrepancy_detail::mix;
  return mix(mix(mix(mix(seed + 1) + step) + tensor) + role);
}

}  // namespace halftone
