#include "base/cpu_features.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "base/error.h"

namespace halftone {
namespace {

/// Sets HALFTONE_ISA for a scope.
class IsaCap {
 public:
  explicit IsaCap(const char* value) {
    if (const char* old = std::getenv("HALFTONE_ISA")) old_ = old;
    if (value == nullptr) {
      unsetenv("HALFTONE_ISA");
    } else {
      setenv("HALFTONE_ISA", value, 1);
    }
  }
  ~IsaCap() {
    if (old_.empty()) {
      unsetenv("HALFTONE_ISA");
    } else {
      setenv("HALFTONE_ISA", old_.c_str(), 1);
    }
  }

 private:
  std::string old_;
};

TEST(CpuFeatures, NamesRoundTrip) {
  for (Isa isa : {Isa::Scalar, Isa::Avx2, Isa::Avx512, Isa::Amx}) EXPECT_EQ(parse_isa(to_string(isa)), isa);
  EXPECT_THROW(parse_isa("sse9"), InvalidArgument);
  EXPECT_THROW(parse_isa(""), InvalidArgument);
}

TEST(CpuFeatures, EnvironmentCapsButNeverRaises) {
  {
    const IsaCap cap("scalar");
    EXPECT_EQ(usable_isa(), Isa::Scalar);
  }
  {
    const IsaCap cap("amx");
    EXPECT_EQ(usable_isa(), detected_isa());
  }
  {
    const IsaCap cap(nullptr);
    EXPECT_EQ(usable_isa(), detected_isa());
  }
  const IsaCap cap("fast");
  EXPECT_THROW(usable_isa(), InvalidArgument);
}

TEST(CpuFeatures, AttainableLevelsRiseFromScalarToTheDetectedOne) {
  const auto isas = attainable_isas();
  ASSERT_FALSE(isas.empty());
  EXPECT_EQ(isas.front(), Isa::Scalar);
  EXPECT_EQ(isas.back(), detected_isa());
  EXPECT_TRUE(std::is_sorted(isas.begin(), isas.end()));
}

// The kernel's own list of usable features is an independent reading of CPUID and XCR0.
TEST(CpuFeatures, AgreesWithTheOperatingSystem) {
  std::ifstream file("/proc/cpuinfo");
  std::string flags;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("flags")) {
      flags = line.substr(line.find(':') + 1) + " ";
      break;
    }
  }
  if (flags.empty()) GTEST_SKIP() << "no x86 flags in /proc/cpuinfo";
  const auto all = [&](const char* names) {
    std::istringstream words(names);
    for (std::string word; words >> word;) {
      if (flags.find(" " + word + " ") == std::string::npos) return false;
    }
    return true;
  };
  const bool avx2 = all("avx2 fma f16c");
  const bool avx512 = avx2 && all("avx512f avx512bw avx512vl avx512dq avx512_vnni");
  EXPECT_EQ(detected_isa() >= Isa::Avx2, avx2);
  EXPECT_EQ(detected_isa() >= Isa::Avx512, avx512);
  EXPECT_EQ(has_extension(Avx512Extension::Vbmi), avx512 && all("avx512vbmi"));
  EXPECT_EQ(has_extension(Avx512Extension::Vpopcntdq), avx512 && all("avx512_vpopcntdq"));
  if (!all("amx_tile amx_int8 amx_bf16")) {
    EXPECT_LT(detected_isa(), Isa::Amx);
  }
  EXPECT_FALSE(cpu_name().empty());
}

}  // namespace
}  // namespace halftone
