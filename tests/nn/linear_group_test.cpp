// Stacked linear layers: the bits of the members one by one, whatever their storages, and after a member changed.
#include "nn/linear_group.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <array>

#include "base/error.h"
#include "nn/testing/tiny_decoder.h"
#include "numerics/formats/weight_format.h"
#include "tensor/format_storage.h"
#include "tensor/quantize.h"

namespace halftone::nn {
namespace {

constexpr int64_t kInputs = 96, kTokens = 5;

class LinearGroupTest : public testing::Test {
 protected:
  Linear layer(int64_t outputs, bool bias) {
    return Linear("layer" + std::to_string(outputs), DenseStorage{uniform_matrix(random_, outputs, kInputs, 1.0f)},
                  bias ? uniform_matrix(random_, 1, outputs, 1.0f).view(-1) : at::Tensor());
  }
  void quantize(Linear& linear, const QuantScheme& scheme, ActivationFormat activations) {
    linear.set_weight(quantize_nearest(exec_.get(), linear.dense_weight(), scheme), activations);
  }
  /// Whether `group` gives what its members give.
  bool equal(const LinearGroup& group, const std::vector<const Linear*>& members) {
    const Arena::Frame frame(exec_.get().arena);
    StepContext step{exec_.get()};
    Activation x(exec_.get(), uniform_matrix(random_, kTokens, kInputs, 2.0f));
    std::vector<at::Tensor> parts;
    for (const auto* member : members) parts.push_back(member->forward(step, x));
    const at::Tensor wanted = at::cat(parts, 1);
    at::Tensor y = at::empty(wanted.sizes(), at::kFloat);
    y.fill_(NAN);
    group.forward_into(step, members, x, y.data_ptr<float>());
    return y.equal(wanted);
  }

