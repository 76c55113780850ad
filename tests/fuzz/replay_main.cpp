// Stands in for libFuzzer where the compiler has none: runs the target on the files given, then on random mutations of
// them.      gguf_fuzz [--mutations=N] [--seed=S] FILE...
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "base/atomic_file.h"
#include "base/philox.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

void run(const std::string& input) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
}

/// One to four edits: a bit, a byte, a 64-bit word of an interesting value, a cut, a repeated stretch.
std::string mutate(std::string input, halftone::PhiloxStream& random) {
  static constexpr uint64_t kWords[] = {0, 1, 255, UINT32_MAX, uint64_t{1} << 32, INT64_MAX, UINT64_MAX};
  const int edits = 1 + static_cast<int>(random() % 4);
  for (int edit = 0; edit < edits && !input.empty(); ++edit) {
    const size_t at = random() % input.size();
    switch (random() % 5) {
      case 0:
        input[at] = static_cast<char>(input[at] ^ (1 << random() % 8));
        break;
      case 1:
        input[at] = static_cast<char>(random());
        break;
      case 2: {
        const uint64_t word = kWords[random() % std::size(kWords)] - random() % 2;
        for (size_t i = 0; i < 8 && at + i < input.size(); ++i) input[at + i] = static_cast<char>(word >> (8 * i));
        break;
      }
      case 3:
        input.erase(at, 1 + random() % 16);
        break;
      default:
        input.insert(at, input.substr(random() % input.size(), 1 + random() % 64));
    }
  }
  return input;
}

}  // namespace

int main(int argc, char** argv) {
  uint64_t mutations = 0, seed = 1;
  std::vector<std::string> inputs;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.starts_with("--mutations="))
      mutations = std::strtoull(argv[i] + 12, nullptr, 10);
    else if (argument.starts_with("--seed="))
      seed = std::strtoull(argv[i] + 7, nullptr, 10);
    else
      inputs.push_back(halftone::read_text(argv[i]));
  }
  for (const std::string& input : inputs) run(input);
  halftone::PhiloxStream random(seed);
  for (uint64_t i = 0; i < mutations && !inputs.empty(); ++i) run(mutate(inputs[random() % inputs.size()], random));
  std::printf("%zu inputs and %llu mutations ran\n", inputs.size(), static_cast<unsigned long long>(mutations));
  return 0;
}
