// GGUF blocks against blocks built by hand from the drawings in the header, and bit for bit against values from the
// `gguf` Python package (tests/goldens/make_gguf_block_goldens.py).
#include "numerics/gguf_blocks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/philox.h"
#include "numerics/half.h"

namespace halftone {
namespace {

constexpr float kPoison = -12345.678f;

template <class Block>
std::vector<float> decode_one(GgufType type, const Block& block) {
  std::vector<float> out(static_cast<size_t>(find_gguf_type(static_cast<uint32_t>(type))->block_elements), kPoison);
  decode_blocks(type, reinterpret_cast<const std::byte*>(&block), static_cast<int64_t>(out.size()), out.data());
  return out;
}

std::string from_hex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return bytes;
}

std::vector<uint32_t> words_of(const std::string& bytes) {
  std::vector<uint32_t> words(bytes.size() / 4);
  std::memcpy(words.data(), bytes.data(), words.size() * 4);
  return words;
}

TEST(GgufBlocks, TableHasThePublishedSizes) {
  struct Row {
    uint32_t id;
    const char* name;
    int elements, bytes;
  };
  const Row rows[] = {{0, "F32", 1, 4},       {1, "F16", 1, 2},       {2, "Q4_0", 32, 18},    {3, "Q4_1", 32, 20},
                      {6, "Q5_0", 32, 22},    {7, "Q5_1", 32, 24},    {8, "Q8_0", 32, 34},    {10, "Q2_K", 256, 84},
                      {11, "Q3_K", 256, 110}, {12, "Q4_K", 256, 144}, {13, "Q5_K", 256, 176}, {14, "Q6_K", 256, 210},
                      {24, "I8", 1, 1},       {25, "I16", 1, 2},      {26, "I32", 1, 4},      {27, "I64", 1, 8},
                      {28, "F64", 1, 8},      {30, "BF16", 1, 2},     {39, "MXFP4", 32, 17}};
  ASSERT_EQ(std::size(rows), kGgufTypes.size());
  for (const Row& row : rows) {
    const GgufTypeInfo* info = find_gguf_type(row.id);
    ASSERT_NE(info, nullptr) << row.name;
    EXPECT_EQ(info->name, row.name);
    EXPECT_EQ(info->block_elements, row.elements) << row.name;
    EXPECT_EQ(info->block_bytes, row.bytes) << row.name;
    EXPECT_EQ(parse_gguf_type(row.name), info->type);
  }
  EXPECT_EQ(find_gguf_type(16), nullptr);
  EXPECT_EQ(gguf_bytes(GgufType::Q4_K, 512), 288);
  EXPECT_THROW(parse_gguf_type("Q9_9"), InvalidArgument);
}

// Taken apart and put together in double, blocks of random bits have the values that decode_blocks gives (which the
// goldens hold to ggml's): code * scale is exact, and one rounding adds the minimum.
TEST(GgufBlocks, IntegersStandForTheValues) {
  PhiloxStream random(3);
  for (const AffineType& info : kAffineTypes)
    for (int round = 0; round < 50; ++round) {
      std::vector<std::byte> block(static_cast<size_t>(gguf_bytes(info.type, info.elements)));
      for (auto& byte : block) byte = static_cast<std::byte>(random());
      std::vector<float> values(static_cast<size_t>(info.elements), kPoison);
      decode_blocks(info.type, block.data(), info.elements, values.data());
      BlockIntegers parts;
      unpack_block(info.type, block.data(), parts);
      const double d = f16_to_f32(parts.d), m = f16_to_f32(parts.m);
      if (!std::isfinite(d) || !std::isfinite(m)) continue;
      for (int i = 0; i < info.elements; ++i) {
        const double scale = d * parts.scales[i / info.run], minimum = m * parts.mins[i / info.run];
        const double value = parts.codes[i] * scale + (info.minimums ? minimum : 0);
        ASSERT_EQ(values[static_cast<size_t>(i)], static_cast<float>(value)) << to_string(info.type) << " " << i;
      }
    }
  BlockIntegers parts;
  const Mxfp4Block other{};
  EXPECT_THROW(unpack_block(GgufType::MXFP4, reinterpret_cast<const std::byte*>(&other), parts), Unsupported);
}

TEST(GgufBlocks, Q4_0ByHand) {
  Q4_0Block block{};
  block.d = f32_to_f16(0.5f);
  std::memset(block.qs, 0x88, 16);
  block.qs[3] = 0x1f;  // element 3 has code 15, element 19 code 1
  auto want = std::vector<float>(32, 0.0f);
  want[3] = 3.5f;
  want[19] = -3.5f;
  EXPECT_EQ(decode_one(GgufType::Q4_0, block), want);
}

TEST(GgufBlocks, Q5_1ByHand) {
  Q5_1Block block{};
  block.d = f32_to_f16(2.0f);
  block.m = f32_to_f16(-1.0f);
  block.qs[0] = 0x21;
  block.qh[0] = 0x01;  // element 0: 1 + 16
  block.qh[2] = 0x01;  // element 16: 2 + 16
  auto want = std::vector<float>(32, -1.0f);
  want[0] = 33.0f;
  want[16] = 35.0f;
  EXPECT_EQ(decode_one(GgufType::Q5_1, block), want);
}

TEST(GgufBlocks, Q4_KByHand) {
  Q4_KBlock block{};
  block.d = f32_to_f16(1.0f);
  block.dmin = f32_to_f16(0.5f);
  block.scales[1] = 5;       // run 1: scale 5
  block.scales[5] = 4;       // run 1: minimum 4
  block.scales[2] = 2 << 6;  // run 6: upper bits of the scale, 2
  block.scales[6] = 1 << 6;  // run 6: upper bits of the minimum, 1
  block.scales[10] = 0x37;   // run 6: lower bits of the scale 7, of the minimum 3
  block.qs[9] = 0x30;        // run 1 (high nibbles of bytes 0..31), element 9: 3
  block.qs[96 + 31] = 0x0c;  // run 6 (low nibbles of bytes 96..127), element 31: 12
  const auto out = decode_one(GgufType::Q4_K, block);
  for (int run = 0; run < 8; ++run)
    for (int l = 0; l < 32; ++l) {
      float want = run == 1 ? -2.0f : run == 6 ? -9.5f : 0.0f;  // -dmin * 4, -dmin * (16 + 3)
      if (run == 1 && l == 9) want += 15.0f;
      if (run == 6 && l == 31) want += (32 + 7) * 12.0f;
      EXPECT_EQ(out[static_cast<size_t>(run * 32 + l)], want) << run << ' ' << l;
    }
}

TEST(GgufBlocks, Q6_KByHand) {
  Q6_KBlock block{};
  block.d = f32_to_f16(0.25f);
  block.scales[13] = -3;       // run 13: half 1, part 2, elements 16..31 of the part
  block.ql[64 + 20] = 0x90;    // part 2: high nibble, 9
  block.qh[32 + 20] = 2 << 4;  // upper bits 2
  const auto out = decode_one(GgufType::Q6_K, block);
  for (int i = 0; i < 256; ++i) {
    const int run = i / 16;
    float want = run == 13 ? 0.25f * -3 * -32 : 0.0f;
    if (i == 128 + 64 + 20) want = 0.25f * -3 * (9 + 32 - 32);
    EXPECT_EQ(out[static_cast<size_t>(i)], want) << i;
  }
}

TEST(GgufBlocks, Mxfp4CodesAndScales) {
  Mxfp4Block block{};
  for (int j = 0; j < 16; ++j) block.qs[j] = static_cast<uint8_t>(j | (15 - j) << 4);
  const std::vector<float> codes = {0, .5f, 1, 1.5f, 2, 3, 4, 6, -0.f, -.5f, -1, -1.5f, -2, -3, -4, -6};
  for (const int e : {0, 1, 126, 127, 130, 254}) {
    block.e = static_cast<uint8_t>(e);
    const auto out = decode_one(GgufType::MXFP4, block);
    for (size_t j = 0; j < 16; ++j) {
      const auto scaled = [&](float code) { return static_cast<float>(code * std::ldexp(1.0, e - 127)); };
      EXPECT_EQ(out[j], scaled(codes[j])) << e;
      EXPECT_EQ(out[j + 16], scaled(codes[15 - j])) << e;
    }
  }
  block.e = 255;
  for (const float value : decode_one(GgufType::MXFP4, block)) EXPECT_TRUE(std::isnan(value));
}

TEST(GgufBlocks, IntegersAndDoublesBecomeFloats) {
  const int8_t i8[] = {-128, 0, 127};
  const int16_t i16[] = {-32768, 7, 32767};
  const int32_t i32[] = {INT32_MIN, 16777217, 5};  // 2^24 + 1 ties to 2^24
  const int64_t i64[] = {INT64_MIN, 3, INT64_MAX};
  const double f64[] = {0.1, -1e300, 2.0};
  float out[3];
  const auto decode = [&](GgufType type, const void* from) {
    std::fill(std::begin(out), std::end(out), kPoison);
    decode_blocks(type, static_cast<const std::byte*>(from), 3, out);
  };
  decode(GgufType::I8, i8);
  EXPECT_THAT(out, testing::ElementsAre(-128.f, 0.f, 127.f));
  decode(GgufType::I16, i16);
  EXPECT_THAT(out, testing::ElementsAre(-32768.f, 7.f, 32767.f));
  decode(GgufType::I32, i32);
  EXPECT_THAT(out, testing::ElementsAre(-0x1p31f, 0x1p24f, 5.f));
  decode(GgufType::I64, i64);
  EXPECT_THAT(out, testing::ElementsAre(-0x1p63f, 3.f, 0x1p63f));
  decode(GgufType::F64, f64);
  EXPECT_THAT(out, testing::ElementsAre(0.1f, -std::numeric_limits<float>::infinity(), 2.f));
}

/// Blocks at an odd address decode to the same bits, and nothing past the last element is written.
TEST(GgufBlocks, DecodesTheGoldensBitForBit) {
  std::ifstream goldens("tests/goldens/gguf_blocks.txt");
  ASSERT_TRUE(goldens) << "run from the repository's root";
  std::string operation, name, source, target;
  int decoded = 0;
  while (goldens >> operation >> name >> source >> target) {
    if (operation != "decode") continue;
    ++decoded;
    const std::string blocks = "x" + from_hex(source);
    const std::vector<uint32_t> want = words_of(from_hex(target));
    std::vector<float> out(want.size() + 1, kPoison);
    decode_blocks(parse_gguf_type(name), reinterpret_cast<const std::byte*>(blocks.data()) + 1,
                  static_cast<int64_t>(want.size()), out.data());
    if (name == "MXFP4")
      for (float& value : out) value += 0.0f;  // the package has no -0 here, see the header
    for (size_t i = 0; i < want.size(); ++i)
      ASSERT_EQ(std::bit_cast<uint32_t>(out[i]), want[i])
          << name << " element " << i << ": " << out[i] << ", wanted " << std::bit_cast<float>(want[i]);
    EXPECT_EQ(out.back(), kPoison);
  }
  EXPECT_EQ(decoded, 14);
}

TEST(GgufBlocks, EncodesTheGoldensByteForByte) {
  std::ifstream goldens("tests/goldens/gguf_blocks.txt");
  ASSERT_TRUE(goldens) << "run from the repository's root";
  std::string operation, name, source, target;
  int encoded = 0;
  while (goldens >> operation >> name >> source >> target) {
    if (operation != "encode") continue;
    ++encoded;
    const std::string floats = from_hex(source), want = from_hex(target);
    std::vector<float> in(floats.size() / 4);
    std::memcpy(in.data(), floats.data(), floats.size());
    std::string out(want.size(), '\xcd');
    encode_blocks(parse_gguf_type(name), in.data(), static_cast<int64_t>(in.size()),
                  reinterpret_cast<std::byte*>(out.data()));
    for (size_t i = 0; i < want.size(); ++i)
      ASSERT_EQ(static_cast<uint8_t>(out[i]), static_cast<uint8_t>(want[i])) << name << " byte " << i;
  }
  EXPECT_EQ(encoded, 4);
}

/// Nearest codes of a grid with spacing d: at most d/2 off, plus the rounding of d to binary16 (2^-11 of |x|, or half a
/// subnormal step times the code). Q4_0's grid ends at 7d on the side opposite its extreme: there up to d off.
TEST(GgufBlocks, EncodedValuesAreNear) {
  PhiloxStream random(7);
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<float> x(32), out(32, kPoison);
    const float size = std::exp(20.0f * random.uniform() - 10.0f);
    float largest = 0;
    for (float& value : x) {
      value = size * (2 * random.uniform() - 1);
      largest = std::max(largest, std::fabs(value));
    }
    const auto check = [&](GgufType type, float step, float worst) {
      std::vector<std::byte> blocks(static_cast<size_t>(gguf_bytes(type, 32)));
      encode_blocks(type, x.data(), 32, blocks.data());
      decode_blocks(type, blocks.data(), 32, out.data());
      const float scale_error = std::max(largest * 0x1p-11f, largest / step * 0x1p-25f);
      for (size_t j = 0; j < 32; ++j)
        ASSERT_LE(std::fabs(out[j] - x[j]), worst * step + scale_error + step * 1e-5f) << to_string(type);
    };
    check(GgufType::Q8_0, largest / 127, 0.5f);
    check(GgufType::Q4_0, largest / 8, 1.0f);
  }
}

