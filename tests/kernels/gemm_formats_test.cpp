// The GEMM on codes of element formats: every entry, every format of up to 8 bits, against double arithmetic on values
// that the test decodes itself from the codes it drew.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "kernel_test.h"
#include "kernels/api/gemm.h"
#include "numerics/formats/element_codec.h"
#include "numerics/packing.h"

namespace halftone::kernels {
namespace {

/// Operands in the stored layouts, and the weights in double.
struct Case {
  GemmProblem problem;
  std::vector<double> w;  // [N, K]
  std::vector<float> x, scales, bias;
  std::vector<uint8_t> codes, scale_codes, zeros;
  int64_t x_stride, y_stride;

  /// Whole numbers as activations and powers of two as scales keep every sum of short codes exact.
  Case(const GemmProblem& p, bool whole, uint32_t seed) : problem(p), x_stride(p.k + 3), y_stride(p.n + 2) {
    std::mt19937 random(seed);
    const auto integer = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(random); };
    std::normal_distribution<float> normal;
    const auto scale = [&] {
      return whole ? std::ldexp(1.0f, integer(-1, 1)) : std::exp2(std::uniform_real_distribution<float>(-9, 4)(random));
    };
    x.assign(static_cast<size_t>(p.m * x_stride), kPoison);
    for (int64_t i = 0; i < p.m; ++i)
      for (int64_t k = 0; k < p.k; ++k)
        x[static_cast<size_t>(i * x_stride + k)] = whole ? static_cast<float>(integer(-4, 4)) : normal(random);
    for (int64_t n = 0; n < p.n; ++n) bias.push_back(whole ? static_cast<float>(integer(-4, 4)) : normal(random));
    const int64_t group = p.group > 0 ? p.group : p.k, groups = (p.k + group - 1) / group;
    if (p.scale_codes)
      for (int i = 0; i < 256; ++i) scales.push_back(scale());
    const ElementFormat& format = *p.format;
    const int largest = (1 << format.bits) - 1;
    std::vector<uint8_t> row(static_cast<size_t>(p.k));
    const int64_t bytes = row_bytes(p.weight, p.k);
    codes.resize(static_cast<size_t>(p.n * bytes));
    for (int64_t n = 0; n < p.n; ++n) {
      double by = 0, zero = 0;
      for (int64_t k = 0; k < p.k; ++k) {
        if (k % group == 0) {
          if (p.scale_codes)
            scale_codes.push_back(static_cast<uint8_t>(integer(0, 255)));
          else
            scales.push_back(scale());
          by = p.scale_codes ? scales[scale_codes.back()] : scales.back();
          if (p.zero_points) zeros.push_back(static_cast<uint8_t>(integer(0, largest)));
          zero = p.zero_points ? zeros.back() : 0;
        }
        uint32_t code = 0;
        do {
          code = static_cast<uint32_t>(integer(0, largest));
        } while (!std::isfinite(decode(format, code)));
        w.push_back((double{decode(format, code)} - zero) * by);
        const uint32_t sign = code >> (format.bits - 1);
        row[static_cast<size_t>(k)] = static_cast<uint8_t>(
            p.weight == ElementType::Int8 ? sign << 7 | (code & ((1u << (format.bits - 1)) - 1)) : code);
      }
      pack_codes(p.weight, row, codes.data() + n * bytes);
    }
    EXPECT_EQ(static_cast<int64_t>(p.scale_codes ? scale_codes.size() : scales.size()), p.n * groups);
  }

  GemmArgs args(std::vector<float>& y, int64_t first_row = 0) const {
    return {.x = {.values = x.data() + first_row * x_stride, .stride = x_stride},
            .w = {.codes = codes.data(),
                  .scales = scales.data(),
                  .zeros = zeros.empty() ? nullptr : zeros.data(),
                  .scale_codes = scale_codes.empty() ? nullptr : scale_codes.data()},
            .bias = bias.data(),
            .y = y.data(),
            .y_stride = y_stride};
  }

  std::vector<float> poisoned() const { return std::vector<float>(static_cast<size_t>(problem.m * y_stride), kPoison); }

