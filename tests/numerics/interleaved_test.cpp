// The interleaved weight layout: exact inverse, and codes where the contract says.
#include "numerics/interleaved.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/error.h"
#include "base/philox.h"
#include "numerics/packing.h"

namespace halftone {
namespace {

std::vector<uint8_t> random_rows(ElementType type, int64_t n, int64_t k, uint64_t seed) {
  PhiloxStream random(seed);
  std::vector<uint8_t> rows(static_cast<size_t>(n * row_bytes(type, k)));
  std::vector<uint8_t> codes(static_cast<size_t>(k));
  for (int64_t r = 0; r < n; ++r) {
    for (auto& code : codes) code = static_cast<uint8_t>(random() % (static_cast<unsigned>(top_code(type)) + 1));
    pack_codes(type, codes, rows.data() + r * row_bytes(type, k));
  }
  return rows;
}

TEST(InterleavedTest, InverseIsExactForOddSizes) {
  for (const auto type :
       {ElementType::Int8, ElementType::Int4, ElementType::Int3, ElementType::Int2, ElementType::Ternary})
    for (const int64_t n : {1, 15, 16, 17, 40})
      for (const int64_t k : {1, 31, 32, 33, 64, 95, 97, 100, 576}) {
        SCOPED_TRACE(std::string(to_string(type)) + " " + std::to_string(n) + " x " + std::to_string(k));
        const auto rows = random_rows(type, n, k, 7);
        std::vector<uint8_t> packed(static_cast<size_t>(interleaved_bytes(type, n, k)), 0xa5), back(rows.size(), 0x5a);
        interleave(type, n, k, rows.data(), packed.data());
        deinterleave(type, n, k, packed.data(), back.data());
        EXPECT_EQ(back, rows);
        std::vector<uint8_t> codes(static_cast<size_t>(k));
        for (int64_t r = 0; r < n; ++r) {
          unpack_codes(type, rows.data() + r * row_bytes(type, k), codes);
          const int offset = type == ElementType::Int8 ? 128 : 0;
          for (int64_t i = 0; i < k; ++i)
            ASSERT_EQ(interleaved_code(type, k, packed.data(), r, i), (codes[i] + offset) & 255) << r << " " << i;
        }
      }
}

TEST(InterleavedTest, BytesLieWhereTheContractSays) {
  // Row 3 of 16, K = 32, code of element e: e modulo the number of codes.
  std::vector<uint8_t> codes(32);
  std::vector<uint8_t> rows(16 * 32), packed(512);
  for (size_t e = 0; e < 32; ++e) codes[e] = static_cast<uint8_t>(e);
  std::copy(codes.begin(), codes.end(), rows.begin() + 3 * 32);
  interleave(ElementType::Int8, 16, 32, rows.data(), packed.data());
  EXPECT_EQ(packed[64 * 5 + 4 * 3 + 2], 128 + 22);  // element 4*5 + 2
  rows.assign(16 * 32, 0);
  for (size_t e = 0; e < 32; ++e) codes[e] = static_cast<uint8_t>(e % 16);
  pack_codes(ElementType::Int4, codes, rows.data() + 3 * 32);
  interleave(ElementType::Int4, 16, 32, rows.data(), packed.data());
  EXPECT_EQ(packed[64 * 1 + 4 * 3 + 2], 6 | (22 % 16) << 4);  // elements 6 and 22
  rows.assign(16 * 24, 0);
  packed.assign(192, 0);
  for (size_t e = 0; e < 32; ++e) codes[e] = static_cast<uint8_t>(e % 8);
  pack_codes(ElementType::Int3, codes, rows.data() + 3 * 24);
  interleave(ElementType::Int3, 16, 32, rows.data(), packed.data());
  EXPECT_EQ(packed[64 * 1 + 4 * 3 + 1], 1 | 1 << 2 | 1 << 4 | 1 << 6);  // elements 5, 13, 21, 29: code 5
  EXPECT_EQ(packed[64 * 2 + 4 * 3 + 1], 0b10101010);                    // elements 1, 5, 9, ...: codes 1 and 5
  rows.assign(16 * 16, 0);
  packed.assign(512, 0);
  for (size_t e = 0; e < 32; ++e) codes[e] = static_cast<uint8_t>(e / 8);
  pack_codes(ElementType::Int2, codes, rows.data() + 3 * 16);
  interleave(ElementType::Int2, 16, 32, rows.data(), packed.data());
  EXPECT_EQ(packed[64 * 1 + 4 * 3 + 1], 0 | 1 << 2 | 2 << 4 | 3 << 6);  // elements 5, 13, 21, 29
}

// Row 3 of 16, K = 100: every element 0 but the ones that a number is made of.
TEST(InterleavedTest, TernaryBytesLieWhereTheContractSays) {
  constexpr int64_t kK = 100;
  EXPECT_EQ(interleaved_bytes(ElementType::Ternary, 17, kK), 2 * 2 * 320);  // two tiles of two blocks
  const auto lines = [&](const std::vector<std::pair<int64_t, int>>& elements) {
    std::vector<uint8_t> codes(kK), rows(16 * 20), packed(640, 0xa5);
    for (const auto& [element, code] : elements) codes[static_cast<size_t>(element)] = static_cast<uint8_t>(code);
    pack_codes(ElementType::Ternary, codes, rows.data() + 3 * 20);
    interleave(ElementType::Ternary, 16, kK, rows.data(), packed.data());
    std::vector<int> found;
    for (int line = 0; line < 5; ++line) found.push_back(packed[static_cast<size_t>(64 * line + 4 * 3 + 2)]);
    return found;
  };
  using Lines = std::vector<int>;
  EXPECT_EQ(lines({{2, 1}, {6, 2}, {10, 2}}), (Lines{1 + 6 + 18, 0, 0, 0, 0}));          // unit 0, q = 0, 1, 2
  EXPECT_EQ(lines({{34, 1}, {38, 0}, {42, 2}}), (Lines{0, 1 + 18, 0, 0, 0}));            // unit 1
  EXPECT_EQ(lines({{14, 1}, {18, 2}, {22, 2}}), (Lines{1 << 5, 0, 0, 1 << 5, 1 << 5}));  // 25 = 0b11001, unit 0
  EXPECT_EQ(lines({{78, 0}, {82, 1}, {86, 1}}), (Lines{0, 0, 4 << 5, 1 << 7, 0}));       // 12 = 0b01100, unit 2
  EXPECT_EQ(lines({{26, 1}, {58, 2}, {90, 1}}), (Lines{0, 0, 0, 1 + 6 + 9, 0}));         // q = 6 of all units
  EXPECT_EQ(lines({{30, 2}, {62, 0}, {94, 2}}), (Lines{0, 0, 0, 0, 2 + 18}));            // q = 7
}

TEST(InterleavedTest, GroupsOfRowsPastTheEndAreZero) {
  const std::vector<int> rows = {1, 2, 3, 4, 5, 6};  // [3, 2]
  std::vector<int> out(32, -1);
  interleave_groups<int>(3, 2, rows.data(), out.data());
  EXPECT_EQ(out[0], 1);
  EXPECT_EQ(out[2], 5);
  EXPECT_EQ(out[16], 2);
  EXPECT_EQ(out[18], 6);
  EXPECT_EQ(out[3], 0);
  EXPECT_EQ(out[31], 0);
}

TEST(InterleavedTest, RefusesFloats) {
  std::vector<uint8_t> bytes(4096);
  EXPECT_THROW(interleave(ElementType::Float16, 16, 32, bytes.data(), bytes.data() + 2048), InvalidArgument);
}

}  // namespace
}  // namespace halftone
