// CPUID, the register state that the operating system saves (XCR0), and Linux's permission for AMX tiles.
#include "base/cpu_features.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fstream>

#include "base/error.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace halftone {

namespace {

constexpr Isa kLevels[] = {Isa::Scalar, Isa::Avx2, Isa::Avx512, Isa::Amx};

#if defined(__x86_64__)
struct Leaf {
  uint32_t a = 0, b = 0, c = 0, d = 0;
};

Leaf cpuid(uint32_t leaf, uint32_t subleaf) {
  Leaf r;
  if (__get_cpuid_count(leaf, subleaf, &r.a, &r.b, &r.c, &r.d) == 0) return {};
  return r;
}

constexpr bool has(uint32_t word, std::initializer_list<int> bits) {
  return std::all_of(bits.begin(), bits.end(), [word](int bit) { return (word >> bit & 1u) != 0; });
}

/// XCR0: which register states the operating system saves. As assembly, since the intrinsic needs -mxsave.
uint64_t saved_register_state() {
  uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<uint64_t>(high) << 32 | low;
}

/// In tests/emulated_amx plain code stands in for the tile instructions.
#ifdef HALFTONE_EMULATE_TILES
constexpr bool kEmulatedTiles = true;
#else
constexpr bool kEmulatedTiles = false;
#endif

/// Linux grants the 8 KiB tile state per process, on request (Documentation/arch/x86/xstate.rst).
bool ask_for_amx_tiles() {
#if defined(__linux__) && defined(SYS_arch_prctl)
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;               // XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

Isa detect() {
  const Leaf basic = cpuid(1, 0);
  const Leaf extended = cpuid(7, 0);
  if (!has(basic.c, {12, 27, 28, 29})) return Isa::Scalar;  // FMA, OSXSAVE, AVX, F16C
  const uint64_t state = saved_register_state();
  const auto saves = [state](uint64_t mask) { return (state & mask) == mask; };
  if (!saves(0x6) || !has(extended.b, {5})) return Isa::Scalar;  // SSE and AVX state; AVX2
  const bool avx512 = saves(0xe6) && has(extended.b, {16, 17, 30, 31}) && has(extended.c, {11});  // F DQ BW VL; VNNI
  if (!avx512) return Isa::Avx2;
  const bool bf16 = has(cpuid(7, 1).a, {5});                           // AVX512_BF16
  const bool tiles = saves(0x60000) && has(extended.d, {22, 24, 25});  // bf16, tile, int8
  return bf16 && (kEmulatedTiles || (tiles && ask_for_amx_tiles())) ? Isa::Amx : Isa::Avx512;
}

uint32_t extension_word() { return cpuid(7, 0).c; }
#else
Isa detect() { return Isa::Scalar; }
uint32_t extension_word() { return 0; }
#endif

}  // namespace

std::string_view to_string(Isa isa) {
  switch (isa) {
    case Isa::Scalar:
      return "scalar";
    case Isa::Avx2:
      return "avx2";
    case Isa::Avx512:
      return "avx512";
    case Isa::Amx:
      return "amx";
  }
  return "?";
}

Isa parse_isa(std::string_view name) {
  for (Isa isa : kLevels) {
    if (to_string(isa) == name) return isa;
  }
  throw InvalidArgument("instruction set is \"{}\"; use one of scalar, avx2, avx512, amx", name);
}

Isa detected_isa() {
  static const Isa kDetected = detect();
  return kDetected;
}

Isa usable_isa() {
  const char* cap = std::getenv("HALFTONE_ISA");
  if (cap == nullptr || *cap == '\0') return detected_isa();
  return std::min(detected_isa(), parse_isa(cap));
}

std::vector<Isa> attainable_isas() {
  std::vector<Isa> isas;
  for (Isa isa : kLevels) {
    if (isa <= detected_isa()) isas.push_back(isa);
  }
  return isas;
}

bool has_extension(Avx512Extension extension) {
  static const uint32_t kWord = extension_word();
  const int bit = extension == Avx512Extension::Vbmi ? 1 : 14;
  return detected_isa() >= Isa::Avx512 && (kWord >> bit & 1u) != 0;
}

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("model name")) continue;
    const size_t start = line.find_first_not_of(" \t", line.find(':') + 1);
    if (start != std::string::npos) return line.substr(start);
  }
  return "unknown CPU";
}

}  // namespace halftone
