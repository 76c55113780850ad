// Every entry of bit_plane_table() against integer arithmetic on codes that the test makes itself: with scales that are
// powers of two the outputs are exact, with random ones they are bounded; and all entries agree in every bit.
#include "kernels/api/bit_plane.h"

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "kernel_test.h"

namespace halftone::kernels {
namespace {

enum class Scales { Ones, Random };

struct PlaneCase {
  BitPlaneProblem problem;
  int64_t group, groups, y_stride;
  std::vector<uint8_t> w, x;  // codes
  std::vector<uint16_t> w_offsets, x_offsets;
  std::vector<float> w_scales, x_scales, bias;

  PlaneCase(const BitPlaneProblem& p, uint32_t seed, Scales kind) : problem(p), random_(seed) {
    group = p.group > 0 ? p.group : p.k;
    groups = (p.k + group - 1) / group;
    y_stride = p.n + 3;
    const int top_w = (1 << p.weight_bits) - 1, top_x = (1 << p.activation_bits) - 1;
    const auto scale = [&] {
      return kind == Scales::Ones ? 1.0f : std::exp2(std::uniform_real_distribution<float>(-9, -4)(random_));
    };
    for (int64_t i = 0; i < p.n * p.k; ++i) w.push_back(static_cast<uint8_t>(integer(top_w)));
    for (int64_t i = 0; i < p.m * p.k; ++i) x.push_back(static_cast<uint8_t>(integer(top_x)));
    for (int64_t i = 0; i < p.n * groups; ++i) {
      w_offsets.push_back(static_cast<uint16_t>(integer(2 * top_w)));
      w_scales.push_back(scale());
    }
    for (int64_t m = 0; m < p.m; ++m) {
      x_offsets.push_back(static_cast<uint16_t>(integer(2 * top_x)));
      x_scales.push_back(scale());
    }
    if (p.n % 2 == 1)
      for (int64_t n = 0; n < p.n; ++n) bias.push_back(static_cast<float>(integer(64) - 32));
    pack();
  }

  BitPlaneArgs args(std::vector<float>& y) const {
    return {.x = {x_planes_.data(), x_scales.data(), x_offsets.data(), x_sums_.data()},
            .w = {w_planes_.data()->words, tiled_scales_.data(), tiled_offsets_.data(), tiled_sums_.data()},
            .bias = bias.empty() ? nullptr : bias.data(),
            .y = y.data(),
            .y_stride = y_stride};
  }

  void set_codes(int of_w, int of_x) {
    std::fill(w.begin(), w.end(), static_cast<uint8_t>(of_w)),
        std::fill(x.begin(), x.end(), static_cast<uint8_t>(of_x));
    pack();
  }
  void set_offsets(int of_w, int of_x) {
    std::fill(w_offsets.begin(), w_offsets.end(), static_cast<uint16_t>(of_w));
    std::fill(x_offsets.begin(), x_offsets.end(), static_cast<uint16_t>(of_x));
    pack();
  }

  /// 4 times the sum of the products of codes less half their offsets, of a group: an integer.
  int64_t fours(int64_t m, int64_t n, int64_t g) const {
    int64_t sum = 0;
    for (int64_t k = g * group; k < std::min(problem.k, (g + 1) * group); ++k)
      sum += static_cast<int64_t>(2 * x[at(m * problem.k + k)] - x_offsets[at(m)]) *
             (2 * w[at(n * problem.k + k)] - w_offsets[at(n * groups + g)]);
    return sum;
  }

  void check(const std::vector<float>& y, Scales kind) const {
    for (int64_t m = 0; m < problem.m; ++m)
      for (int64_t n = 0; n < problem.n; ++n) {
        double sum = 0, magnitude = 0;
        for (int64_t g = 0; g < groups; ++g) {
          const double term =
              0.25 * static_cast<double>(fours(m, n, g)) * static_cast<double>(w_scales[at(n * groups + g)]);
          sum += term, magnitude += std::fabs(term);
        }
        sum *= static_cast<double>(x_scales[at(m)]), magnitude *= static_cast<double>(x_scales[at(m)]);
        if (!bias.empty()) sum += bias[at(n)], magnitude += std::fabs(bias[at(n)]);
        const double got = y[at(m * y_stride + n)];
        if (kind == Scales::Ones && 4 * magnitude < 0x1p24)  // every step is exact
          ASSERT_EQ(got, sum) << "token " << m << " row " << n;
        else  // a group rounds its integer, its product and its sum; the end multiplies and adds
          ASSERT_NEAR(got, sum, (2.0 * static_cast<double>(groups) + 4) * 1.01 * kUnit * magnitude + kTiny)
              << "token " << m << " row " << n;
      }
  }

 private:
  static size_t at(int64_t index) { return static_cast<size_t>(index); }
  int integer(int top) { return std::uniform_int_distribution<int>(0, top)(random_); }

  void pack() {
    const BitPlaneProblem& p = problem;
    const BitPlanes weights = {PlaneOrder::Weights, p.weight_bits, p.n, p.k};
    const BitPlanes inputs = {PlaneOrder::Activations, p.activation_bits, p.m, p.k};
    w_planes_.resize(at(weights.size() / 8));
    x_planes_.resize(at(inputs.size()));
    pack_bit_planes(weights, w.data(), w_planes_.data()->words);
    pack_bit_planes(inputs, x.data(), x_planes_.data());
    x_sums_.resize(at(p.m * groups));
    sum_codes(p.m, p.k, p.group, x.data(), x_sums_.data());
    std::vector<int32_t> sums(at(p.n * groups));
    sum_codes(p.n, p.k, p.group, w.data(), sums.data());
    const size_t values = at(weights.tiles() * kPlaneRows * groups);
    tiled_sums_.resize(values), tiled_scales_.resize(values), tiled_offsets_.resize(values);
    tile_plane_values(p.n, groups, sums.data(), tiled_sums_.data());
    tile_plane_values(p.n, groups, w_scales.data(), tiled_scales_.data());
    tile_plane_values(p.n, groups, w_offsets.data(), tiled_offsets_.data());
  }