  /// Roundings on the longest path: a lane's multiply-adds over at least 8 lanes, the tree, the weight's value, the
  /// bias; the error is at most that many unit roundoffs of the sum of magnitudes. Whole numbers: none.
  void check(const std::vector<float>& y, bool whole) const {
    const double roundings = static_cast<double>((problem.k + 7) / 8) + 5;
    for (int64_t m = 0; m < problem.m; ++m)
      for (int64_t n = 0; n < problem.n; ++n) {
        double exact = bias[static_cast<size_t>(n)], size = std::abs(exact);
        for (int64_t k = 0; k < problem.k; ++k) {
          const double product =
              double{x[static_cast<size_t>(m * x_stride + k)]} * w[static_cast<size_t>(n * problem.k + k)];
          exact += product;
          size += std::abs(product);
        }
        const double bound = whole ? 0 : 1.01 * kUnit * roundings * size + kTiny;
        ASSERT_LE(std::abs(y[static_cast<size_t>(m * y_stride + n)] - exact), bound) << "at " << m << ',' << n;
      }
    for (int64_t m = 0; m < problem.m; ++m)
      for (int64_t n = problem.n; n < y_stride; ++n)
        ASSERT_TRUE(std::isnan(y[static_cast<size_t>(m * y_stride + n)])) << "wrote past its row";
  }
};

/// Every scalar format of up to 8 bits that is no integer in bytes, in the layout that holds it.
std::vector<GemmProblem> problems(int64_t m, int64_t n, int64_t k) {
  std::vector<GemmProblem> all;
  for (const ElementFormat& format : kElementFormats) {
    const bool bytes = format.bits > 4;
    if (format.dimension != 1 || format.bits > 8 || (bytes && !format.is_float())) continue;
    const ElementType layout = bytes ? ElementType::Int8 : format.bits > 2 ? ElementType::Int4 : ElementType::Int2;
    GemmProblem p{.m = m, .n = n, .k = k, .weight = layout, .scales = ScaleLayout::Row, .format = &format};
    p.zero_points = format.is_unsigned_integer();
    all.push_back(p);
    for (const int64_t group : {16, 32, 64, 96})
      for (const bool coded : {false, true}) {
        p.scales = ScaleLayout::Group;
        p.group = group;
        p.scale_codes = coded;
        all.push_back(p);
      }
  }
  return all;
}

/// Codes whose values are multiples of 1/8 up to 28: sums of them times small whole numbers are exact in f32.
bool is_short(const ElementFormat& format) { return format.bits <= 6 && std::string_view(format.name) != "nf4"; }

void check_all(int64_t m, int64_t n, int64_t k, bool whole) {
  static uint32_t seed = 1;
  for (const GemmProblem& problem : problems(m, n, k)) {
    if (whole && !is_short(*problem.format)) continue;
    const Case c(problem, whole, seed++);
    const int ran = for_each_entry(gemm_table(), problem, [&](ExecContext& context, const auto& entry) {
      std::vector<float> y = c.poisoned();
      entry.run(context, problem, c.args(y));
      c.check(y, whole);
    });
    EXPECT_EQ(ran, static_cast<int>(attainable_isas().size()) - (detected_isa() == Isa::Amx ? 1 : 0)) << "entries";
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(GemmFormats, MatchDoubleWithinTheRoundingBound) {
  for (const auto& [m, n, k] : {std::tuple(1, 1, 1), {1, 17, 576}, {2, 3, 31}, {3, 13, 65}, {7, 19, 200}, {17, 5, 100}})
    check_all(m, n, k, false);
}

TEST(GemmFormats, AreExactOnWholeNumbers) {
  for (const auto& [m, n, k] : {std::tuple(1, 7, 130), {3, 5, 63}, {13, 11, 112}}) check_all(m, n, k, true);
}

// Prefill equals decode: each row of a batch has the bits that it has alone, for any number of threads.
TEST(GemmFormats, BitsDoNotDependOnBatchOrThreads) {
  uint32_t seed = 1000;
  for (const GemmProblem& problem : problems(19, 21, 200)) {
    const Case c(problem, false, seed++);
    std::vector<float> first;
    const char* of = nullptr;
    for_each_entry(gemm_table(), problem, [&](ExecContext& context, const auto& entry) {
      std::vector<float> y = c.poisoned(), row(static_cast<size_t>(c.y_stride), kPoison);
      entry.run(context, problem, c.args(y));
      if (of == entry.name) {
        ASSERT_EQ(std::memcmp(y.data(), first.data(), y.size() * 4), 0) << "threads";
      }
      first = y, of = entry.name;
      GemmProblem single = problem;
      single.m = 1;
      for (int64_t m = 0; m < problem.m; ++m) {
        entry.run(context, single, c.args(row, m));
        ASSERT_EQ(std::memcmp(row.data(), y.data() + m * c.y_stride, static_cast<size_t>(problem.n) * 4), 0) << m;
      }
    });
    if (HasFatalFailure()) return;
  }
}

/// Every finite code, alone: the kernels' tables and conversions are exact, subnormals and -0 included.
TEST(GemmFormats, EveryCodeHasItsValue) {
  for (const GemmProblem& kind : problems(1, 256, 1)) {
    if (kind.scales != ScaleLayout::Row || kind.zero_points) continue;
    const ElementFormat& format = *kind.format;
    const int64_t bytes = row_bytes(kind.weight, 1);
    std::vector<uint8_t> codes(static_cast<size_t>(256 * bytes));
    std::vector<float> wanted;
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t code = i & ((1u << format.bits) - 1);
      if (!std::isfinite(decode(format, code))) code = 0;
      wanted.push_back(decode(format, code));
      const uint8_t byte = static_cast<uint8_t>(
          kind.weight == ElementType::Int8 ? (code >> (format.bits - 1)) << 7 | (code & ((1u << (format.bits - 1)) - 1))
                                           : code);
      pack_codes(kind.weight, {&byte, 1}, codes.data() + i * bytes);
    }
    const std::vector<float> scales(256, 1.0f), one(1, 1.0f);
    for_each_entry(gemm_table(), kind, [&](ExecContext& context, const auto& entry) {
      std::vector<float> y(256, kPoison);
      entry.run(context, kind,
                {.x = {.values = one.data(), .stride = 1},
                 .w = {.codes = codes.data(), .scales = scales.data()},
                 .y = y.data(),
                 .y_stride = 256});
      for (size_t i = 0; i < 256; ++i) ASSERT_EQ(y[i], wanted[i]) << format.name << " code " << i;
    });
    if (HasFatalFailure()) return;
  }
}

TEST(GemmFormats, MalformedProblemsAreRefused) {
  const GemmProblem good{.m = 1,
                         .n = 2,
                         .k = 64,
                         .weight = ElementType::Int4,
                         .scales = ScaleLayout::Group,
                         .group = 32,
                         .format = &kE2m1,
                         .scale_codes = true};
  const Case c(good, false, 5);
  OwnedExecContext owned(1);
  std::vector<float> y = c.poisoned();
  EXPECT_NO_THROW(gemm(owned.get(), good, c.args(y)));
  const auto expect_error = [&](auto change) {
    GemmProblem p = good;
    GemmArgs a = c.args(y);
    change(p, a);
    EXPECT_THROW(gemm(owned.get(), p, a), InvalidArgument) << to_string(p);
  };
  expect_error([](auto& p, auto&) { p.format = &kE4m3; });     // 8 bits in nibbles
  expect_error([](auto& p, auto&) { p.format = &kComplex; });  // two numbers a code
  expect_error([](auto& p, auto&) { p.weight = ElementType::Int8; });
  expect_error([](auto& p, auto&) { p.weight = ElementType::Int2; });
  expect_error([](auto& p, auto&) { p.weight = ElementType::Float32; });
  expect_error([](auto& p, auto&) { p.minimums = true; });
  expect_error([](auto& p, auto&) { p.scales = ScaleLayout::Row, p.group = 0; });  // scale codes without groups
  expect_error([](auto&, auto& a) { a.w.scale_codes = nullptr; });
  expect_error([](auto&, auto& a) { a.w.scales = nullptr; });
}

}  // namespace
}  // namespace halftone::kernels
