// Activations to int8: every entry against the oracle, norms and gates on the way, and what is refused.
#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "kernel_test.h"
#include "kernels/api/packed_gemm.h"

namespace halftone::kernels {
namespace {

TEST(QuantizeActivationsTest, EveryEntryGivesTheOraclesBits) {
  uint64_t seed = 1;
  for (const auto scales : {ActivationScales::Row, ActivationScales::Unit})
    for (const auto& [rows, k] : {std::pair<int64_t, int64_t>{1, 1}, {2, 31}, {3, 33}, {4, 576}, {70, 640}}) {
      const QuantizeActivationsProblem p = {.rows = rows, .k = k, .scales = scales};
      const int64_t stride = (k + 63) / 64 * 64, units = units_of(k);
      auto x = random_normal(rows * k, seed++);
      for (int64_t i = 0; i < rows; ++i) x[static_cast<size_t>(i * k)] *= 300;  // an outlier channel
      if (rows > 2) std::fill(x.begin() + k, x.begin() + 2 * k, 0.0f);          // a row of zeros
      if (rows > 3) std::fill(x.begin() + 3 * k, x.begin() + 4 * k, 1e-41f);    // subnormal
      std::vector<int8_t> codes;
      std::vector<float> steps;
      std::vector<int32_t> sums;
      int ran = 0;
      const auto& table = quantize_activations_table();
      for (size_t e = table.size(); e-- > 0;) {  // the oracle first
        if (table[e].needs > detected_isa()) continue;
        OwnedExecContext exec(3);
        std::vector<int8_t> c(static_cast<size_t>(rows * stride), 99);
        std::vector<float> s(static_cast<size_t>(rows * units), -1);
        std::vector<int32_t> t(static_cast<size_t>(rows * units), -1);
        table[e].run(exec.get(), p,
                     {.x = x.data(),
                      .x_stride = k,
                      .codes = c.data(),
                      .code_stride = stride,
                      .scales = s.data(),
                      .sums = t.data()});
        if (ran++ == 0) codes = c, steps = s, sums = t;
        EXPECT_EQ(c, codes) << table[e].name << to_string(p);
        EXPECT_EQ(s, steps) << table[e].name << to_string(p);
        EXPECT_EQ(t, sums) << table[e].name << to_string(p);
      }
      // The oracle itself: half a step from the value, up to the rounding of a stored scale to f16.
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t i = 0; i < k; ++i) {
          const bool by_unit = scales == ActivationScales::Unit;
          const float step = steps[static_cast<size_t>(by_unit ? r * units + i / 32 : r)];
          const float value = x[static_cast<size_t>(r * k + i)];
          const int code = codes[static_cast<size_t>(r * stride + i)];
          const double f16 = by_unit ? 127 * std::max(step * 0x1p-11, 0x1p-25) : 0;
          EXPECT_LE(std::fabs(code * static_cast<double>(step) - value), step * (0.5 + 127 * 4 * kUnit) + f16 + 1e-38);
        }
    }
}

/// Codes, scales and sums of a quantisation, for comparison.
struct Quantised {
  std::vector<int8_t> codes;
  std::vector<float> scales;
  std::vector<int32_t> sums;

