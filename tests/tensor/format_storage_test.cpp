// Storages of any number format: for every format of the catalogue the values of the reference, exact bytes, the same
// bits from rows, kernels and threads; and what validation refuses.
#include "tensor/format_storage.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "numerics/formats/element_array.h"
#include "numerics/formats/weight_format.h"
#include "random_matrix.h"
#include "tensor/ops.h"

namespace halftone {
namespace {

using testing::HasSubstr;

std::span<const float> span_of(const at::Tensor& x) {
  return {x.const_data_ptr<float>(), static_cast<size_t>(x.numel())};
}

/// Every element format with every granularity and scale format that go with it.
std::vector<MatrixFormat> catalogue(int64_t rows, int64_t columns) {
  std::vector<MatrixFormat> all;
  for (const ElementFormat& element : kElementFormats)
    for (const char* layout : {"tensor", "row", "channel", "group:16", "group:24", "group:96", "block:3x32"})
      for (const ScaleFormat& scale : kScaleFormats) {
        if (element.kind == ElementKind::PowerOfTwo) continue;
        MatrixFormat format{element, parse_scale_granularity(layout), scale};
        format.rule = default_scale_rule(element, scale);
        try {
          format.validate(rows, columns);
        } catch (const InvalidArgument&) {
          continue;  // complex codes under a scale a column
        }
        all.push_back(format);
      }
  return all;
}

at::Tensor reference_values(const QuantizedMatrix& matrix) {
  at::Tensor values = at::full({matrix.rows, matrix.columns}, std::numeric_limits<float>::quiet_NaN());
  dequantize_matrix(matrix, {values.data_ptr<float>(), static_cast<size_t>(values.numel())});
  return values;
}

class FormatStorageTest : public testing::Test {
 protected:
  static constexpr int64_t kRows = 7, kColumns = 100;  // short last groups and blocks
  Storage stored(const std::string& format, int64_t rows = kRows, int64_t columns = kColumns) {
    return quantize_to_format(exec_.get(), random_matrix(rows, columns, 1), parse_weight_format(format));
  }
  /// What a linear layer without bias makes of the identity: the weights, transposed.
  at::Tensor through_kernel(const Storage& storage, Isa isa) {
    const int64_t k = columns_of(storage), n = rows_of(storage);
    exec_.get().isa = isa;
    at::Tensor y = at::full({k, n}, std::numeric_limits<float>::quiet_NaN());
    Activation x(exec_.get(), at::eye(k));
    linear_into(exec_.get(), x, PreparedWeight(storage), {.y = y.data_ptr<float>(), .stride = n});
    return y.t().contiguous();
  }
  OwnedExecContext exec_{2};
};

TEST_F(FormatStorageTest, EveryFormatHoldsTheValuesOfTheReference) {
  const at::Tensor weight = random_matrix(kRows, kColumns, 1);
  int formatted = 0, quantized = 0;
  for (const MatrixFormat& format : catalogue(kRows, kColumns)) {
    SCOPED_TRACE(to_string(format));
    const QuantizedMatrix matrix = quantize_matrix(format, span_of(weight), kRows, kColumns);
    const Storage storage = quantize_to_format(exec_.get(), weight, format);
    ASSERT_NO_THROW(validate(storage));
    EXPECT_EQ(rows_of(storage), kRows);
    EXPECT_EQ(columns_of(storage), kColumns);
    const at::Tensor values = dequantize(storage);
    ASSERT_TRUE(same_bits(values, reference_values(matrix)));
    const std::vector<int32_t> ids = {4, 0, 4};
    const at::Tensor rows = dequantize_rows(storage, ids);
    for (size_t i = 0; i < ids.size(); ++i) ASSERT_TRUE(same_bits(rows[i], values[ids[i]]));
    if (const auto scheme = scheme_of(format)) {
      ++quantized;
      EXPECT_EQ(std::get<QuantizedStorage>(storage).scheme, *scheme);
      continue;
    }
    ++formatted;
    EXPECT_EQ(to_string(parse_weight_format(describe(storage))), to_string(format));
  }
  EXPECT_GT(formatted, 1000);
  EXPECT_GT(quantized, 50);
}

TEST_F(FormatStorageTest, KernelsMultiplyByTheStoredValues) {
  const at::Tensor weight = random_matrix(5, 80, 2);
  for (const MatrixFormat& format : catalogue(5, 80)) {
    SCOPED_TRACE(to_string(format));
    const Storage storage = quantize_to_format(exec_.get(), weight, format);
    const at::Tensor values = dequantize(storage);
    // One product in each sum is not 0: only the sign of a 0 may be lost.
    for (const Isa isa : attainable_isas()) ASSERT_TRUE(through_kernel(storage, isa).equal(values)) << to_string(isa);
  }
}

TEST_F(FormatStorageTest, UsefulFormatsHaveFastKernels) {
  const auto problem = [&](const char* format, int64_t columns) {
    kernels::GemmProblem p = PreparedWeight(stored(format, kRows, columns)).problem();
    EXPECT_STRNE(kernels::select(kernels::gemm_table(), p, Isa::Avx2).name, "reference") << format;
    return to_string(p);
  };
  EXPECT_EQ(problem("mxfp4", 96), "m=1 n=7 k=96 e2m1/group group=32 coded");
  EXPECT_EQ(problem("nvfp4", 96), "m=1 n=7 k=96 e2m1/group group=16 coded");
  EXPECT_EQ(problem("mxfp8_e4m3", 96), "m=1 n=7 k=96 e4m3/group group=32 coded");
  EXPECT_EQ(problem("mxfp6_e2m3", 100), "m=1 n=7 k=100 e2m3/group group=32 coded");
  EXPECT_EQ(problem("nf4 group:64 f16", 100), "m=1 n=7 k=100 nf4/group group=64");
  EXPECT_EQ(problem("e4m3 tensor f32", 100), "m=1 n=7 k=100 e4m3/row");
  EXPECT_EQ(problem("e4m3 block:3x64 f32", 100), "m=1 n=7 k=100 e4m3/group group=64");
  EXPECT_EQ(problem("uint5 group:32 bf16", 100), "m=1 n=7 k=100 int8/group group=32 zeros");
  EXPECT_EQ(problem("uint3 group:32 e4m3", 100), "m=1 n=7 k=100 uint3/group group=32 coded zeros");
  EXPECT_EQ(problem("ternary tensor f16", 100), "m=1 n=7 k=100 ternary/row");
  EXPECT_EQ(problem("complex row f16", 100), "m=1 n=7 k=100 f32") << "several numbers a code: expanded";
  EXPECT_EQ(problem("e4m3 group:24 f16", 100), "m=1 n=7 k=100 f32") << "no multiple of 16: expanded";
}

// Inputs are one number each, which int8 activations scale by fl16(max / 127): an output is one product of the stored
// value, rounded where scales meet, in the fold and at the end.
TEST_F(FormatStorageTest, SmallMultiplesRunWithInt8Activations) {
  constexpr int64_t kK = 100;
  int packed = 0;
  for (const MatrixFormat& format : catalogue(7, kK)) {
    const Storage storage = quantize_to_format(exec_.get(), random_matrix(7, kK, 2), format);
    const Storage* part = &storage;
    if (!std::holds_alternative<FormatStorage>(storage) || !why_not_packed({&part, 1}).empty()) continue;
    SCOPED_TRACE(to_string(format));
    ++packed;
    const PackedWeight weight({&part, 1});
    EXPECT_EQ(to_string(packed_problem(storage)), to_string(weight.problem()));
    const at::Tensor wanted = dequantize(storage).t().to(at::kDouble);
    for (const Isa isa : attainable_isas())
      for (const auto scales : {kernels::ActivationScales::Row, kernels::ActivationScales::Unit}) {
        exec_.get().isa = isa;
        const Arena::Frame frame(exec_.get().arena);
        Activation x(exec_.get(), at::eye(kK) * 127);
        at::Tensor y = at::full({kK, 7}, std::numeric_limits<float>::quiet_NaN());
        linear_into(exec_.get(), x, weight, scales, {.y = y.data_ptr<float>(), .stride = 7});
        const at::Tensor error = (y.to(at::kDouble) - wanted * 127).abs();
        ASSERT_TRUE((error <= wanted.abs() * (127 * 6 * 0x1p-24)).all().item<bool>()) << to_string(isa);
      }
  }
  EXPECT_GT(packed, 40);
}

TEST_F(FormatStorageTest, WhyOthersKeepTheirActivations) {
  const auto why = [&](const char* format) {
    const Storage storage = stored(format, 16, 192);
    const Storage* part = &storage;
    return why_not_packed({&part, 1});
  };
  for (const char* format : {"mxfp4", "nvfp4", "e2m1 row f32", "e2m1 group:64 f16", "int4 group:32 e8m0"})
    EXPECT_EQ(why(format), "") << format;
  EXPECT_THAT(why("nf4 group:64 f16"), HasSubstr("nf4 codes are no small multiples"));
  EXPECT_THAT(why("mxfp8_e4m3"), HasSubstr("e4m3 codes"));
  EXPECT_THAT(why("uint4 group:32 e8m0"), HasSubstr("uint4 codes"));
  EXPECT_THAT(why("e2m1 group:16 e8m0"), HasSubstr("groups of 16"));
  EXPECT_THAT(why("e2m1 group:32 f32"), HasSubstr("f32 scales"));
  const Storage dense = make_dense(random_matrix(16, 64, 1), ElementType::Float32);
  const Storage mx = stored("mxfp4", 16, 64), nv = stored("nvfp4", 16, 64);
  const Storage* mixed[] = {&mx, &nv};
  EXPECT_THAT(why_not_packed(mixed), HasSubstr("differ"));
  const Storage* only[] = {&dense};
  EXPECT_THAT(why_not_packed(only), HasSubstr("no integer kernel"));
}

TEST_F(FormatStorageTest, BytesAreExact) {
  const auto bytes = [&](const char* format, int64_t rows, int64_t columns) {
    return bytes_of(stored(format, rows, columns));
  };
  EXPECT_EQ(bytes("mxfp4", 4, 64), 4 * (32 + 2));
  EXPECT_EQ(bytes("nvfp4", 4, 64), 4 * (32 + 4) + 4);
  EXPECT_EQ(bytes("mxfp6_e3m2", 4, 64), 4 * (48 + 2));
  EXPECT_EQ(bytes("e4m3 tensor f32", 4, 64), 4 * 64 + 4);
  EXPECT_EQ(bytes("e4m3 block:3x32 f32", 4, 64), 4 * 64 + 2 * 2 * 4);
  EXPECT_EQ(bytes("nf4 group:64 f16", 4, 65), 4 * (33 + 2 * 2)) << "a row of 65 nibbles ends in half a byte";
  EXPECT_EQ(bytes("binary row f16", 4, 64), 4 * (8 + 2));
  EXPECT_EQ(bytes("complex row f16", 4, 64), 4 * (8 + 2));
  EXPECT_EQ(bytes("complex row f16x2", 4, 64), 4 * (8 + 4));
  EXPECT_EQ(bytes("complex tensor f32x2", 4, 64), 4 * 8 + 8);
  EXPECT_EQ(bytes("uint3 group:32 f32", 4, 64), 4 * (24 + 8 + 1)) << "two zero points of 3 bits";
  EXPECT_EQ(bytes("int5 group:32 u4_f16", 4, 64), 4 * (40 + 1) + 4 * 2);
  for (const char* format :
       {"mxfp4", "nvfp4", "mxfp8_e5m2", "binary row f16", "int5 group:32 u4_f16", "complex group:32 f16x2"})
    EXPECT_DOUBLE_EQ(8.0 * static_cast<double>(bytes(format, 4, 64)) / 256,
                     parse_weight_format(format).bits_per_element(4, 64))
        << format;
}

TEST_F(FormatStorageTest, RandomRoundingFollowsTheSeedAlone) {
  const at::Tensor weight = random_matrix(37, 64, 3);
  const MatrixFormat format = parse_weight_format("mxfp4 truncation-free");
  OwnedExecContext one(1);
  const auto rounded = [&](ExecContext& exec, uint64_t seed) {
    const Storage storage = quantize_to_format(exec, weight, format, RoundingSource(Rounding::Stochastic, {seed}));
    return std::get<FormatStorage>(storage).codes;
  };
  const at::Tensor codes = rounded(exec_.get(), 1);
  EXPECT_TRUE(same_bits(codes, rounded(one.get(), 1)));
  EXPECT_FALSE(same_bits(codes, rounded(one.get(), 2)));
}

TEST_F(FormatStorageTest, RefusesWhatItCannotHold) {
  EXPECT_THROW(stored("complex row f16", 4, 65), InvalidArgument);
  EXPECT_THROW(quantize_to_format(exec_.get(), random_matrix(4, 64, 1), parse_weight_format("complex row f16"),
                                  RoundingSource(Rounding::Stochastic)),
               Unsupported);
  at::Tensor weight = random_matrix(4, 64, 1);
  weight[2][3] = std::numeric_limits<float>::infinity();
  try {
    quantize_to_format(exec_.get(), weight, parse_weight_format("mxfp4"));
    FAIL() << "an infinite weight was rounded";
  } catch (const NumericError& problem) {
    EXPECT_THAT(problem.what(), HasSubstr("[2, 3]"));
  }
}

TEST_F(FormatStorageTest, ValidationNamesTheTensor) {
  const auto message = [&](const char* format, auto change) -> std::string {
    FormatStorage broken = std::get<FormatStorage>(stored(format, 4, 64));
    for (at::Tensor* part : {&broken.codes, &broken.scales, &broken.outer, &broken.zeros})
      if (part->defined()) *part = part->clone();
    EXPECT_NO_THROW(validate(broken));
    change(broken);
    try {
      validate(broken);
    } catch (const InvalidArgument& problem) {
      return problem.what();
    }
    return "accepted";
  };
  EXPECT_THAT(message("mxfp4", [](auto& s) { s.codes = at::zeros({4, 31}, at::kByte); }), HasSubstr("'codes'"));
  EXPECT_THAT(message("mxfp4", [](auto& s) { s.codes = s.codes.to(at::kInt); }), HasSubstr("'codes'"));
  EXPECT_THAT(message("mxfp4", [](auto& s) { s.scales = at::Tensor(); }), HasSubstr("'scales'"));
  EXPECT_THAT(message("nvfp4", [](auto& s) { s.outer = at::Tensor(); }), HasSubstr("'outer'"));
  EXPECT_THAT(message("uint5 row f16", [](auto& s) { s.zeros = at::Tensor(); }), HasSubstr("'zeros'"));
  EXPECT_THAT(message("mxfp4", [](auto& s) { s.scales.fill_(255); }), HasSubstr("'scales' is nan in e8m0"));
  EXPECT_THAT(message("nf4 row f16", [](auto& s) { s.scales.zero_(); }), HasSubstr("positive"));
  EXPECT_THAT(message("complex row f16x2", [](auto& s) { s.scales = s.scales.narrow(1, 0, 2).contiguous(); }),
              HasSubstr("'scales' must be a contiguous Byte [4, 4]"));
  EXPECT_THAT(message("nvfp4", [](auto& s) { s.outer.fill_(255); }), HasSubstr("'outer' is"));
  EXPECT_THAT(message("e4m3 row f16", [](auto& s) { s.codes.fill_(127); }), HasSubstr("'codes' is nan in e4m3"));
  EXPECT_THAT(message("mxfp4", [](auto& s) { s.rows = 5; }), HasSubstr("'codes'"));
  EXPECT_THAT(message("mxfp4", [](auto& s) { s.columns = 0; }), HasSubstr("4 x 0"));
  EXPECT_THAT(message("mxfp4", [](auto& s) { s.format = parse_weight_format("int4 group:32 f16"); }),
              HasSubstr("int4 group 32 symmetric"));
}

}  // namespace
}  // namespace halftone