TEST(GgufBlocks, ZerosStayZero) {
  const std::vector<float> zeros(64, 0.0f);
  for (const GgufType type : {GgufType::F32, GgufType::F16, GgufType::BF16, GgufType::Q4_0, GgufType::Q8_0}) {
    std::vector<std::byte> blocks(static_cast<size_t>(gguf_bytes(type, 64)), std::byte{0x55});
    std::vector<float> out(64, kPoison);
    encode_blocks(type, zeros.data(), 64, blocks.data());
    decode_blocks(type, blocks.data(), 64, out.data());
    for (const float value : out) EXPECT_EQ(value, 0.0f) << to_string(type);
  }
}

TEST(GgufBlocks, RefusesWhatItCannotDo) {
  std::vector<float> values(256, 1.0f);
  std::vector<std::byte> blocks(1024);
  EXPECT_THROW(decode_blocks(GgufType::Q4_0, blocks.data(), 33, values.data()), InvalidArgument);
  EXPECT_THROW(decode_blocks(GgufType::Q4_K, blocks.data(), 128, values.data()), InvalidArgument);
  EXPECT_THROW(decode_blocks(GgufType::F32, blocks.data(), -1, values.data()), InvalidArgument);
  EXPECT_THROW(decode_blocks(static_cast<GgufType>(16), blocks.data(), 256, values.data()), Unsupported);
  EXPECT_THROW(encode_blocks(GgufType::Q6_K, values.data(), 256, blocks.data()), Unsupported);
  for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN(), 3e38f}) {
    values[40] = bad;
    EXPECT_THROW(encode_blocks(GgufType::Q4_0, values.data(), 64, blocks.data()), NumericError) << bad;
    EXPECT_THROW(encode_blocks(GgufType::Q8_0, values.data(), 64, blocks.data()), NumericError) << bad;
  }
  values[40] = 1e-44f;  // a float32 subnormal beside ordinary values is no error
  EXPECT_NO_THROW(encode_blocks(GgufType::Q8_0, values.data(), 64, blocks.data()));
}

}  // namespace
}  // namespace halftone
