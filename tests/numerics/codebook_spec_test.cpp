// What users write for codebooks, the files they bring, and what k-means finds.
#include "numerics/formats/codebook_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <random>

#include "base/error.h"
#include "base/philox.h"
#include "numerics/formats/element_codec.h"
#include "numerics/formats/kmeans.h"

namespace halftone {
namespace {

using testing::HasSubstr;

template <class Call>
std::string error_of(const Call& call) {
  try {
    call();
  } catch (const Error& problem) {
    return problem.what();
  }
  return "accepted";
}

class CodebookSpecTest : public testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove(path_); }
  std::string file(const std::string& text) {
    std::ofstream(path_) << text;
    return path_.string();
  }
  std::filesystem::path path_ =
      std::filesystem::temp_directory_path() / ("halftone-codebook-" + std::to_string(::getpid()) + ".txt");
};

TEST_F(CodebookSpecTest, WordsOfKmeans) {
  EXPECT_TRUE(names_codebook("kmeans:16"));
  EXPECT_TRUE(names_codebook("codebook:x"));
  EXPECT_FALSE(names_codebook("nf4 group:64 f16"));
  const CodebookSpec plain = parse_codebook_spec("kmeans:256x4");
  EXPECT_FALSE(plain.given);
  EXPECT_EQ(plain.entries, 256);
  EXPECT_EQ(plain.dimension, 4);
  EXPECT_EQ(plain.table, ElementType::Float16);
  EXPECT_FALSE(plain.scaling.scale.stored());
  EXPECT_EQ(scaling_words(plain.scaling), "");
  const CodebookSpec scaled = parse_codebook_spec("kmeans:13:f32 group:64 e8m0");
  EXPECT_EQ(scaled.entries, 13);
  EXPECT_EQ(scaled.dimension, 1);
  EXPECT_EQ(scaled.table, ElementType::Float32);
  EXPECT_EQ(scaling_words(scaled.scaling), "group:64 e8m0 ocp-floor");
  EXPECT_EQ(scaling_words(parse_scaling(scaling_words(scaled.scaling))), "group:64 e8m0 ocp-floor");
}

TEST_F(CodebookSpecTest, FilesHoldAnEntryALine) {
  const CodebookSpec spec =
      parse_codebook_spec("codebook:" + file("# pairs\n1, -2\n\n+0.5 1e-3 # small\r\n3 4\n") + " row f16");
  ASSERT_TRUE(spec.given);
  EXPECT_EQ(spec.entries, 3);
  EXPECT_EQ(spec.dimension, 2);
  EXPECT_THAT(spec.given->values(), testing::ElementsAre(1, -2, 0.5f, 1e-3f, 3, 4));
  EXPECT_EQ(spec.table, ElementType::Float32) << "1e-3 is no f16";
  EXPECT_EQ(parse_codebook_spec("codebook:" + file("-1\n0\n0.5\n")).table, ElementType::Float16);
}

TEST_F(CodebookSpecTest, ErrorsNameWhatIsWrong) {
  const auto spec = [](const std::string& text) { return error_of([&] { parse_codebook_spec(text); }); };
  for (const char* text :
       {"kmeans:", "kmeans:x4", "kmeans:16x", "kmeans:16:f64", "kmeans:16 7", "codebooks", "kmeans:4y2"})
    EXPECT_THAT(spec(text), testing::AnyOf(HasSubstr("ENTRIES[xNUMBERS]"), HasSubstr("GRANULARITY SCALE"))) << text;
  EXPECT_THAT(spec("kmeans:1"), HasSubstr("1 entries"));
  EXPECT_THAT(spec("kmeans:65537"), HasSubstr("65536"));
  EXPECT_THAT(spec("kmeans:16x257"), HasSubstr("256"));
  EXPECT_THAT(spec("kmeans:16 group:64"), HasSubstr("GRANULARITY SCALE [RULE]"));
  EXPECT_THAT(spec("kmeans:16 rows f16"), HasSubstr("group:"));
  EXPECT_THAT(spec("kmeans:16 token f16"), HasSubstr("activations"));
  EXPECT_THAT(spec("kmeans:16 row f16x2"), HasSubstr("take f16"));
  EXPECT_THAT(spec("kmeans:16 row f16 absmean"), HasSubstr("absmean"));
  EXPECT_THAT(spec("codebook:/no/such/file"), HasSubstr("'/no/such/file' cannot be read"));
  const auto text = [&](const char* lines) { return error_of([&] { read_codebook(file(lines)); }); };
  EXPECT_THAT(text("1\n2 3\n"), HasSubstr("line 2 has 2 numbers where the first entry has 1"));
  EXPECT_THAT(text("1\ntwo\n"), HasSubstr("line 2: 'two'"));
  EXPECT_THAT(text("1\n1e60\n"), HasSubstr("'1e60' is no number that f32 holds"));
  EXPECT_THAT(text("1\ninf\n"), HasSubstr("finite"));
  EXPECT_THAT(text("# nothing\n"), HasSubstr("0 numbers"));
}

