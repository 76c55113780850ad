// Number formats on a CUDA device against the host, bit for bit: every code of every format of up to 16 bits decoded,
// all 65,536 half numbers and 2^18 f32 bit patterns encoded under every rounding and overflow rule, vectors, phases,
// and the Philox bits of stochastic rounding. Headers alone, no library:
//
//   nvcc -std=c++20 -O2 -fmad=false -arch=sm_90 -I src -o element_formats tests/cuda/element_formats.cu &&
//   ./element_formats
//
// Exits with 0 when all is equal, 1 when anything differs, 77 without a device.
#include <cuda_runtime.h>

#include <cstdio>
#include <cstdlib>
#include <vector>

#include "numerics/formats/element_codec.h"

namespace {

using halftone::ElementFormat;
using halftone::ElementKind;
using halftone::Overflow;
using halftone::RandomBits;
using halftone::Rounding;

constexpr uint32_t kHalves = 1u << 16, kPatterns = 1u << 18;
constexpr int kMaxDimension = 8, kSkipped = 77;
constexpr Rounding kRoundings[] = {Rounding::NearestEven, Rounding::HalfAway, Rounding::TowardZero,
                                   Rounding::Stochastic, Rounding::Dithered};

enum class Work { Decode, EncodeHalves, EncodePatterns, EncodeVectors, Draw };
constexpr const char* kWork[] = {"decoding", "encoding halves", "encoding f32", "encoding vectors", "drawing"};

/// One array of results, a pure function of the index, on either side.
struct Check {
  Work work;
  ElementFormat format;
  Rounding rounding = Rounding::NearestEven;
  Overflow overflow = Overflow::Saturate;
  uint32_t count = 0;
};

HALFTONE_HOST_DEVICE constexpr RandomBits random_bits(uint32_t role) {
  return RandomBits({.seed = 0x123456789abcdefull, .step = 1ull << 40 | 7, .tensor = 3, .role = role});
}

HALFTONE_HOST_DEVICE constexpr ElementFormat half_format() {
  ElementFormat half;  // the table's constants are the host's
  half.bits = 16, half.exponent_bits = 5, half.mantissa_bits = 10, half.bias = 15;
  half.specials = halftone::SpecialValues::InfinityAndNan;
  return half;
}

HALFTONE_HOST_DEVICE constexpr uint32_t result(const Check& check, uint32_t index) {
  const ElementFormat& format = check.format;
  const auto encoded = [&](float value) {
    return encode(format, value, check.rounding, random_bits(0).word(index), check.overflow);
  };
  switch (check.work) {
    case Work::Decode: {
      const uint32_t dimension = static_cast<uint32_t>(format.dimension);
      const uint32_t code = format.bits <= 16 ? index / dimension : random_bits(2).word(index);
      return halftone::f32_bits(decode(format, code, static_cast<int>(index % dimension)));
    }
    case Work::EncodeHalves:
      return encoded(decode(half_format(), index));
    case Work::EncodePatterns:
      return encoded(halftone::f32_from_bits(random_bits(1).word(index)));
    case Work::EncodeVectors: {
      float values[kMaxDimension] = {};
      for (uint32_t i = 0; i < kMaxDimension; ++i)  // every half number comes first once
        values[i] = decode(half_format(), i == 0 ? index : random_bits(3).word(index * kMaxDimension + i) >> 16);
      return encode_vector(format, values);
    }
    case Work::Draw:
      return random_bits(4).word(uint64_t{index} << 20 | index);
  }
  return 0;
}

__global__ void compute(Check check, uint32_t* results) {
  const uint32_t index = blockIdx.x * blockDim.x + threadIdx.x;
  if (index < check.count) results[index] = result(check, index);
}

void require(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  std::printf("%s failed: %s\n", what, cudaGetErrorString(status));
  std::exit(1);
}

/// Compares one check; `results` is device memory for kPatterns numbers.
bool agrees(const Check& check, const float* device_codebook, uint32_t* results) {
  Check there = check;
  there.format.codebook = device_codebook;
  require(cudaMemset(results, 0xa5, check.count * sizeof(uint32_t)), "poisoning the results");
  compute<<<(check.count + 255) / 256, 256>>>(there, results);
  require(cudaGetLastError(), "the launch");
  std::vector<uint32_t> got(check.count);
  require(cudaMemcpy(got.data(), results, got.size() * sizeof(uint32_t), cudaMemcpyDeviceToHost), "the kernel");
  for (uint32_t i = 0; i < check.count; ++i)
    if (const uint32_t want = result(check, i); got[i] != want) {
      std::printf("%s with %s, rounding %d, overflow %d: index %u gives %#x on the device and %#x on the host\n",
                  kWork[static_cast<int>(check.work)], check.format.name, static_cast<int>(check.rounding),
                  static_cast<int>(check.overflow), i, got[i], want);
      return false;
    }
  return true;
}

/// Everything there is to compare about a format.
std::vector<Check> checks_of(const ElementFormat& format) {
  const uint32_t codes = format.bits <= 16 ? 1u << format.bits : kPatterns;
  std::vector<Check> checks = {
      {.work = Work::Decode, .format = format, .count = codes * static_cast<uint32_t>(format.dimension)}};
  if (format.dimension > 1) {
    checks.push_back({.work = Work::EncodeVectors, .format = format, .count = kHalves});
    return checks;
  }
  for (const Rounding rounding : kRoundings)
    for (const Overflow overflow : {Overflow::Saturate, Overflow::Special})
      for (const Work work : {Work::EncodeHalves, Work::EncodePatterns})
        checks.push_back({.work = work,
                          .format = format,
                          .rounding = rounding,
                          .overflow = overflow,
                          .count = work == Work::EncodeHalves ? kHalves : kPatterns});
  return checks;
}

}  // namespace

