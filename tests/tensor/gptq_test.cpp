// GPTQ against hand arithmetic, against rounding to nearest, and at its edges.
#include <ATen/TensorOperators.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "base/error.h"
#include "random_matrix.h"
#include "tensor/quantize.h"

namespace halftone {
namespace {

constexpr QuantScheme kInt4Row{ElementType::Int4, Granularity::Row, 0, false};

const std::vector<QuantScheme> kSchemes = {kInt4Row,
                                           {ElementType::Int8, Granularity::Row, 0, false},
                                           {ElementType::Int4, Granularity::Group, 32, true},
                                           {ElementType::Int2, Granularity::Group, 32, true},
                                           {ElementType::Int4, Granularity::Group, 48, false},
                                           {ElementType::Int3, Granularity::Group, 32, true},
                                           {ElementType::Int2, Granularity::TwoLevel, 32, true},
                                           {ElementType::Int4, Granularity::TwoLevel, 32, true}};

/// Gram matrix of inputs whose channels are mixtures of a few common causes: [k, k] f64.
at::Tensor correlated_gram(int64_t k, uint64_t seed) {
  const at::Tensor causes = random_matrix(4 * k, k / 4, seed), mixing = random_matrix(k / 4, k, seed + 1);
  const at::Tensor x = (at::matmul(causes, mixing) + 0.3 * random_matrix(4 * k, k, seed + 2)).to(at::kDouble);
  return at::matmul(x.t(), x);
}

/// tr((W - Q) H (W - Q)^T): the squared error of the layer's outputs.
double output_error(const at::Tensor& weight, const Storage& storage, const at::Tensor& hessian) {
  const at::Tensor difference = (weight - dequantize(storage)).to(at::kDouble);
  return (at::matmul(difference, hessian) * difference).sum().item<double>();
}

class GptqTest : public testing::Test {
 protected:
  QuantizedStorage gptq(const at::Tensor& weight, const at::Tensor& hessian, const QuantScheme& scheme,
                        const GptqOptions& options = {}) {
    return quantize_gptq(exec_.get(), weight, hessian, scheme, options);
  }
  OwnedExecContext exec_{1};
};

TEST_F(GptqTest, ByHand) {
  // max|w| = 7 makes the step 1. Column 0 rounds 0.4 to 0; inputs 0 and 1 correlate by 0.9, so column 1 takes up
  // 0.9 * 0.4 and becomes 2.66, which rounds to 3 where 2.3 alone would have given 2. Column 2 is independent.
  const at::Tensor weight = at::tensor({0.4f, 2.3f, 7.0f}).view({1, 3});
  const at::Tensor hessian = at::tensor({1.0, 0.9, 0.0, 0.9, 1.0, 0.0, 0.0, 0.0, 1.0}, at::kDouble).view({3, 3});
  const auto storage = gptq(weight, hessian, kInt4Row, {.damping = 1e-9});
  EXPECT_TRUE(dequantize(storage).equal(at::tensor({0.0f, 3.0f, 7.0f}).view({1, 3})));
  // 0.4^2 + 0.7^2 - 2 * 0.9 * 0.4 * 0.7 = 0.146, against 0.466 for (0, 2, 7).
  EXPECT_NEAR(output_error(weight, storage, hessian), 0.146, 1e-6);
}

TEST_F(GptqTest, ActivationOrderByHand) {
  // Input 1 is twice as large as input 0 (correlation 0.9): column 1 goes first and stays 2, column 0 takes up
  // h01/h00 * 0.3 = 0.54 and becomes 0.94.
  const at::Tensor weight = at::tensor({0.4f, 2.3f, 7.0f}).view({1, 3});
  const at::Tensor hessian = at::tensor({1.0, 1.8, 0.0, 1.8, 4.0, 0.0, 0.0, 0.0, 1.0}, at::kDouble).view({3, 3});
  const auto storage = gptq(weight, hessian, kInt4Row, {.damping = 1e-9, .activation_order = true});
  EXPECT_TRUE(dequantize(storage).equal(at::tensor({1.0f, 2.0f, 7.0f}).view({1, 3})));
}

TEST_F(GptqTest, BeatsNearestOnCorrelatedInputs) {
  const at::Tensor weight = random_matrix(24, 96, 1), hessian = correlated_gram(96, 2);
  for (const auto& scheme : kSchemes)
    for (const bool order : {false, true}) {
      const double nearest = output_error(weight, quantize_nearest(exec_.get(), weight, scheme), hessian);
      const double solved = output_error(weight, gptq(weight, hessian, scheme, {.activation_order = order}), hessian);
      EXPECT_LT(solved, nearest) << to_string(scheme) << " activation order " << order;
    }
}

TEST_F(GptqTest, EqualsNearestOnIndependentInputs) {
  const at::Tensor weight = random_matrix(9, 100, 3), hessian = 5 * at::eye(100, at::kDouble);
  for (const auto& scheme : kSchemes)
    for (const bool order : {false, true}) {
      const auto nearest = quantize_nearest(exec_.get(), weight, scheme);
      const auto solved = gptq(weight, hessian, scheme, {.activation_order = order});
      EXPECT_TRUE(same_bits(solved.codes, nearest.codes) && same_bits(solved.scales, nearest.scales) &&
                  same_bits(solved.zeros, nearest.zeros) && same_bits(solved.group_scales, nearest.group_scales))
          << to_string(scheme) << " activation order " << order;
    }
}

TEST_F(GptqTest, SameBitsOnAnyNumberOfThreads) {
  const at::Tensor weight = random_matrix(29, 96, 4), hessian = correlated_gram(96, 5);
  OwnedExecContext two(2);
  for (const auto& scheme : kSchemes) {
    const auto a = gptq(weight, hessian, scheme);
    const auto b = quantize_gptq(two.get(), weight, hessian, scheme, {});
    EXPECT_TRUE(same_bits(a.codes, b.codes) && same_bits(a.scales, b.scales)) << to_string(scheme);
  }
}

TEST_F(GptqTest, DeadInputsAreRoundedToNearest) {
  const at::Tensor weight = random_matrix(6, 64, 6);
  at::Tensor hessian = correlated_gram(64, 7);
  for (const int64_t dead : {0, 17, 63}) {
    hessian.select(0, dead).zero_();
    hessian.select(1, dead).zero_();
  }
  const at::Tensor nearest = dequantize(quantize_nearest(exec_.get(), weight, kInt4Row));
  for (const bool order : {false, true}) {
    const at::Tensor solved = dequantize(gptq(weight, hessian, kInt4Row, {.activation_order = order}));
    for (const int64_t dead : {0, 17, 63}) EXPECT_TRUE(solved.select(1, dead).equal(nearest.select(1, dead))) << dead;
  }
}

TEST_F(GptqTest, FewTokensAreEnoughToRun) {
  // A Hessian of rank 2, and one of nothing at all: the damping makes both solvable.
  const at::Tensor weight = random_matrix(4, 64, 8);
  const at::Tensor x = random_matrix(2, 64, 9).to(at::kDouble);
  const at::Tensor rank_two = at::matmul(x.t(), x);
  EXPECT_LT(output_error(weight, gptq(weight, rank_two, kInt4Row), rank_two),
            output_error(weight, quantize_nearest(exec_.get(), weight, kInt4Row), rank_two));
  const auto nothing = gptq(weight, at::zeros({64, 64}, at::kDouble), kInt4Row);
  EXPECT_TRUE(same_bits(nothing.codes, quantize_nearest(exec_.get(), weight, kInt4Row).codes));
}

TEST_F(GptqTest, RefusesWhatIsNotFinite) {
  const at::Tensor hessian = correlated_gram(64, 10);
  at::Tensor weight = random_matrix(4, 64, 11);
  weight[1][2] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW(gptq(weight, hessian, kInt4Row), NumericError);
  at::Tensor broken = hessian.clone();
  broken[3][3] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THROW(gptq(random_matrix(4, 64, 11), broken, kInt4Row), NumericError);
  // Weights near the end of f32: their errors overflow on the way.
  const at::Tensor huge = random_matrix(4, 64, 11).sign() * 3e38f;
  EXPECT_THROW(gptq(huge, hessian, kInt4Row), NumericError);
}

TEST_F(GptqTest, RefusesAWrongHessian) {
  const at::Tensor weight = random_matrix(4, 64, 12);
  EXPECT_THROW(gptq(weight, at::eye(63, at::kDouble), kInt4Row), InvalidArgument);
  EXPECT_THROW(gptq(weight, at::eye(64, at::kFloat), kInt4Row), InvalidArgument);
}

}  // namespace
}  // namespace halftone