  struct alignas(64) Line {
    uint64_t words[8];
  };
  std::vector<Line> w_planes_;
  std::vector<uint64_t> x_planes_;
  std::vector<int32_t> x_sums_, tiled_sums_;
  std::vector<float> tiled_scales_;
  std::vector<uint16_t> tiled_offsets_;
  std::mt19937 random_;
};

void check_all(const BitPlaneProblem& p, uint32_t seed, Scales kind) {
  const PlaneCase c(p, seed, kind);
  std::vector<float> first;
  const int ran = for_each_entry(bit_plane_table(), p, [&](ExecContext& context, const auto& entry) {
    std::vector<float> y(static_cast<size_t>(p.m * c.y_stride), kPoison);
    entry.run(context, p, c.args(y));
    c.check(y, kind);
    for (int64_t m = 0; m < p.m; ++m)  // nothing past a row's end
      for (int64_t n = p.n; n < c.y_stride; ++n) ASSERT_TRUE(std::isnan(y[static_cast<size_t>(m * c.y_stride + n)]));
    if (entry.needs == Isa::Scalar) return;
    if (first.empty()) first = y;
    ASSERT_EQ(std::memcmp(first.data(), y.data(), y.size() * sizeof(float)), 0) << "bits differ between entries";
  });
  ASSERT_GE(ran, 1);
}

TEST(BitPlaneTest, EveryPairOfWidthsIsExact) {
  uint32_t seed = 1;
  for (int p = 1; p <= 8; ++p)
    for (int q = 1; q <= 8; ++q) {
      check_all({.m = 5, .n = 19, .k = 70, .weight_bits = p, .activation_bits = q}, seed++, Scales::Ones);
      if (HasFatalFailure()) return;
    }
}

TEST(BitPlaneTest, EveryEntryAgreesWithDoubleAndInEveryBit) {
  uint32_t seed = 100;
  constexpr int64_t kSizes[][2] = {{1, 1}, {8, 64}, {9, 63}, {17, 65}, {24, 200}, {31, 577}, {5, 1300}};
  constexpr int kWidths[][2] = {{1, 1}, {2, 8}, {3, 4}, {4, 8}, {5, 2}};
  for (const int64_t m : {1, 2, 3, 8, 129})
    for (const auto& [n, k] : kSizes)
      for (const auto& [p, q] : kWidths)
        for (const int64_t group : {0, 64, 128}) {
          check_all({.m = m, .n = n, .k = k, .weight_bits = p, .activation_bits = q, .group = group}, seed++,
                    Scales::Random);
          if (HasFatalFailure()) return;
        }
}

// All codes and offsets at their ends: +-(2^p - 1)(2^q - 1) K, just below 2^31 in units of a quarter.
TEST(BitPlaneTest, LargestSumsDoNotOverflow) {
  const BitPlaneProblem p = {.m = 1, .n = 8, .k = 140288, .weight_bits = 4, .activation_bits = 8};
  for (const bool w_high : {false, true})
    for (const bool x_high : {false, true}) {
      PlaneCase c(p, 3, Scales::Ones);
      c.set_codes(w_high ? 15 : 0, x_high ? 255 : 0);
      c.set_offsets(w_high ? 0 : 30, x_high ? 0 : 510);
      for_each_entry(bit_plane_table(), p, [&](ExecContext& context, const auto& entry) {
        std::vector<float> y(static_cast<size_t>(c.y_stride), kPoison);
        entry.run(context, p, c.args(y));
        const double exact = (w_high == x_high ? 1.0 : -1.0) * 15 * 255 * static_cast<double>(p.k);
        for (size_t n = 0; n < 8; ++n) ASSERT_NEAR(y[n], exact, 4 * kUnit * std::fabs(exact));
      });
    }
}

TEST(BitPlaneTest, MalformedProblemsNameTheRule) {
  OwnedExecContext exec(1);
  const BitPlaneProblem good = {.m = 2, .n = 8, .k = 64};
  const PlaneCase c(good, 1, Scales::Ones);
  std::vector<float> y(static_cast<size_t>(2 * c.y_stride));
  const auto message = [&](const auto& change) -> std::string {
    BitPlaneProblem p = good;
    BitPlaneArgs a = c.args(y);
    change(p, a);
    try {
      bit_plane_gemm(exec.get(), p, a);
    } catch (const InvalidArgument& error) {
      return error.what();
    }
    return "no error";
  };
  using P = BitPlaneProblem;
  using A = BitPlaneArgs;
  EXPECT_NE(message([](P& p, A&) { p.weight_bits = 9; }).find("1 to 8 bits"), std::string::npos);
  EXPECT_NE(message([](P& p, A&) { p.group = 32; }).find("multiple of 64"), std::string::npos);
  EXPECT_NE(message([](P& p, A&) { p.weight_bits = 8, p.k = 10000; }).find("overflow"), std::string::npos);
  EXPECT_NE(message([](P&, A& a) { a.w.sums = nullptr; }).find("w.sums"), std::string::npos);
  EXPECT_NE(message([](P&, A& a) { a.y_stride = 7; }).find("y_stride is 7"), std::string::npos);
  EXPECT_EQ(message([](P&, A&) {}), "no error");
}

}  // namespace
}  // namespace halftone::kernels
