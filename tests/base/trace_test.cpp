// What a trace adds up.
#include "base/trace.h"

#include <gtest/gtest.h>

namespace halftone {
namespace {

TEST(TraceTest, SumsByNameMostTimeFirst) {
  Trace trace;
  const char elsewhere[] = "product";  // the same name at another address
  trace.add("norm", "avx2", 1);
  trace.add("product", "avx2", 2);
  trace.add("product", "amx", 0.5);
  trace.add(elsewhere, "avx2", 3);
  const auto entries = trace.entries();
  ASSERT_EQ(entries.size(), 3u);
  EXPECT_EQ(entries[0].operation, "product");
  EXPECT_EQ(entries[0].kernel, "avx2");
  EXPECT_EQ(entries[0].calls, 2);
  EXPECT_EQ(entries[0].seconds, 5);
  EXPECT_EQ(entries[1].operation, "norm");
  EXPECT_EQ(entries[2].kernel, "amx");
  trace.clear();
  EXPECT_TRUE(trace.entries().empty());
}

TEST(TraceTest, ALifeIsACall) {
  Trace trace;
  { const Traced nobody(nullptr, "norm", "avx2"); }
  for (int i = 0; i < 3; ++i) const Traced traced(&trace, "norm", "avx2");
  ASSERT_EQ(trace.entries().size(), 1u);
  EXPECT_EQ(trace.entries()[0].calls, 3);
}

}  // namespace
}  // namespace halftone