std::vector<float> normal(int64_t count, uint64_t seed) {
  PhiloxStream random(seed);
  std::normal_distribution<float> distribution;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = distribution(random);
  return values;
}

double mean_error(std::span<const float> values, const std::vector<float>& table, int dimension) {
  const Codebook book("found", table, dimension);
  double sum = 0;
  for (size_t at = 0; at < values.size(); at += static_cast<size_t>(dimension)) {
    const uint32_t code = encode_vector(book.format(), &values[at]);
    for (int i = 0; i < dimension; ++i) {
      const double error = double{values[at + static_cast<size_t>(i)]} - decode(book.format(), code, i);
      sum += error * error;
    }
  }
  return sum / static_cast<double>(values.size());
}

// The best quantisers of the normal distribution (Max 1960): mean squared errors 0.3634, 0.1175, 0.03454, 0.009497 at
// 2, 4, 8 and 16 levels. A table fitted to a sample errs less on it; with 20,000 numbers the standard error is under 2
// %.
TEST(Kmeans, FindsTheBestLevelsOfNormalNumbers) {
  ThreadPool pool(1);
  const std::vector<float> values = normal(20000, 61);
  for (const auto& [entries, best] : {std::pair{2, 0.3634}, {4, 0.1175}, {8, 0.03454}, {16, 0.009497}}) {
    const std::vector<float> table = find_codebook(pool, values, {.entries = entries});
    ASSERT_EQ(static_cast<int>(table.size()), entries);
    EXPECT_TRUE(std::is_sorted(table.begin(), table.end()));
    EXPECT_NEAR(mean_error(values, table, 1) / best, 1, 0.06) << entries;
  }
}

TEST(Kmeans, FewDistinctNumbersAreKeptAsTheyAre) {
  ThreadPool pool(1);
  const std::vector<float> values = {2, -1, 2, 2, 0.5f, -1, 2, 0.5f};
  EXPECT_THAT(find_codebook(pool, values, {.entries = 5}), testing::ElementsAre(-1, 0.5f, 2, 2, 2));
}

// Six heaps far apart: whatever entries the draws begin with, every heap must end with one, at its mean.
TEST(Kmeans, FindsHeapsOfVectorsUnderEverySeed) {
  ThreadPool pool(2);
  std::vector<float> values = normal(6 * 50 * 3, 67);
  for (size_t vector = 0; vector < 300; ++vector)
    for (size_t i = 0; i < 3; ++i)
      values[vector * 3 + i] = 0.01f * values[vector * 3 + i] + static_cast<float>((vector % 6 >> i & 1) * 10);
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const std::vector<float> table = find_codebook(pool, values, {.entries = 6, .dimension = 3, .key = {.seed = seed}});
    EXPECT_LT(mean_error(values, table, 3), 2e-4) << seed;
  }
}

TEST(Kmeans, ThreadsDoNotMatterSeedsDo) {
  ThreadPool one(1), three(3);
  const std::vector<float> values = normal(4 * 3001, 71);
  const auto found = [&](ThreadPool& pool, uint64_t seed) {
    return find_codebook(pool, values, {.entries = 37, .dimension = 4, .iterations = 8, .key = {.seed = seed}});
  };
  EXPECT_EQ(found(one, 1), found(three, 1));
  EXPECT_NE(found(one, 1), found(one, 2));
  EXPECT_LT(mean_error(values, found(one, 1), 4), 0.75) << "below one entry, whose error is 1, by far";
}

TEST(Kmeans, RefusesWhatCannotBe) {
  ThreadPool pool(1);
  const std::vector<float> values(10, 1.0f);
  EXPECT_THAT(error_of([&] { find_codebook(pool, values, {.entries = 4, .dimension = 3}); }),
              HasSubstr("do not divide"));
  EXPECT_THAT(error_of([&] { find_codebook(pool, values, {.entries = 6, .dimension = 2}); }), HasSubstr("6 entries"));
}

}  // namespace
}  // namespace halftone
