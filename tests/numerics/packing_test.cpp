// Packed layouts of numerics/formats.h: bytes written by hand, and round trips of every code at odd lengths.
#include "numerics/packing.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/philox.h"

namespace halftone {
namespace {

constexpr uint8_t kPoison = 0xEE;

std::vector<uint8_t> packed(ElementType type, const std::vector<uint8_t>& codes) {
  std::vector<uint8_t> bytes(row_bytes(type, static_cast<int64_t>(codes.size())) + 8, kPoison);
  pack_codes(type, codes, bytes.data());
  for (size_t i = bytes.size() - 8; i < bytes.size(); ++i) EXPECT_EQ(bytes[i], kPoison) << "wrote past the row";
  bytes.resize(bytes.size() - 8);
  return bytes;
}

TEST(PackingTest, Int4ChunkByHand) {
  std::vector<uint8_t> codes(65, 0);
  codes[0] = 1;
  codes[31] = 2;
  codes[32] = 3;
  codes[63] = 4;
  codes[64] = 5;
  const auto bytes = packed(ElementType::Int4, codes);
  ASSERT_EQ(bytes.size(), 64u);
  EXPECT_EQ(bytes[0], 0x31);   // element 0 low, element 32 high
  EXPECT_EQ(bytes[31], 0x42);  // element 31 low, element 63 high
  EXPECT_EQ(bytes[32], 0x05);  // element 64 opens the second chunk
  for (size_t i = 33; i < 64; ++i) EXPECT_EQ(bytes[i], 0) << "padding holds the code 0";
}

TEST(PackingTest, Int2ChunkByHand) {
  std::vector<uint8_t> codes(64, 0);
  codes[0] = 1;
  codes[16] = 2;
  codes[32] = 3;
  codes[48] = 1;
  codes[63] = 3;
  const auto bytes = packed(ElementType::Int2, codes);
  ASSERT_EQ(bytes.size(), 16u);
  EXPECT_EQ(bytes[0], 0b01'11'10'01);
  EXPECT_EQ(bytes[15], 0b11'00'00'00);
}

TEST(PackingTest, Int3ChunkByHand) {
  std::vector<uint8_t> codes(64, 0);
  codes[0] = 5;
  codes[9] = 4;
  codes[16] = 2;
  codes[63] = 7;
  const auto bytes = packed(ElementType::Int3, codes);
  ASSERT_EQ(bytes.size(), 24u);
  EXPECT_EQ(bytes[0], 0b00'00'10'01);   // the low bits of elements 0 and 16
  EXPECT_EQ(bytes[9], 0);               // of element 9
  EXPECT_EQ(bytes[15], 0b11'00'00'00);  // of element 63
  EXPECT_EQ(bytes[16], 0b00000001);     // the high bits of elements 0..7
  EXPECT_EQ(bytes[17], 0b00000010);     // of elements 8..15
  EXPECT_EQ(bytes[23], 0b10000000);
}

TEST(PackingTest, TernaryBytesByHand) {
  const auto bytes = packed(ElementType::Ternary, {2, 1, 0, 2, 2, 0, 1});
  ASSERT_EQ(bytes.size(), 2u);
  EXPECT_EQ(bytes[0], 2 + 3 * 1 + 27 * 2 + 81 * 2);
  EXPECT_EQ(bytes[1], 3);
  EXPECT_EQ(row_bytes(ElementType::Ternary, 576), 116);  // 1.61 bits a weight
}

TEST(PackingTest, RoundTripsAtEveryLength) {
  for (const auto type :
       {ElementType::Int8, ElementType::Int4, ElementType::Int3, ElementType::Int2, ElementType::Ternary})
    for (const size_t length : {1u, 4u, 5u, 6u, 15u, 31u, 33u, 63u, 64u, 65u, 127u, 200u, 576u}) {
      PhiloxStream random(length, static_cast<uint64_t>(type));
      std::vector<uint8_t> codes(length);
      for (auto& code : codes) code = static_cast<uint8_t>(random() % (static_cast<unsigned>(top_code(type)) + 1));
      std::vector<uint8_t> back(length, kPoison);
      unpack_codes(type, packed(type, codes).data(), back);
      EXPECT_EQ(back, codes) << to_string(type) << " length " << length;
    }
}

}  // namespace
}  // namespace halftone