  explicit Quantised(const QuantizeActivationsProblem& p)
      : codes(static_cast<size_t>(p.rows * ((p.k + 63) / 64 * 64)), 99),
        scales(static_cast<size_t>(p.rows * units_of(p.k)), -1),
        sums(scales.size(), -1) {}
  QuantizeActivationsArgs args(const QuantizeActivationsProblem& p, const float* x, int64_t x_stride) {
    return {.x = x,
            .x_stride = x_stride,
            .codes = codes.data(),
            .code_stride = (p.k + 63) / 64 * 64,
            .scales = scales.data(),
            .sums = sums.data()};
  }
  bool operator==(const Quantised&) const = default;
};

TEST(QuantizeActivationsTest, NormsAndGatesOnTheWayHaveTheBitsOfTheirOwnKernels) {
  uint64_t seed = 40;
  for (const auto scales : {ActivationScales::Row, ActivationScales::Unit})
    for (const auto& [rows, k] : {std::pair<int64_t, int64_t>{1, 33}, {3, 576}, {8, 1536}, {40, 100}}) {
      const int64_t stride = 2 * k + 5;
      const auto x = random_normal(rows * stride, seed++), weight = random_normal(k, seed++);
      const QuantizeActivationsProblem plain = {.rows = rows, .k = k, .scales = scales};
      for_each_entry(quantize_activations_table(), plain, [&](ExecContext& context, const auto& entry) {
        const Isa isa = std::exchange(context.isa, entry.needs);  // the norm and the gates of the same instructions
        const auto check = [&](const QuantizeActivationsProblem& fused, const std::vector<float>& made) {
          Quantised wanted(plain), got(plain);
          entry.run(context, plain, wanted.args(plain, made.data(), k));
          QuantizeActivationsArgs args = got.args(fused, x.data(), stride);
          args.norm_weight = weight.data(), args.epsilon = 1e-5f, args.up = x.data() + k;
          entry.run(context, fused, args);
          EXPECT_TRUE(got == wanted) << to_string(fused);
        };
        std::vector<float> made(static_cast<size_t>(rows * k));
        rms_norm(context, {.rows = rows, .k = k}, {x.data(), stride, weight.data(), 1e-5f, made.data(), k});
        check({.rows = rows, .k = k, .scales = scales, .norm = true}, made);
        for (const auto activation : {GatedActivation::SwiGlu, GatedActivation::GeGlu}) {
          gated(context, {.rows = rows, .k = k, .activation = activation},
                {.gate = x.data(), .up = x.data() + k, .y = made.data(), .stride = stride});
          check({.rows = rows, .k = k, .scales = scales, .gated = activation}, made);
        }
        context.isa = isa;
      });
    }
}

TEST(QuantizeActivationsTest, RefusesANormWithGatesAndGatesWithoutUps) {
  OwnedExecContext exec(1);
  const float x[32] = {};
  int8_t codes[64];
  float step;
  int32_t sum;
  QuantizeActivationsArgs args = {
      .x = x, .x_stride = 32, .codes = codes, .code_stride = 64, .scales = &step, .sums = &sum};
  QuantizeActivationsProblem p = {.rows = 1, .k = 32, .gated = GatedActivation::SwiGlu};
  const auto refusal = [&] {
    try {
      quantize_activations(exec.get(), p, args);
    } catch (const InvalidArgument& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  EXPECT_NE(refusal().find("sums and up must not be null"), std::string::npos) << refusal();
  args.up = x;
  EXPECT_EQ(refusal(), "accepted");
  p.norm = true;
  EXPECT_NE(refusal().find("norm and gated exclude each other"), std::string::npos) << refusal();
}

TEST(QuantizeActivationsTest, ANaNNamesItsRow) {
  for (const float bad : {NAN, INFINITY})
    for (const auto scales : {ActivationScales::Row, ActivationScales::Unit}) {
      const QuantizeActivationsProblem p = {.rows = 5, .k = 70, .scales = scales};
      auto x = random_normal(p.rows * p.k, 2);
      x[3 * 70 + 69] = bad;
      for_each_entry(quantize_activations_table(), p, [&](ExecContext& context, const auto& entry) {
        std::vector<int8_t> codes(5 * 128);
        std::vector<float> steps(5 * 3);
        std::vector<int32_t> sums(5 * 3);
        try {
          entry.run(context, p,
                    {.x = x.data(),
                     .x_stride = 70,
                     .codes = codes.data(),
                     .code_stride = 128,
                     .scales = steps.data(),
                     .sums = sums.data()});
          FAIL() << "accepted";
        } catch (const NumericError& error) {
          EXPECT_NE(std::string(error.what()).find("row 3"), std::string::npos) << error.what();
        }
      });
    }
}

}  // namespace
}  // namespace halftone::kernels
