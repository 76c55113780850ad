// Every entry of packed_bf16_table() against dense double arithmetic, and round_activations_table() against half.h.
#include "kernels/api/packed_bf16.h"

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "kernel_test.h"
#include "numerics/half.h"

namespace halftone::kernels {
namespace {

template <class T>
struct Aligned {
  explicit Aligned(int64_t n, T value = {}) : size(n), data(static_cast<T*>(std::aligned_alloc(64, bytes(n)))) {
    std::fill_n(data, n, value);
  }
  Aligned(const Aligned&) = delete;
  Aligned& operator=(const Aligned&) = delete;
  ~Aligned() { std::free(data); }
  static size_t bytes(int64_t n) { return (static_cast<size_t>(n) * sizeof(T) + 63) / 64 * 64; }
  int64_t size;
  T* data;
};

constexpr float kLeftAlone = 12345.0f;

/// Random operands: weights in the packed layout, activations in tiles, and both dense in double, already rounded.
struct Case {
  PackedGemmProblem p;
  bool accumulate;
  int64_t y_stride;
  std::vector<double> dense_x, dense_w;  // [M, K], [N, K]
  Aligned<uint16_t> x;
  Aligned<uint8_t> codes;
  std::vector<uint16_t> scales, mins;
  std::vector<float> row_scales, bias, before;
  std::vector<uint8_t> group_scales, group_mins, zeros;

  Case(const PackedBf16Problem& problem, uint32_t seed)
      : p(problem.gemm),
        accumulate(problem.accumulate),
        y_stride(p.n + 3),
        x(bf16_tiled_size(p.m, p.k)),
        codes(interleaved_bytes(p.weight, p.n, p.k)),
        random(seed) {
    for (int64_t m = 0; m < p.m; ++m)
      for (int64_t k = 0; k < p.k; ++k) {
        const uint16_t bits = f32_to_bf16(real() * (k % 29 == 3 ? 100.0f : 1.0f));  // outliers
        x.data[bf16_tiled_index(p.k, m, k)] = bits;
        dense_x.push_back(static_cast<double>(bf16_to_f32(bits)));
      }
    make_weights();
    for (int64_t i = 0; i < p.n; ++i) bias.push_back(real());
    for (int64_t i = 0; i < p.m * y_stride; ++i) before.push_back(i % y_stride < p.n ? real() : kLeftAlone);
  }

  PackedBf16Args args(std::vector<float>& y) {
    return {.x = x.data,
            .w = {.codes = codes.data,
                  .scales = scales.data(),
                  .row_scales = row_scales.data(),
                  .group_scales = group_scales.data(),
                  .zeros = zeros.data(),
                  .mins = mins.data(),
                  .group_mins = group_mins.data()},
            .bias = p.n % 2 == 1 && !accumulate ? bias.data() : nullptr,
            .y = y.data(),
            .y_stride = y_stride};
  }

 private:
  int integer(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); }
  float real() { return std::normal_distribution<float>()(random); }

