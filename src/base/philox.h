// Philox4x32-10, the counter-based generator of Salmon et al. (SC 2011, section 4): a pure function of key and counter,
// so any draw can be replayed, split over threads, or made on a GPU with the same bits.
#pragma once

#include <array>
#include <cstdint>

#include "base/host_device.h"

namespace halftone {

/// Philox4x32-10 in place: `words` holds the counter on entry and the four draws on return.
HALFTONE_HOST_DEVICE constexpr void philox4x32_in_place(uint32_t (&words)[4], uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53u} * words[0];
    const uint64_t product1 = uint64_t{0xCD9E8D57u} * words[2];
    words[0] = static_cast<uint32_t>(product1 >> 32) ^ words[1] ^ key0;
    words[1] = static_cast<uint32_t>(product1);
    words[2] = static_cast<uint32_t>(product0 >> 32) ^ words[3] ^ key1;
    words[3] = static_cast<uint32_t>(product0);
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
}

/// The four 32-bit words that Philox4x32-10 gives for `counter` under `key`.
constexpr std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  uint32_t words[4] = {counter[0], counter[1], counter[2], counter[3]};
  philox4x32_in_place(words, key[0], key[1]);
  return {words[0], words[1], words[2], words[3]};
}

/// A sequential stream over philox4x32, usable with <random>'s distributions.
class PhiloxStream {
 public:
  using result_type = uint32_t;
  explicit PhiloxStream(uint64_t seed, uint64_t stream = 0)
      : key_{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)}, stream_(stream) {}

  static constexpr uint32_t min() { return 0; }
  static constexpr uint32_t max() { return 0xFFFFFFFFu; }

  uint32_t operator()() {
    const uint64_t block = index_ / 4;
    if (index_ % 4 == 0)
      words_ = philox4x32({static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32),
                           static_cast<uint32_t>(stream_), static_cast<uint32_t>(stream_ >> 32)},
                          key_);
    return words_[index_++ % 4];
  }
  /// Uniform in [0, 1) with 24 bits.
  float uniform() { return static_cast<float>((*this)() >> 8) * 0x1p-24f; }

 private:
  std::array<uint32_t, 2> key_;
  uint64_t stream_;
  uint64_t index_ = 0;
  std::array<uint32_t, 4> words_{};
};

}  // namespace halftone
