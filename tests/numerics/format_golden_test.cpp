// Element formats against the casts of PyPI's ml_dtypes, NumPy and PyTorch (tests/goldens/make_format_goldens.py).
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "numerics/formats/element_codec.h"

namespace halftone {
namespace {

template <class T>
std::vector<T> from_hex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  std::vector<T> values(bytes.size() / sizeof(T));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
  return values;
}

struct Cast {
  std::string who, format, overflow;
  std::vector<uint32_t> codes;
};

struct Goldens {
  std::vector<std::pair<std::string, std::vector<float>>> tables;
  std::vector<float> inputs;
  std::vector<Cast> casts;

  Goldens() {
    std::ifstream file("tests/goldens/element_formats.txt");
    for (std::string line; std::getline(file, line);) {
      std::istringstream words(line);
      std::string kind, name, hex;
      words >> kind;
      if (kind == "decode" && words >> name >> hex) tables.emplace_back(name, from_hex<float>(hex));
      if (kind == "inputs" && words >> hex) inputs = from_hex<float>(hex);
      if (Cast cast; kind == "cast" && words >> cast.who >> cast.format >> cast.overflow >> hex) {
        if (hex.size() == inputs.size() * 2)
          for (const uint8_t code : from_hex<uint8_t>(hex)) cast.codes.push_back(code);
        else
          for (const uint16_t code : from_hex<uint16_t>(hex)) cast.codes.push_back(code);
        casts.push_back(cast);
      }
    }
  }
};

const Goldens& goldens() {
  static const Goldens loaded;
  return loaded;
}

TEST(FormatGoldens, EveryCodeDecodesToTheSameValue) {
  ASSERT_EQ(goldens().tables.size(), 10u);
  for (const auto& [name, values] : goldens().tables) {
    const ElementFormat& format = find_element_format(name);
    ASSERT_EQ(values.size(), size_t{1} << format.bits) << name;
    for (uint32_t code = 0; code < values.size(); ++code) {
      const float value = decode(format, code);
      if (std::isnan(values[code]))
        ASSERT_TRUE(std::isnan(value)) << name << ' ' << code;
      else
        ASSERT_EQ(std::bit_cast<uint32_t>(value), std::bit_cast<uint32_t>(values[code])) << name << ' ' << code;
    }
  }
}

/// Where the libraries do what our contract does otherwise, on purpose.
bool differs_by_contract(const Cast& cast, const ElementFormat& format, float x) {
  // Without a NaN in the format, ml_dtypes writes a zero of the other sign; ours is the largest value, as CUDA's.
  if (format.specials == SpecialValues::None && std::isnan(x)) return true;
  if (format.kind != ElementKind::PowerOfTwo) return false;
  // Zero becomes NaN in ml_dtypes; PyTorch drops signs. Both send all between 2^-127 and 1.5 * 2^-127 up, to 2^-126.
  const bool subnormal_up = x > 0x1p-127f && x < 0x1.8p-127f;
  return x == 0 || subnormal_up || (cast.who == "torch" && x < 0);
}

TEST(FormatGoldens, CastsGiveTheSameCodes) {
  ASSERT_EQ(goldens().casts.size(), 15u);
  ASSERT_GT(goldens().inputs.size(), 2000u);
  for (const Cast& cast : goldens().casts) {
    const ElementFormat& format = find_element_format(cast.format);
    const Overflow overflow = cast.overflow == "special" ? Overflow::Special : Overflow::Saturate;
    ASSERT_EQ(cast.codes.size(), goldens().inputs.size()) << cast.who << ' ' << cast.format;
    size_t compared = 0;
    for (size_t i = 0; i < cast.codes.size(); ++i) {
      const float x = goldens().inputs[i];
      if (differs_by_contract(cast, format, x)) continue;
      const uint32_t code = encode(format, x, Rounding::NearestEven, 0, overflow);
      ++compared;
      if (std::isnan(x))  // payloads differ between libraries
        ASSERT_TRUE(std::isnan(decode(format, code)) && std::isnan(decode(format, cast.codes[i]))) << cast.format;
      else
        ASSERT_EQ(code, cast.codes[i]) << cast.who << ' ' << cast.format << ' ' << cast.overflow << ' ' << x;
    }
    EXPECT_GT(compared, goldens().inputs.size() / 3) << cast.who << ' ' << cast.format;
  }
}

}  // namespace
}  // namespace halftone
