// Storages under codebooks of one's own: exact bytes, each weight the nearest entry, the same values from rows and
// kernels of every instruction set, and what validation refuses.
#include "tensor/codebook_storage.h"

#include <ATen/ops/eye.h>
#include <ATen/ops/full.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "numerics/half.h"
#include "random_matrix.h"
#include "tensor/ops.h"

namespace halftone {
namespace {

using testing::HasSubstr;

class CodebookStorageTest : public testing::Test {
 protected:
  static constexpr int64_t kRows = 7, kColumns = 100;  // short last groups and blocks
  Storage stored(const char* text, int64_t rows = kRows, int64_t columns = kColumns, uint64_t seed = 0) {
    return quantize_to_codebook(exec_.get(), random_matrix(rows, columns, 1), parse_codebook_spec(text),
                                {.seed = seed});
  }
  /// Entries of a file, as values of CodebookSpec.
  CodebookSpec given(std::vector<float> values, int dimension, const char* scaling) {
    CodebookSpec spec;
    spec.table = fits_f16(values) ? ElementType::Float16 : ElementType::Float32;
    spec.entries = static_cast<int64_t>(values.size()) / dimension;
    spec.dimension = dimension;
    spec.given.emplace("file", std::move(values), dimension);
    spec.scaling = parse_scaling(scaling);
    return spec;
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

TEST_F(CodebookStorageTest, Golden) {
  // Scales max / 4 (the table's smaller end): 2 and 0.5; then the nearest of -4, 0, 1, 5 to each x / scale.
  at::Tensor weight = at::full({2, 4}, 0.0f);
  const float values[2][4] = {{8, -7, 1.2f, 0.9f}, {2, -0.25f, 0.3f, -1.9f}};
  for (int row = 0; row < 2; ++row)
    for (int k = 0; k < 4; ++k) weight[row][k] = values[row][k];
  const Storage storage = quantize_to_codebook(exec_.get(), weight, given({-4, 0, 1, 5}, 1, "row f16"));
  const auto& codebook = std::get<CodebookStorage>(storage);
  EXPECT_EQ(describe(storage), "codebook 4 f16 row f16 absmax");
  // 8 / 2 = 4: 5; -3.5: -4; 0.6: 1; 0.45: 0. 4: 5; -0.5: 0; 0.6: 1; -3.8: -4. Four codes of 2 bits, lowest first.
  EXPECT_EQ(codebook.indexed.codes[0][0].item<int>(), 3 | 0 << 2 | 2 << 4 | 1 << 6);
  EXPECT_EQ(codebook.indexed.codes[1][0].item<int>(), 3 | 1 << 2 | 2 << 4 | 0 << 6);
  const at::Tensor back = dequantize(storage);
  const float wanted[2][4] = {{10, -8, 2, 0}, {2.5f, 0, 0.5f, -2}};
  for (int row = 0; row < 2; ++row)
    for (int k = 0; k < 4; ++k) EXPECT_EQ(back[row][k].item<float>(), wanted[row][k]) << row << ' ' << k;
}

TEST_F(CodebookStorageTest, BytesAreExact) {
  const auto bytes = [&](const char* text) { return bytes_of(stored(text, 4, 64)); };
  EXPECT_EQ(bytes("kmeans:16"), 4 * 32 + 16 * 2);
  EXPECT_EQ(bytes("kmeans:16:f32"), 4 * 32 + 16 * 4);
  EXPECT_EQ(bytes("kmeans:16 group:16 f16"), 4 * (32 + 4 * 2) + 16 * 2);
  EXPECT_EQ(bytes("kmeans:17"), 4 * 40 + 17 * 2) << "5 bits";
  EXPECT_EQ(bytes("kmeans:3 row e8m0"), 4 * (16 + 1) + 3 * 2);
  EXPECT_EQ(bytes("kmeans:16x4"), 4 * 8 + 16 * 4 * 2) << "16 indices of 4 bits a row";
  EXPECT_EQ(bytes("kmeans:5x4 row f16"), 4 * (6 + 2) + 5 * 4 * 2) << "16 indices of 3 bits";
  EXPECT_EQ(bytes("kmeans:32x2 group:32 e4m3_f32"), 4 * (20 + 2) + 4 + 32 * 2 * 2);
}

TEST_F(CodebookStorageTest, EveryVectorIsItsNearestEntry) {
  for (const char* text : {"kmeans:16", "kmeans:11 group:16 f16", "kmeans:100:f32 row f32", "kmeans:9x4",
                           "kmeans:30x2 group:32 f16", "kmeans:5x10 block:2x20 e8m0"}) {
    SCOPED_TRACE(text);
    const at::Tensor weight = random_matrix(kRows, kColumns, 1);
    const Storage storage = stored(text);
    const auto& codebook = std::get<CodebookStorage>(storage);
    ASSERT_NO_THROW(validate(storage));
    const at::Tensor values = dequantize(storage), table = codebook.table.to(at::kFloat);
    const int64_t dimension = table.size(1);
    FormatReader reader(codebook.indexed);
    for (int64_t row = 0; row < kRows; ++row) {
      const std::span<const float> scales = reader.scales(row);
      for (int64_t k = 0; k < kColumns; k += dimension) {
        const double scale = scales[static_cast<size_t>(k / reader.grid().block_columns())];
        const auto distance = [&](auto value) {
          double sum = 0;
          for (int64_t i = 0; i < dimension; ++i) sum += std::pow(weight[row][k + i].item<double>() - value(i), 2);
          return sum;
        };
        const double chosen = distance([&](int64_t i) { return values[row][k + i].item<double>(); });
        for (int64_t entry = 0; entry < table.size(0); ++entry)  // x / scale and value * scale are rounded
          ASSERT_LE(chosen, distance([&](int64_t i) { return table[entry][i].item<double>() * scale; }) + 1e-5);
      }
    }
  }
}

TEST_F(CodebookStorageTest, RowsAndKernelsGiveTheStoredValues) {
  for (const char* text : {"kmeans:2", "kmeans:3 tensor f16", "kmeans:4 group:16 e4m3_f32", "kmeans:11 row bf16",
                           "kmeans:16", "kmeans:16 group:32 e8m0", "kmeans:13 block:3x32 f16", "kmeans:16 group:24 f16",
                           "kmeans:17", "kmeans:256 group:32 f16", "kmeans:9x4", "kmeans:64x2 group:32 f16"}) {
    SCOPED_TRACE(text);
    const Storage storage = stored(text);
    const at::Tensor values = dequantize(storage);
    const std::vector<int32_t> ids = {4, 0, 4};
    const at::Tensor rows = dequantize_rows(storage, ids);
    for (size_t i = 0; i < ids.size(); ++i) EXPECT_TRUE(same_bits(rows[i], values[ids[i]]));
    // One product in each sum is not 0: only the sign of a 0 may be lost.
    for (const Isa isa : attainable_isas()) ASSERT_TRUE(through_kernel(storage, isa).equal(values)) << to_string(isa);
  }
}

TEST_F(CodebookStorageTest, SixteenNumbersRunInARegister) {
  const auto problem = [&](const char* text) {
    const Storage storage = stored(text);
    const PreparedWeight prepared(storage);
    EXPECT_STRNE(kernels::select(kernels::gemm_table(), prepared.problem(), Isa::Avx2).name, "reference") << text;
    return to_string(prepared.problem());
  };
  EXPECT_EQ(problem("kmeans:16"), "m=1 n=7 k=100 codebook/row");
  EXPECT_EQ(problem("kmeans:9 group:32 f16"), "m=1 n=7 k=100 codebook/group group=32");
  EXPECT_EQ(problem("kmeans:4 group:32 e8m0"), "m=1 n=7 k=100 codebook/group group=32 coded");
  EXPECT_EQ(problem("kmeans:17"), "m=1 n=7 k=100 f32") << "expanded";
  EXPECT_EQ(problem("kmeans:16x2"), "m=1 n=7 k=100 f32") << "expanded";
}

TEST_F(CodebookStorageTest, APreparedWeightOutlivesItsStorage) {
  auto storage = std::make_unique<Storage>(stored("kmeans:16 row f16"));
  const at::Tensor values = dequantize(*storage);
  const PreparedWeight prepared(*storage);
  storage.reset();
  at::Tensor y = at::full({kColumns, kRows}, std::numeric_limits<float>::quiet_NaN());
  Activation x(exec_.get(), at::eye(kColumns));
  linear_into(exec_.get(), x, prepared, {.y = y.data_ptr<float>(), .stride = kRows});
  EXPECT_TRUE(y.t().equal(values));
}

TEST_F(CodebookStorageTest, AFilesTableIsKeptExactly) {
  const at::Tensor weight = random_matrix(kRows, kColumns, 3);
  const Storage half = quantize_to_codebook(exec_.get(), weight, given({0.5f, -1, 0, 2}, 1, ""));
  EXPECT_EQ(describe(half), "codebook 4 f16");
  const Storage single = quantize_to_codebook(exec_.get(), weight, given({0.1f, -1, 0, 2}, 1, ""));
  EXPECT_EQ(describe(single), "codebook 4 f32");
  EXPECT_EQ(std::get<CodebookStorage>(single).table[0][0].item<float>(), 0.1f);
}

TEST_F(CodebookStorageTest, TablesFollowTheSeedNotTheThreads) {
  const at::Tensor weight = random_matrix(64, 64, 5);
  OwnedExecContext one(1);
  const auto table = [&](ExecContext& exec, uint64_t seed) {
    const Storage storage = quantize_to_codebook(exec, weight, parse_codebook_spec("kmeans:32x4"), {.seed = seed});
    return std::get<CodebookStorage>(storage).table;
  };
  EXPECT_TRUE(same_bits(table(exec_.get(), 1), table(one.get(), 1)));
  EXPECT_FALSE(same_bits(table(one.get(), 1), table(one.get(), 2)));
}

TEST_F(CodebookStorageTest, RefusesWhatItCannotHold) {
  EXPECT_THROW(stored("kmeans:16x3"), InvalidArgument) << "3 do not divide 100";
  EXPECT_THROW(stored("kmeans:16x4 group:10 f16"), InvalidArgument) << "nor 4 a group of 10";
  EXPECT_THROW(stored("kmeans:16x4 channel f16"), InvalidArgument);
  EXPECT_THROW(stored("kmeans:701"), InvalidArgument) << "700 weights";
  const at::Tensor weight = random_matrix(kRows, kColumns, 1);
  EXPECT_THROW(quantize_to_codebook(exec_.get(), weight, parse_codebook_spec("kmeans:16x4"), {},
                                    RoundingSource(Rounding::Stochastic)),
               Unsupported);
  EXPECT_THROW(quantize_to_codebook(exec_.get(), weight.mul(1e6), parse_codebook_spec("kmeans:16")), NumericError)
      << "a table beyond f16";
  EXPECT_NO_THROW(quantize_to_codebook(exec_.get(), weight.mul(1e6), parse_codebook_spec("kmeans:16:f32")));
  EXPECT_NO_THROW(quantize_to_codebook(exec_.get(), weight.mul(1e6), parse_codebook_spec("kmeans:16 row f32")));
  weight[2][3] = std::numeric_limits<float>::infinity();
  EXPECT_THROW(quantize_to_codebook(exec_.get(), weight, parse_codebook_spec("kmeans:16")), NumericError);
}

TEST_F(CodebookStorageTest, ValidationNamesTheTensor) {
  const auto message = [&](const char* text, auto change) -> std::string {
    CodebookStorage broken = std::get<CodebookStorage>(stored(text, 4, 64));
    for (at::Tensor* part : {&broken.table, &broken.indexed.codes, &broken.indexed.scales})
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
  const char* grouped = "kmeans:11 group:16 f16";
  EXPECT_THAT(message(grouped, [](auto& s) { s.table[4][0] = 0.125f; }), HasSubstr("'table' differs"));
  EXPECT_THAT(message(grouped, [](auto& s) { s.table = s.table.to(at::kDouble); }), HasSubstr("'table' must be"));
  EXPECT_THAT(message(grouped, [](auto& s) { s.table = at::Tensor(); }), HasSubstr("'table' must be"));
  EXPECT_THAT(message(grouped, [](auto& s) { s.indexed.scales = at::Tensor(); }), HasSubstr("'scales'"));
  EXPECT_THAT(message(grouped, [](auto& s) { s.indexed.scales.zero_(); }), HasSubstr("positive"));
  EXPECT_THAT(message(grouped, [](auto& s) { s.indexed.rows = 5; }), HasSubstr("'codes'"));
  EXPECT_THAT(message(grouped, [](auto& s) { s.indexed.codes[2][7] = 0x0b; }),
              HasSubstr("index 11 at place 14 of row 2 of storage tensor 'codes' is past the table of 11 entries"));
  EXPECT_THAT(message("kmeans:16x4", [](auto& s) { s.indexed.columns = 66; }), HasSubstr("4 numbers at a time"));
}

}  // namespace
}  // namespace halftone