  void make_weights() {
    const int top = (1 << bits_of(p.weight)) - 1;
    const int64_t group = p.group > 0 ? p.group : p.k, groups = (p.k + group - 1) / group, tiles = tiles_of(p.n);
    const bool super = p.scales == ScaleLayout::SuperGroup;
    const int64_t supers = (p.k + kSuperGroup - 1) / kSuperGroup;
    for (int64_t i = 0; i < codes.size; ++i) codes.data[i] = static_cast<uint8_t>(integer(0, 255));
    for (int64_t i = 0; i < tiles * groups * 16; ++i) {
      scales.push_back(f32_to_f16(real() / 16));
      mins.push_back(f32_to_f16(real() / 4));
      group_scales.push_back(static_cast<uint8_t>(integer(1, 16)));
      group_mins.push_back(static_cast<uint8_t>(integer(0, 63)));
      zeros.push_back(static_cast<uint8_t>(integer(0, top)));
    }
    for (int64_t i = 0; i < tiles * 16; ++i) row_scales.push_back(real() / 16);
    const int symmetric = p.weight == ElementType::Int8 ? 128 : p.minimums ? 0 : symmetric_zero(p.weight);
    for (int64_t n = 0; n < p.n; ++n)
      for (int64_t k = 0; k < p.k; ++k) {
        const auto at = static_cast<size_t>((n / 16 * groups + k / group) * 16 + n % 16);
        const auto half = super ? static_cast<size_t>((n / 16 * supers + k / kSuperGroup) * 16 + n % 16) : at;
        const int zero = p.zero_points ? zeros[at] : symmetric;
        const bool by_row = p.scales == ScaleLayout::Row || p.scales == ScaleLayout::TwoLevel;
        double scale = static_cast<double>(by_row ? row_scales[static_cast<size_t>(n)] : f16_to_f32(scales[half]));
        if (super || p.scales == ScaleLayout::TwoLevel) scale *= group_scales[at];
        double minimum = p.minimums ? static_cast<double>(f16_to_f32(mins[half])) : 0;
        if (super) minimum *= group_mins[at];
        const double value = (interleaved_code(p.weight, p.k, codes.data, n, k) - zero) * scale + minimum;
        dense_w.push_back(static_cast<double>(bf16_to_f32(f32_to_bf16(static_cast<float>(value)))));
      }
  }