int main() {
  int devices = 0;
  const cudaError_t status = cudaGetDeviceCount(&devices);
  if (status == cudaErrorNoDevice || status == cudaErrorInsufficientDriver || (status == cudaSuccess && devices == 0)) {
    std::printf("skipped: no CUDA device (%s)\n", cudaGetErrorString(status));
    return kSkipped;
  }
  require(status, "looking for devices");
  cudaDeviceProp properties;
  require(cudaGetDeviceProperties(&properties, 0), "asking the device");

  // Codebooks of one's own beside the catalogue's formats: numbers out of order, and vectors.
  const std::vector<float> numbers = {0.5f, -3, 0.25f, 7, -0.125f, 0, 7, 1e-30f, 100, -65504, 3};
  std::vector<float> vectors;
  for (uint32_t i = 0; i < 48 * 3; ++i)
    vectors.push_back(static_cast<float>(static_cast<int32_t>(random_bits(5).word(i))) * 0x1p-30f);
  std::vector<ElementFormat> formats(halftone::kElementFormats.begin(), halftone::kElementFormats.end());
  formats.push_back(halftone::codebook_format("numbers", 4, numbers));
  formats.push_back(halftone::codebook_format("vectors", 6, vectors, 3));

  uint32_t* results = nullptr;
  require(cudaMalloc(&results, kPatterns * sizeof(uint32_t)), "allocating results");
  long long compared = 0;
  bool equal = true;
  for (const ElementFormat& format : formats) {
    float* codebook = nullptr;
    const size_t bytes = format.codebook_size * static_cast<size_t>(format.dimension) * sizeof(float);
    if (format.codebook != nullptr) {
      require(cudaMalloc(&codebook, bytes), "allocating a codebook");
      require(cudaMemcpy(codebook, format.codebook, bytes, cudaMemcpyHostToDevice), "copying a codebook");
    }
    for (const Check& check : checks_of(format)) {
      equal = agrees(check, codebook, results) && equal;
      compared += check.count;
    }
    require(cudaFree(codebook), "freeing a codebook");
  }
  const Check draws{.work = Work::Draw, .format = halftone::kF32, .count = kPatterns};
  equal = agrees(draws, nullptr, results) && equal;
  compared += draws.count;
  require(cudaFree(results), "freeing results");
  std::printf("%s: %zu formats, %lld results, %s\n", properties.name, formats.size(), compared,
              equal ? "all equal to the host's" : "some DIFFER");
  return equal ? 0 : 1;
}
