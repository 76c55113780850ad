// Ternary weights from rounding to kernels: a storage of 1.6 bits a weight whose values are the format's, which runs in
// integers with int8 activations and as int2 with f32 ones.
#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "numerics/formats/weight_format.h"
#include "numerics/packing.h"
#include "random_matrix.h"
#include "tensor/format_storage.h"
#include "tensor/ops.h"
#include "tensor/packed_weight.h"

namespace halftone {
namespace {

constexpr int64_t kRows = 48, kColumns = 200;

class TernaryStorageTest : public testing::Test {
 protected:
  Storage ternary(const char* format = "ternary row f16") {
    return quantize_to_format(exec_.get(), weight_, parse_weight_format(format));
  }
  OwnedExecContext exec_{2};
  at::Tensor weight_ = random_matrix(kRows, kColumns, 11);
};

// absmean: the scale is the mean magnitude as f16, and a value the nearest of -1, 0 and 1 times it.
TEST_F(TernaryStorageTest, HoldsTheFormatsValuesInFiveCodesAByte) {
  const Storage storage = ternary();
  EXPECT_EQ(describe(storage), "ternary row symmetric");
  EXPECT_EQ(bytes_of(storage), kRows * (40 + 2));
  EXPECT_NO_THROW(validate(storage));
  const at::Tensor values = dequantize(storage);
  const std::array<int32_t, 1> last = {kRows - 1};
  EXPECT_TRUE(dequantize_rows(storage, last).equal(values.narrow(0, kRows - 1, 1)));
  const float *w = weight_.const_data_ptr<float>(), *v = values.const_data_ptr<float>();
  for (int64_t n = 0; n < kRows; ++n, w += kColumns, v += kColumns) {
    double sum = 0;
    for (int64_t k = 0; k < kColumns; ++k) sum += std::fabs(w[k]);
    const float scale = static_cast<float>(static_cast<at::Half>(static_cast<float>(sum / kColumns)));
    for (int64_t k = 0; k < kColumns; ++k) {  // the mean's rounding to f16 may fall on the other side of a tie
      if (v[k] != 0) {
        ASSERT_NEAR(std::fabs(v[k]), scale, 0x1p-10 * scale);
      }
      if (std::fabs(std::fabs(w[k]) - 0.5 * scale) > 0x1p-9 * scale) {
        ASSERT_EQ(v[k] != 0, std::fabs(w[k]) > 0.5 * scale) << n << " " << k;
        ASSERT_TRUE(v[k] == 0 || (v[k] > 0) == (w[k] > 0));
      }
    }
  }
}

TEST_F(TernaryStorageTest, RunsInIntegersOnItsOwnCodes) {
  for (const char* format : {"ternary row f16", "ternary group:64 f16"}) {
    const Storage storage = ternary(format);
    const Storage* part = &storage;
    EXPECT_EQ(why_not_packed({&part, 1}), "");
    const PackedWeight packed({&part, 1});
    EXPECT_EQ(packed.problem().weight, ElementType::Ternary);
    const at::Tensor values = dequantize(storage).to(at::kDouble);
    const at::Tensor x = random_matrix(3, kColumns, 12);
    for (const auto scales : {kernels::ActivationScales::Row, kernels::ActivationScales::Unit}) {
      const Arena::Frame frame(exec_.get().arena);
      Activation input(exec_.get(), x);
      at::Tensor y = at::empty({3, kRows}, at::kFloat);
      linear_into(exec_.get(), input, packed, scales, {.y = y.data_ptr<float>(), .stride = kRows});
      // int8 inputs err by half a step, max|x| / 254, at most (their scale's f16 rounding included, 2^-8 of that).
      const at::Tensor exact = x.to(at::kDouble).matmul(values.t());
      for (int64_t m = 0; m < 3; ++m)
        for (int64_t n = 0; n < kRows; ++n) {
          const double step = x[m].abs().max().item<double>() / 127;
          const double bound = step * (0.5 + 127 * 0x1p-11) * values[n].abs().sum().item<double>() * 1.001;
          ASSERT_NEAR(y[m][n].item<double>(), exact[m][n].item<double>(), bound) << format;
        }
    }
  }
}

// Fed the identity, a layer returns the stored values.
TEST_F(TernaryStorageTest, RunsAsTwoBitCodesWithFloatInputs) {
  const Storage storage = ternary("ternary group:96 f16");
  const PreparedWeight prepared(storage);
  EXPECT_EQ(prepared.problem().weight, ElementType::Int2);
  at::Tensor identity = at::empty({kColumns, kColumns}, at::kFloat).zero_();
  identity.diagonal().fill_(1);
  Activation input(exec_.get(), identity);
  at::Tensor y = at::empty({kColumns, kRows}, at::kFloat);
  linear_into(exec_.get(), input, prepared, {.y = y.data_ptr<float>(), .stride = kRows});
  EXPECT_TRUE(y.t().equal(dequantize(storage)));
}

}  // namespace
}  // namespace halftone
