// Microscaling blocks: hand-built ones byte by byte, and round trips of matrices with short last blocks.
#include "numerics/formats/micro_block.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "base/philox.h"
#include "numerics/formats/element_codec.h"
#include "numerics/gguf_blocks.h"

namespace halftone {
namespace {

std::vector<float> random_values(int64_t count, uint64_t seed) {
  PhiloxStream random(seed);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = std::ldexp(random.uniform() - 0.5f, static_cast<int>(random() % 6));
  return values;
}

std::vector<float> values_of(const QuantizedMatrix& matrix) {
  std::vector<float> values(static_cast<size_t>(matrix.rows * matrix.columns), -12345.678f);
  dequantize_matrix(matrix, values);
  return values;
}

TEST(MicroBlock, HandBuiltMxfp4) {
  std::vector<float> x(32);
  x[0] = 1.5f;  // largest 7: OCP's exponent floor(log2 7) - 2 = 0, TetraJet's ceil(log2(7 / 6)) = 1
  x[1] = -7.0f;
  x[2] = 0.5f;
  x[31] = 3.0f;
  const auto ocp = to_micro_blocks<MxBlock<4>>(quantize_matrix(micro_matrix_format("mxfp4"), x, 1, 32));
  ASSERT_EQ(ocp.size(), 1u);
  EXPECT_EQ(ocp[0].scale, 127);
  EXPECT_EQ(ocp[0].codes[0], 0xf3) << "1.5 low, -6 (saturated) high";
  EXPECT_EQ(ocp[0].codes[1], 0x01);
  EXPECT_EQ(ocp[0].codes[15], 0x50);
  const MatrixFormat tetrajet = micro_matrix_format("mxfp4", ScaleRule::TruncationFree);
  const auto free = to_micro_blocks<MxBlock<4>>(quantize_matrix(tetrajet, x, 1, 32));
  EXPECT_EQ(free[0].scale, 128);
  EXPECT_EQ(free[0].codes[0], 0xe2) << "0.75 ties to 1, -3.5 to -4";
}

TEST(MicroBlock, HandBuiltNvfp4) {
  std::vector<float> x(32);
  x[0] = 2688.0f;  // 6 * 448: the tensor scale is 1 and this block's 448
  x[17] = 12.0f;
  x[18] = -3.0f;
  const QuantizedMatrix matrix = quantize_matrix(micro_matrix_format("nvfp4"), x, 1, 32);
  ASSERT_EQ(matrix.outer.size(), 1u);
  EXPECT_EQ(f32_from_bits(matrix.outer[0]), 1.0f);
  const auto blocks = to_micro_blocks<Nvfp4Block>(matrix);
  ASSERT_EQ(blocks.size(), 2u);
  EXPECT_EQ(blocks[0].scale, 0x7e);
  EXPECT_EQ(blocks[0].codes[0], 0x07);
  EXPECT_EQ(decode(kE4m3, blocks[1].scale), 2.0f);
  EXPECT_EQ(blocks[1].codes[0], 0x70);
  EXPECT_EQ(blocks[1].codes[1], 0x0b) << "-3 / 2 = -1.5";
}

template <class Block>
void expect_round_trip(const char* name) {
  for (const auto& [rows, columns] : {std::pair<int64_t, int64_t>{1, 1}, {3, 31}, {5, 33}, {2, 64}, {7, 100}}) {
    const MatrixFormat format = micro_matrix_format(name);
    const QuantizedMatrix matrix = quantize_matrix(format, random_values(rows * columns, 3), rows, columns);
    const auto blocks = to_micro_blocks<Block>(matrix);
    ASSERT_EQ(static_cast<int64_t>(blocks.size()), rows * ((columns + Block::kElements - 1) / Block::kElements));
    const auto back = from_micro_blocks<Block>(format, rows, columns, blocks, matrix.outer);
    ASSERT_EQ(back.codes, matrix.codes) << name;
    ASSERT_EQ(back.scales, matrix.scales) << name;
    ASSERT_EQ(values_of(back), values_of(matrix)) << name;
  }
}

TEST(MicroBlock, MatricesComeBackFromEveryBlock) {
  expect_round_trip<MxBlock<8>>("mxfp8_e4m3");
  expect_round_trip<MxBlock<8>>("mxfp8_e5m2");
  expect_round_trip<MxBlock<6>>("mxfp6_e3m2");
  expect_round_trip<MxBlock<6>>("mxfp6_e2m3");
  expect_round_trip<MxBlock<4>>("mxfp4");
  expect_round_trip<Nvfp4Block>("nvfp4");
}

// GGUF's MXFP4 arranges the same numbers another way: its decoder must give the same values.
TEST(MicroBlock, Mxfp4HoldsTheValuesOfGgufBlocks) {
  const std::vector<float> x = random_values(32, 5);
  const QuantizedMatrix matrix = quantize_matrix(micro_matrix_format("mxfp4"), x, 1, 32);
  Mxfp4Block block{};
  block.e = static_cast<uint8_t>(matrix.scales[0]);
  for (size_t j = 0; j < 16; ++j) block.qs[j] = static_cast<uint8_t>(matrix.codes[j] | matrix.codes[j + 16] << 4);
  std::vector<float> decoded(32, -12345.678f);
  decode_blocks(GgufType::MXFP4, reinterpret_cast<const std::byte*>(&block), 32, decoded.data());
  EXPECT_EQ(decoded, values_of(matrix));
}

TEST(MicroBlock, AScaleOfAllOnesIsNanAndWrongSizesAreErrors) {
  MxBlock<8> block{};
  block.scale = 0xff;
  const MatrixFormat format = micro_matrix_format("mxfp8_e4m3");
  for (const float value : values_of(from_micro_blocks<MxBlock<8>>(format, 1, 32, std::span(&block, 1))))
    EXPECT_TRUE(std::isnan(value));
  EXPECT_THROW(from_micro_blocks<MxBlock<8>>(format, 1, 33, std::span(&block, 1)), InvalidArgument);
  EXPECT_THROW(from_micro_blocks<MxBlock<8>>(micro_matrix_format("mxfp4"), 1, 32, std::span(&block, 1)),
               InvalidArgument);
  const Nvfp4Block two[2] = {};
  EXPECT_THROW(from_micro_blocks<Nvfp4Block>(micro_matrix_format("nvfp4"), 1, 32, std::span(two)), InvalidArgument)
      << "the tensor's scale is missing";
  EXPECT_THROW(micro_matrix_format("mxfp5"), InvalidArgument);
  const QuantizedMatrix rows =
      quantize_matrix(parse_matrix_format("e2m1 row e8m0 ocp-floor"), random_values(32, 1), 1, 32);
  EXPECT_THROW(to_micro_blocks<MxBlock<4>>(rows), InvalidArgument);
}

// An E4M3 scale of 0 in a foreign file makes its block 0.
TEST(MicroBlock, AStoredScaleOfZeroGivesZeros) {
  Nvfp4Block block{};
  for (uint8_t& byte : block.codes) byte = 0x77;
  const auto matrix = from_micro_blocks<Nvfp4Block>(micro_matrix_format("nvfp4"), 1, 16,
                                                    std::span<const Nvfp4Block>(&block, 1), {f32_bits(2.0f)});
  for (const float value : values_of(matrix)) EXPECT_EQ(value, 0);
}

}  // namespace
}  // namespace halftone