  std::mt19937 random;
};

/// Two-level scales and minimums may be put together in another order, an f32 rounding apart, which may tip a weight
/// over to its neighbour in bf16, which is up to 2^-7 of it away. Sums are f32 in the order of K.
void check(const Case& c, const std::vector<float>& y) {
  const PackedGemmProblem& p = c.p;
  const double relative =
      (static_cast<double>(p.k) + 2) * kUnit + (p.scales == ScaleLayout::TwoLevel || p.minimums ? 0x1p-7 : 0);
  for (int64_t m = 0; m < p.m; ++m) {
    for (int64_t n = 0; n < p.n; ++n) {
      const auto at = static_cast<size_t>(m * c.y_stride + n);
      const bool biased = p.n % 2 == 1 && !c.accumulate;
      double sum = c.accumulate ? static_cast<double>(c.before[at])
                   : biased     ? static_cast<double>(c.bias[static_cast<size_t>(n)])
                                : 0;
      double magnitude = std::fabs(sum);
      for (int64_t k = 0; k < p.k; ++k) {
        const double product =
            c.dense_x[static_cast<size_t>(m * p.k + k)] * c.dense_w[static_cast<size_t>(n * p.k + k)];
        sum += product, magnitude += std::fabs(product);
      }
      ASSERT_LE(std::fabs(y[at] - sum), relative * magnitude + kTiny) << "m " << m << " n " << n;
    }
    for (int64_t n = p.n; n < c.y_stride; ++n)
      ASSERT_EQ(y[static_cast<size_t>(m * c.y_stride + n)], kLeftAlone) << "past the end of row " << m;
  }
}

std::vector<PackedBf16Problem> problems() {
  std::vector<PackedBf16Problem> list;
  const int64_t sizes[][3] = {{1, 1, 1},     {2, 17, 33},   {16, 48, 576}, {17, 33, 100},
                              {31, 16, 64},  {32, 32, 640}, {33, 31, 96},  {64, 50, 1200},
                              {70, 64, 160}, {129, 18, 64}, {300, 17, 96}, {1, 129, 2000}};
  const PackedGemmProblem kinds[] = {{.scales = ScaleLayout::Row, .group = 0},
                                     {.scales = ScaleLayout::Row, .group = 0, .zero_points = true},
                                     {.scales = ScaleLayout::Group, .group = 32},
                                     {.scales = ScaleLayout::Group, .group = 96, .zero_points = true},
                                     {.scales = ScaleLayout::Group, .group = 64, .minimums = true},
                                     {.scales = ScaleLayout::SuperGroup, .group = 32, .minimums = true},
                                     {.scales = ScaleLayout::SuperGroup, .group = 32},
                                     {.scales = ScaleLayout::TwoLevel, .group = 64, .zero_points = true}};
  for (const auto& size : sizes)
    for (const auto type : {ElementType::Int8, ElementType::Int4, ElementType::Int3, ElementType::Int2})
      for (const bool accumulate : {false, true})
        for (PackedGemmProblem p : kinds) {
          if (p.scales == ScaleLayout::TwoLevel && type == ElementType::Int8) continue;
          p.m = size[0], p.n = size[1], p.k = size[2], p.weight = type;
          list.push_back({.gemm = p, .accumulate = accumulate});
        }
  return list;
}

TEST(PackedBf16Test, EveryEntryIsAccurate) {
  uint32_t seed = 40;
  for (const auto& p : problems()) {
    Case c(p, seed++);
    const int ran = for_each_entry(packed_bf16_table(), p, [&](ExecContext& context, const auto& entry) {
      std::vector<float> y = c.before;
      if (!c.accumulate)
        for (size_t i = 0; i < y.size(); ++i)
          if (y[i] != kLeftAlone) y[i] = kPoison;
      entry.run(context, p, c.args(y));
      check(c, y);
    });
    ASSERT_GE(ran, 1);
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(PackedBf16Test, ARowDoesNotDependOnTheBatchNorOnThreads) {
  const PackedGemmProblem p = {.m = 75, .n = 50, .k = 1300, .group = 64, .zero_points = true};
  Case c({.gemm = p}, 5);
  OwnedExecContext one(1), three(3);
  std::vector<float> batch(c.before.size(), kPoison), again = batch, alone(static_cast<size_t>(p.n), kPoison);
  packed_bf16(one.get(), {.gemm = p}, c.args(batch));
  packed_bf16(three.get(), {.gemm = p}, c.args(again));
  PackedBf16Problem single = {.gemm = p};
  single.gemm.m = 1;
  for (int64_t m = 0; m < p.m; ++m) {
    Aligned<uint16_t> x(bf16_tiled_size(1, p.k));
    for (int64_t k = 0; k < p.k; ++k) x.data[bf16_tiled_index(p.k, 0, k)] = c.x.data[bf16_tiled_index(p.k, m, k)];
    PackedBf16Args args = c.args(alone);
    args.x = x.data;
    packed_bf16(one.get(), single, args);
    const auto bytes = sizeof(float) * static_cast<size_t>(p.n);
    ASSERT_EQ(std::memcmp(alone.data(), batch.data() + m * c.y_stride, bytes), 0) << "row " << m;
    ASSERT_EQ(std::memcmp(alone.data(), again.data() + m * c.y_stride, bytes), 0) << "row " << m << ", 3 threads";
  }
}

double activated(GatedActivation activation, double g) {
  const double exponent =
      activation == GatedActivation::SwiGlu ? g : 2 * std::sqrt(2 / M_PI) * (g + 0.044715 * g * g * g);
  return g / (1 + std::exp(-exponent));
}

/// Gate and up are sums as in check(); neither activation is steeper than 1.13. Then one rounding to bf16.
void check_gated(const Case& c, GatedActivation activation, const uint16_t* y) {
  const PackedGemmProblem& p = c.p;
  const double relative = (static_cast<double>(p.k) + 2) * kUnit + (p.minimums ? 0x1p-7 : 0);
  const auto sum = [&](int64_t m, int64_t n) {
    std::pair<double, double> result;
    for (int64_t k = 0; k < p.k; ++k) {
      const double product = c.dense_x[static_cast<size_t>(m * p.k + k)] * c.dense_w[static_cast<size_t>(n * p.k + k)];
      result.first += product, result.second += std::fabs(product) * relative;
    }
    return result;
  };
  for (int64_t n = 0; n < p.n / 2; ++n) {
    for (int64_t m = 0; m < p.m; ++m) {
      const auto [gate, gate_error] = sum(m, n);
      const auto [up, up_error] = sum(m, p.n / 2 + n);
      const double act = activated(activation, gate), value = act * up;
      const double error = 1.13 * gate_error * (std::fabs(up) + up_error) + std::fabs(act) * up_error;
      const auto made = static_cast<double>(bf16_to_f32(y[bf16_tiled_index(p.n / 2, m, n)]));
      ASSERT_LE(std::fabs(made - value), error + 0x1p-8 * (std::fabs(value) + error) + kTiny)
          << "m " << m << " n " << n;
    }
    for (int64_t m = p.m; m < (p.m + 31) / 32 * 32; ++m)
      ASSERT_EQ(y[bf16_tiled_index(p.n / 2, m, n)], 0) << "padding of row " << m;
  }
}

TEST(PackedBf16Test, GatedOutputsAreTilesForTheNextProduct) {
  uint32_t seed = 90;
  const int64_t sizes[][3] = {{1, 64, 32}, {17, 192, 576}, {75, 128, 1300}, {33, 64, 33}, {129, 320, 64}};
  for (const auto& size : sizes)
    for (const auto type : {ElementType::Int8, ElementType::Int4, ElementType::Int3, ElementType::Int2})
      for (const bool minimums : {false, true})
        for (const auto activation : {GatedActivation::SwiGlu, GatedActivation::GeGlu}) {
          PackedBf16Problem p = {.gemm = {.group = 64, .minimums = minimums}, .gated = activation};
          p.gemm.m = size[0], p.gemm.n = size[1], p.gemm.k = size[2], p.gemm.weight = type;
          Case c(p, seed++);
          Aligned<uint16_t> y(bf16_tiled_size(p.gemm.m, p.gemm.n / 2));
          PackedBf16Args args = c.args(c.before);
          args.bias = nullptr, args.y = nullptr, args.gated_y = y.data;
          const int ran = for_each_entry(packed_bf16_table(), p, [&](ExecContext& context, const auto& entry) {
            std::fill_n(y.data, y.size, uint16_t{0x7fc1});
            entry.run(context, p, args);
            check_gated(c, activation, y.data);
          });
          ASSERT_GE(ran, 1);
          if (testing::Test::HasFatalFailure()) return;
        }
}

TEST(PackedBf16Test, ActivationsAreNormalisedAndRoundedAtOnce) {
  for (const auto& [rows, k] : {std::pair<int64_t, int64_t>{1, 1}, {15, 31}, {33, 64}, {40, 100}, {7, 576}})
    for (const bool weighted : {false, true}) {
      const RoundActivationsProblem p = {.rows = rows, .k = k, .norm = true};
      const std::vector<float> x = random_normal(rows * (k + 5), 8), weight = random_normal(k, 9);
      for_each_entry(round_activations_table(), p, [&](ExecContext& context, const auto& entry) {
        Aligned<uint16_t> y(bf16_tiled_size(rows, k), uint16_t{0x7fff});
        entry.run(context, p,
                  {.x = x.data(),
                   .x_stride = k + 5,
                   .norm_weight = weighted ? weight.data() : nullptr,
                   .epsilon = 1e-5f,
                   .y = y.data});
        for (int64_t m = 0; m < rows; ++m) {
          double squares = 0;
          for (int64_t i = 0; i < k; ++i)
            squares += std::pow(static_cast<double>(x[static_cast<size_t>(m * (k + 5) + i)]), 2);
          const double inverse = 1 / std::sqrt(squares / static_cast<double>(k) + static_cast<double>(1e-5f));
          for (int64_t i = 0; i < k; ++i) {
            const double factor = weighted ? static_cast<double>(weight[static_cast<size_t>(i)]) : 1;
            const double wanted = static_cast<double>(x[static_cast<size_t>(m * (k + 5) + i)]) * inverse * factor;
            const auto made = static_cast<double>(bf16_to_f32(y.data[bf16_tiled_index(k, m, i)]));
            // Three roundings of f32, then one of bf16.
            ASSERT_LE(std::fabs(made - wanted), (0x1p-8 + 4 * kUnit) * std::fabs(wanted) + kTiny) << "row " << m;
          }
        }
        for (int64_t m = rows; m < (rows + 31) / 32 * 32; ++m)
          for (int64_t i = 0; i < k; ++i) ASSERT_EQ(y.data[bf16_tiled_index(k, m, i)], 0) << "padding of row " << m;
      });
    }
}

TEST(PackedBf16Test, ActivationsAreRoundedIntoTiles) {
  for (const auto& [rows, k] : {std::pair<int64_t, int64_t>{1, 1}, {15, 31}, {33, 64}, {40, 100}}) {
    const RoundActivationsProblem p = {.rows = rows, .k = k};
    const int64_t stride = k + 5;
    std::vector<float> x = random_normal(rows * stride, 7);
    x[0] = std::ldexp(1.0f, -130);  // denormal in bf16
    if (k > 1) x[1] = 1 + 0x1p-8f;  // a tie, to even
    if (k > 2) x[2] = std::numeric_limits<float>::infinity();
    for_each_entry(round_activations_table(), p, [&](ExecContext& context, const auto& entry) {
      Aligned<uint16_t> y(bf16_tiled_size(rows, k), uint16_t{0x7fff});
      entry.run(context, p, {.x = x.data(), .x_stride = stride, .y = y.data});
      int64_t nonzero = 0;
      for (int64_t i = 0; i < y.size; ++i) nonzero += y.data[i] != 0;
      for (int64_t m = 0; m < rows; ++m)
        for (int64_t i = 0; i < k; ++i) {
          const float value = x[static_cast<size_t>(m * stride + i)];
          const uint16_t wanted = m == 0 && i == 0 ? 0 : f32_to_bf16(value);
          ASSERT_EQ(y.data[bf16_tiled_index(k, m, i)], wanted) << "row " << m << " element " << i;
          nonzero -= wanted != 0;
        }
      ASSERT_EQ(nonzero, 0) << "padding is not zero";
    });
  }
}

TEST(PackedBf16Test, MalformedProblemsNameTheRule) {
  OwnedExecContext exec(1);
  Case c({.gemm = {.m = 2, .n = 17, .k = 64}}, 1);
  std::vector<float> y(c.before.size());
  const auto message = [&](const auto& change) -> std::string {
    PackedBf16Problem p = {.gemm = c.p};
    PackedBf16Args a = c.args(y);
    change(p, a);
    try {
      packed_bf16(exec.get(), p, a);
    } catch (const InvalidArgument& error) {
      return error.what();
    }
    return "";
  };
  const auto has = [&](const char* text, const auto& change) {
    EXPECT_NE(message(change).find(text), std::string::npos) << text;
  };
  EXPECT_EQ(message([](auto&, auto&) {}), "");
  has("x is null", [](auto&, auto& a) { a.x = nullptr; });
  has("w.scales is null", [](auto&, auto& a) { a.w.scales = nullptr; });
  has("bias excludes accumulate", [](auto& p, auto&) { p.accumulate = true; });
  has("multiple of 64", [](auto& p, auto&) { p.gated = GatedActivation::SwiGlu; });
  has("cannot be accumulated",
      [](auto& p, auto&) { p.gated = GatedActivation::SwiGlu, p.gemm.n = 64, p.accumulate = true; });
  has("gated_y is null", [](auto& p, auto& a) { p.gated = GatedActivation::GeGlu, p.gemm.n = 64, a.bias = nullptr; });
  has("groups of 16", [](auto& p, auto&) { p.gemm.group = 16, p.gemm.scales = ScaleLayout::SuperGroup; });
  has("multiple of 32", [](auto& p, auto&) { p.gemm.group = 48; });
  has("int8, int4, int3, int2 or ternary", [](auto& p, auto&) { p.gemm.weight = ElementType::Float16; });
  has("y_stride is 5", [](auto&, auto& a) { a.y_stride = 5; });
}

}  // namespace
}  // namespace halftone::kernels
