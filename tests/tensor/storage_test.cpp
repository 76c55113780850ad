// Storages: exact bytes, what the stored bytes mean, and what validation refuses.
#include "tensor/storage.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/philox.h"
#include "random_matrix.h"
#include "tensor/packed_weight.h"
#include "tensor/quantize.h"

namespace halftone {
namespace {

using testing::HasSubstr;

constexpr QuantScheme kTwoLevel64{ElementType::Int4, Granularity::TwoLevel, 64, true};

const std::vector<QuantScheme> kSchemes = {{ElementType::Int8, Granularity::Row, 0, false},
                                           {ElementType::Int8, Granularity::Row, 0, true},
                                           {ElementType::Int8, Granularity::Group, 32, false},
                                           {ElementType::Int4, Granularity::Group, 32, false},
                                           {ElementType::Int4, Granularity::Group, 64, true},
                                           {ElementType::Int4, Granularity::Row, 0, true},
                                           {ElementType::Int3, Granularity::Group, 64, true},
                                           {ElementType::Int3, Granularity::Group, 32, false},
                                           {ElementType::Int3, Granularity::TwoLevel, 32, true},
                                           {ElementType::Int2, Granularity::TwoLevel, 32, true},
                                           {ElementType::Int2, Granularity::Group, 64, true},
                                           {ElementType::Int2, Granularity::Group, 48, false},
                                           kTwoLevel64};

class StorageTest : public testing::Test {
 protected:
  QuantizedStorage quantized(const QuantScheme& scheme, int64_t rows, int64_t columns) {
    return quantize_nearest(exec_.get(), random_matrix(rows, columns, 1), scheme);
  }
  OwnedExecContext exec_{1};
};

/// Random parts in the place of what quantize_nearest does not make: minimums and super-groups.
QuantizedStorage random_parts(const QuantScheme& scheme, int64_t rows, int64_t columns) {
  PhiloxStream random(17);
  const auto bytes = [&](at::Tensor tensor) {
    auto* data = static_cast<uint8_t*>(tensor.mutable_data_ptr());
    for (size_t i = 0; i < tensor.nbytes(); ++i) data[i] = static_cast<uint8_t>(random());
    return tensor;
  };
  const int64_t groups = scheme.groups(columns), scales = scheme.scales(columns);
  const bool super = scheme.granularity == Granularity::SuperGroup;
  QuantizedStorage q{scheme, rows, columns};
  q.codes = bytes(at::empty({rows, row_bytes(scheme.element, columns)}, at::kByte));
  q.scales = random_matrix(rows, scales, 5).to(at::kHalf);
  if (super) q.group_scales = bytes(at::empty({rows, groups}, at::kChar));
  if (scheme.minimums) q.mins = random_matrix(rows, scales, 6).to(at::kHalf);
  if (scheme.minimums && super) q.group_mins = bytes(at::empty({rows, groups}, at::kChar));
  return q;
}

const std::vector<QuantScheme> kFileSchemes = {{ElementType::Int4, Granularity::Group, 32, false, true},
                                               {ElementType::Int8, Granularity::Group, 32, false, true},
                                               {ElementType::Int4, Granularity::SuperGroup, 32, false, true},
                                               {ElementType::Int8, Granularity::SuperGroup, 32, false, true},
                                               {ElementType::Int2, Granularity::SuperGroup, 16, false, true},
                                               {ElementType::Int8, Granularity::SuperGroup, 16}};

/// Element (row, k) of a quantised matrix, read from its bytes as numerics/formats.h draws them, in double.
double stored_value(const QuantizedStorage& q, int64_t row, int64_t k) {
  const int bits = bits_of(q.scheme.element);
  const int64_t chunk_bytes = 64 * bits / 8;
  const auto* bytes = q.codes.const_data_ptr<uint8_t>() + row * q.codes.size(1);
  int code;
  if (bits == 8)
    code = static_cast<int8_t>(bytes[k]);
  else if (bits == 3)
    code = (bytes[k / 64 * 24 + k % 16] >> (k % 64 / 16 * 2) & 3) | (bytes[k / 64 * 24 + 16 + k % 64 / 8] >> k % 8 & 1)
                                                                        << 2;
  else
    code = bytes[k / 64 * chunk_bytes + k % 64 % chunk_bytes] >> (k % 64 / chunk_bytes * bits) & ((1 << bits) - 1);
  const int64_t group = q.scheme.granularity == Granularity::Row ? 0 : k / q.scheme.group;
  int zero = bits == 8 || q.scheme.minimums ? 0 : 1 << (bits - 1);
  if (q.scheme.granularity == Granularity::SuperGroup || q.scheme.minimums) {
    const bool super = q.scheme.granularity == Granularity::SuperGroup;
    const auto part = [&](const at::Tensor& halves, const at::Tensor& factors) {
      const double half = halves[row][super ? k / 256 : group].item<double>();
      return super ? half * factors[row][group].item<int8_t>() : half;
    };
    return (code - zero) * part(q.scales, q.group_scales) + (q.scheme.minimums ? part(q.mins, q.group_mins) : 0);
  }
  if (q.scheme.zero_points) zero = q.zeros[row][group].item<int>() - (bits == 8 ? 128 : 0);
  if (q.scheme.granularity == Granularity::TwoLevel)
    return static_cast<double>((code - zero) * q.group_scales[row][group].item<int>()) *
           q.scales[row][0].item<double>();
  return static_cast<double>(code - zero) * q.scales[row][group].item<double>();
}

TEST_F(StorageTest, DenseBytesAndNames) {
  const at::Tensor weight = random_matrix(3, 5, 2);
  EXPECT_EQ(bytes_of(make_dense(weight, ElementType::Float32)), 60);
  EXPECT_EQ(bytes_of(make_dense(weight, ElementType::Float16)), 30);
  EXPECT_EQ(describe(make_dense(weight, ElementType::BFloat16)), "bf16");
  EXPECT_TRUE(same_bits(dequantize(make_dense(weight, ElementType::Float16)), weight.to(at::kHalf).to(at::kFloat)));
  EXPECT_THROW(make_dense(weight, ElementType::Int4), InvalidArgument);
  EXPECT_THROW(make_dense(at::full({1, 1}, 70000.0f), ElementType::Float16), NumericError);
  EXPECT_NO_THROW(make_dense(at::full({1, 1}, 70000.0f), ElementType::BFloat16));
}

TEST_F(StorageTest, BytesAreWhatTheSchemeSays) {
  for (const auto& scheme : kSchemes)
    for (const int64_t columns : {64, 100, 576}) {
      const QuantizedStorage q = quantized(scheme, 7, columns);
      EXPECT_EQ(bytes_of(q), scheme.bytes(7, columns)) << to_string(scheme) << " K=" << columns;
      EXPECT_NO_THROW(validate(q));
      EXPECT_EQ(rows_of(q), 7);
      EXPECT_EQ(columns_of(q), columns);
      EXPECT_EQ(describe(q), to_string(scheme));
    }
}

TEST_F(StorageTest, TwoLevelBitsPerWeight) {
  const QuantizedStorage q = quantized(kTwoLevel64, 24, 576);
  EXPECT_DOUBLE_EQ(8.0 * static_cast<double>(bytes_of(q)) / (24 * 576), 4 + 8.0 * 2 / 64 + 16.0 / 576);
}

TEST_F(StorageTest, DequantizedValuesAreTheStoredOnes) {
  for (const auto& scheme : kSchemes) {
    const QuantizedStorage q = quantized(scheme, 3, 100);
    const at::Tensor values = dequantize(q);
    for (int64_t row = 0; row < 3; ++row)
      for (int64_t k = 0; k < 100; ++k)  // an integer times an f16 fits f32 exactly
        ASSERT_EQ(values[row][k].item<double>(), stored_value(q, row, k))
            << to_string(scheme) << " " << row << " " << k;
  }
}

TEST_F(StorageTest, MinimumsAndSuperGroups) {
  for (const auto& scheme : kFileSchemes) {
    const QuantizedStorage q = random_parts(scheme, 3, 600);
    EXPECT_NO_THROW(validate(q));
    EXPECT_EQ(bytes_of(q), scheme.bytes(3, 600));
    const at::Tensor values = dequantize(q);
    const PreparedWeight prepared{Storage(q)};
    EXPECT_EQ(prepared.problem().scales, kernels::ScaleLayout::Group);
    EXPECT_EQ(prepared.problem().minimums, scheme.minimums);
    for (int64_t row = 0; row < 3; ++row)
      for (int64_t k = 0; k < 600; ++k)  // one rounding, of the sum with the minimum
        ASSERT_EQ(values[row][k].item<float>(), static_cast<float>(stored_value(q, row, k)))
            << to_string(scheme) << " " << row << " " << k;
    QuantizedStorage damaged = q;
    (scheme.minimums ? damaged.mins : damaged.group_scales) = at::Tensor();
    EXPECT_THROW(validate(damaged), InvalidArgument);
    EXPECT_THROW(quantize_nearest(exec_.get(), values, scheme), InvalidArgument);
  }
}

TEST_F(StorageTest, RowsAreRowsOfTheWhole) {
  const std::vector<int32_t> ids = {4, 0, 4, 6};
  for (const auto& scheme : kSchemes) {
    const QuantizedStorage q = quantized(scheme, 7, 100);
    const at::Tensor rows = dequantize_rows(q, ids), all = dequantize(q);
    for (size_t i = 0; i < ids.size(); ++i) EXPECT_TRUE(same_bits(rows[i], all[ids[i]])) << to_string(scheme);
  }
  const Storage dense = make_dense(random_matrix(7, 10, 3), ElementType::Float16);
  EXPECT_TRUE(same_bits(dequantize_rows(dense, ids)[1], dequantize(dense)[0]));
  for (const int32_t bad : {-1, 7}) EXPECT_THROW(dequantize_rows(dense, std::vector<int32_t>{bad}), InvalidArgument);
}

TEST_F(StorageTest, PackedWeightsGiveTheirRowsBack) {
  constexpr int64_t kRows = 35, kColumns = 608;  // two tiles and three rows
  const std::vector<int32_t> ids = {34, 0, 16, 15, 34};
  std::vector<Storage> storages;
  for (const auto& scheme : kSchemes) storages.emplace_back(quantized(scheme, kRows, kColumns));
  for (const auto& scheme : kFileSchemes) storages.emplace_back(random_parts(scheme, kRows, kColumns));
  int packed = 0;
  for (const auto& q : storages) {
    if (!why_not_packed(q).empty()) continue;
    const Storage* part = &q;
    const PackedWeight weight(std::span(&part, 1));
    const QuantizedStorage rows = weight.rows(ids);
    EXPECT_NO_THROW(validate(rows)) << describe(q);
    EXPECT_TRUE(same_bits(dequantize(rows), dequantize_rows(q, ids))) << describe(q);
    for (const int32_t bad : {-1, 35}) EXPECT_THROW(weight.rows(std::vector<int32_t>{bad}), InvalidArgument);
    ++packed;
  }
  EXPECT_GE(packed, 14);
}

TEST_F(StorageTest, ValidationNamesTheTensor) {
  const auto message = [](QuantizedStorage broken) {
    try {
      validate(broken);
    } catch (const InvalidArgument& problem) {
      return std::string(problem.what());
    }
    return std::string("accepted");
  };
  const QuantizedStorage good = quantized(kTwoLevel64, 4, 128);
  QuantizedStorage q = good;
  q.codes = at::empty({4, 63}, at::kByte);
  EXPECT_THAT(message(q), HasSubstr("'codes'"));
  q = good;
  q.scales = at::empty({4, 2}, at::kHalf);
  EXPECT_THAT(message(q), HasSubstr("'scales'"));
  q = good;
  q.group_scales = at::Tensor();
  EXPECT_THAT(message(q), HasSubstr("'group_scales'"));
  q = good;
  q.zeros = q.zeros.to(at::kInt);
  EXPECT_THAT(message(q), HasSubstr("'zeros'"));
  EXPECT_THROW(validate(DenseStorage{random_matrix(4, 6, 1).t()}), InvalidArgument);
  EXPECT_THROW(validate(DenseStorage{at::empty({2, 2}, at::kInt)}), InvalidArgument);
}

TEST_F(StorageTest, PreparedWeightDescribesItself) {
  const QuantizedStorage q = quantized(kTwoLevel64, 5, 128);
  const PreparedWeight prepared{Storage(q)};
  EXPECT_EQ(prepared.problem().n, 5);
  EXPECT_EQ(prepared.problem().k, 128);
  EXPECT_EQ(prepared.problem().group, 64);
  EXPECT_EQ(prepared.problem().scales, kernels::ScaleLayout::TwoLevel);
  EXPECT_TRUE(prepared.problem().zero_points);
  for (int64_t row = 0; row < 5; ++row) EXPECT_EQ(prepared.view().scales[row], q.scales[row][0].item<float>());
}

}  // namespace
}  // namespace halftone
