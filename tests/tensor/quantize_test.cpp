// Rounding to nearest: every element is the code that its own group asks for, whatever the threads.
#include "tensor/quantize.h"

#include <ATen/TensorOperators.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "base/error.h"
#include "random_matrix.h"

namespace halftone {
namespace {

const std::vector<QuantScheme> kSchemes = {
    {ElementType::Int8, Granularity::Row, 0, false},      {ElementType::Int8, Granularity::Group, 32, true},
    {ElementType::Int4, Granularity::Group, 64, true},    {ElementType::Int2, Granularity::Group, 48, false},
    {ElementType::Int3, Granularity::Group, 64, true},    {ElementType::Int2, Granularity::TwoLevel, 32, true},
    {ElementType::Int3, Granularity::TwoLevel, 32, true}, {ElementType::Int4, Granularity::TwoLevel, 64, true}};

TEST(QuantizeNearestTest, EveryElementIsItsGroupsCode) {
  OwnedExecContext exec(2);
  const int64_t rows = 5, columns = 150;  // the last group is short
  const at::Tensor weight = random_matrix(rows, columns, 3);
  for (const auto& scheme : kSchemes) {
    const at::Tensor values = dequantize(quantize_nearest(exec.get(), weight, scheme));
    const int64_t group = scheme.granularity == Granularity::Row ? columns : scheme.group;
    for (int64_t row = 0; row < rows; ++row) {
      const std::span<const float> all(weight.const_data_ptr<float>() + row * columns, columns);
      const float row_scale = scheme.granularity == Granularity::TwoLevel ? fit_row_scale(scheme, all) : 1.0f;
      for (int64_t k = 0; k < columns; ++k) {
        const int64_t start = k / group * group;
        const GroupCode code = fit_group(scheme, all.subspan(start, std::min(group, columns - start)), row_scale);
        ASSERT_EQ(values[row][k].item<float>(), code.decode(code.encode(all[k]))) << to_string(scheme);
      }
    }
  }
}

TEST(QuantizeNearestTest, SameBitsOnAnyNumberOfThreads) {
  OwnedExecContext one(1), two(2);
  const at::Tensor weight = random_matrix(37, 100, 4);
  for (const auto& scheme : kSchemes) {
    const auto a = quantize_nearest(one.get(), weight, scheme, {.steps = 5});
    const auto b = quantize_nearest(two.get(), weight, scheme, {.steps = 5});
    EXPECT_TRUE(same_bits(a.codes, b.codes) && same_bits(a.scales, b.scales)) << to_string(scheme);
    EXPECT_TRUE(same_bits(a.zeros, b.zeros) && same_bits(a.group_scales, b.group_scales)) << to_string(scheme);
  }
}

TEST(QuantizeNearestTest, ClipSearchLowersTheError) {
  OwnedExecContext exec(1);
  const at::Tensor weight = random_matrix(16, 128, 5);
  const QuantScheme scheme{ElementType::Int4, Granularity::Group, 128, false};
  const auto error = [&](ClipSearch clip) {
    return (dequantize(quantize_nearest(exec.get(), weight, scheme, clip)) - weight).square().sum().item<double>();
  };
  EXPECT_LT(error({.steps = 40, .max_shrink = 0.4f}), error({}));
}

TEST(QuantizeNearestTest, NamesTheBadWeight) {
  OwnedExecContext exec(1);
  at::Tensor weight = random_matrix(3, 64, 6);
  weight[2][5] = std::numeric_limits<float>::quiet_NaN();
  try {
    quantize_nearest(exec.get(), weight, kSchemes[2]);
    FAIL() << "NaN was accepted";
  } catch (const NumericError& problem) {
    EXPECT_THAT(problem.what(), testing::HasSubstr("[2, 5]"));
  }
  EXPECT_THROW(quantize_nearest(exec.get(), random_matrix(3, 64, 6), {ElementType::Int4, Granularity::Group, 0, true}),
               InvalidArgument);
}

}  // namespace
}  // namespace halftone