  PhiloxStream random_{3};
  OwnedExecContext exec_{2};
};

TEST_F(LinearGroupTest, EqualsItsMembersInEveryStorage) {
  const QuantScheme int4 = {ElementType::Int4, Granularity::Group, 32, true};
  const QuantScheme two_level = {ElementType::Int4, Granularity::TwoLevel, 32, true};
  const QuantScheme int8 = {ElementType::Int8, Granularity::Row};
  for (const auto activations : {ActivationFormat::Int8PerToken, ActivationFormat::Int8PerGroup})
    for (const auto& scheme : {int4, two_level, int8}) {
      const LinearGroup group;
      Linear a = layer(32, true), b = layer(16, false), c = layer(19, true);
      const std::vector<const Linear*> members = {&a, &b, &c};
      EXPECT_FALSE(can_stack(members));
      EXPECT_TRUE(equal(group, members)) << "dense";
      for (auto* linear : {&a, &b, &c}) quantize(*linear, scheme, activations);
      EXPECT_TRUE(can_stack(members));
      EXPECT_TRUE(equal(group, members)) << to_string(scheme);
    }
}

// Each layer has a scale of its own above those of its groups.
TEST_F(LinearGroupTest, StacksNvfp4) {
  const LinearGroup group;
  Linear a = layer(32, true), b = layer(16, false), c = layer(19, true);
  const std::vector<const Linear*> members = {&a, &b, &c};
  float size = 1;
  for (auto* linear : {&a, &b, &c}) {
    const at::Tensor weight = linear->dense_weight() * size;
    linear->set_weight(quantize_to_format(exec_.get(), weight, parse_weight_format("nvfp4")),
                       ActivationFormat::Int8PerGroup);
    size *= 5;
  }
  EXPECT_TRUE(can_stack(members));
  EXPECT_TRUE(equal(group, members));
}

TEST_F(LinearGroupTest, NoticesWhatChanged) {
  const LinearGroup group;
  const QuantScheme scheme = {ElementType::Int4, Granularity::Group, 32};
  Linear a = layer(32, false), b = layer(16, false);
  const std::vector<const Linear*> members = {&a, &b};
  Linear other = layer(16, false);
  for (auto* linear : {&a, &b, &other}) quantize(*linear, scheme, ActivationFormat::Int8PerToken);
  EXPECT_TRUE(equal(group, members));
  b.set_weight(other.shared_weight(), ActivationFormat::Int8PerToken);
  EXPECT_TRUE(equal(group, members)) << "another weight";
  b.set_bias(uniform_matrix(random_, 1, 16, 1.0f).view(-1));
  EXPECT_TRUE(equal(group, members)) << "a bias";
  b.set_weight(b.shared_weight(), ActivationFormat::Int8PerGroup);
  EXPECT_FALSE(can_stack(members));
  EXPECT_TRUE(equal(group, members)) << "other activations";
  Linear third = layer(16, false);
  quantize(third, scheme, ActivationFormat::Int8PerToken);
  b = std::move(third);
  EXPECT_TRUE(can_stack(members));
  EXPECT_TRUE(equal(group, members)) << "another layer in its place";
}

TEST_F(LinearGroupTest, RunsOnWithoutItsMembersNumbers) {
  const QuantScheme scheme = {ElementType::Int4, Granularity::Group, 32};
  for (const int64_t outputs : {32, 17}) {  // rows that are stacked and rows that are not
    LinearGroup group;
    Linear a = layer(outputs, true), b = layer(16, false);
    for (auto* linear : {&a, &b}) quantize(*linear, scheme, ActivationFormat::Int8PerToken);
    const at::Tensor old = dequantize(b.weight());
    const Arena::Frame frame(exec_.get().arena);
    StepContext step{exec_.get()};
    Activation x(exec_.get(), uniform_matrix(random_, kTokens, kInputs, 2.0f));
    const auto outputs_of = [&] {
      at::Tensor y = at::full({kTokens, outputs + 16}, NAN, at::kFloat);
      group.forward_into(step, std::array<const Linear*, 2>{&a, &b}, x, y.data_ptr<float>());
      return y;
    };
    const at::Tensor before = outputs_of();
    group.run_only(std::array{&a, &b});
    EXPECT_TRUE(outputs_of().equal(before)) << outputs;
    EXPECT_EQ(describe(a.weight()), to_string(scheme));
    EXPECT_EQ(a.outputs(), outputs);
    EXPECT_THROW(dequantize(a.weight()), InvalidArgument);
    EXPECT_THROW(bytes_of(b.weight()), InvalidArgument);
    group.run_only(std::array{&a, &b});
    EXPECT_TRUE(outputs_of().equal(before)) << outputs << ", asked twice";
    b.set_weight(DenseStorage{old});  // one member anew: the others run alone, and a layer of a stack cannot
    if (outputs == 32)
      EXPECT_THROW(outputs_of(), InvalidArgument);
    else
      EXPECT_FALSE(outputs_of().isnan().any().item<bool>());
  }
}

TEST_F(LinearGroupTest, RowsThatFillNoTileAreNotStacked) {
  const QuantScheme scheme = {ElementType::Int4, Granularity::Group, 32};
  Linear a = layer(17, false), b = layer(16, false);
  for (auto* linear : {&a, &b}) quantize(*linear, scheme, ActivationFormat::Int8PerToken);
  const std::vector<const Linear*> members = {&a, &b};
  EXPECT_FALSE(can_stack(members));
  EXPECT_TRUE(equal(LinearGroup(), members));
}

TEST_F(LinearGroupTest, MethodsOpsAreHonoured) {
  struct Twos final : LinearOp {
    void forward_into(ExecContext&, Activation& x, float* y, int64_t stride) const override {
      for (int64_t t = 0; t < x.rows(); ++t)
        for (int64_t n = 0; n < 16; ++n) y[t * stride + n] = 2;
    }
  };
  const QuantScheme scheme = {ElementType::Int4, Granularity::Group, 32};
  Linear a = layer(16, true), b = layer(16, false);
  for (auto* linear : {&a, &b}) quantize(*linear, scheme, ActivationFormat::Int8PerToken);
  const std::vector<const Linear*> members = {&a, &b};
  const LinearGroup group;
  EXPECT_TRUE(equal(group, members));
  a.set_op(std::make_unique<Twos>());
  EXPECT_TRUE(equal(group, members));
  StepContext step{exec_.get()};
  Activation x(exec_.get(), uniform_matrix(random_, 1, kInputs, 2.0f));
  EXPECT_EQ(a.forward(step, x)[0][3].item<float>(), 2 + a.bias()[3].item<float>());
}

TEST_F(LinearGroupTest, Int8ActivationsNeedGroupsOfThirtyTwo) {
  Linear a = layer(16, false);
  const Storage odd = quantize_nearest(exec_.get(), a.dense_weight(), {ElementType::Int4, Granularity::Group, 48});
  EXPECT_NO_THROW(a.set_weight(odd));
  EXPECT_THROW(a.set_weight(odd, ActivationFormat::Int8PerToken), Unsupported);
}

}  // namespace
}  // namespace halftone::nn
