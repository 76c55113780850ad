// The evaluate flow against models whose perplexity is known, and against arithmetic in double from the decoder's
// logits.
#include "engine/evaluate/evaluate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <limits>

#include "base/error.h"
#include "base/json.h"
#include "base/progress.h"
#include "chain_model.h"
#include "engine/evaluate/bootstrap.h"
#include "engine/evaluate/windows.h"
#include "engine/interrupted.h"

namespace halftone::engine {
namespace {

using halftone::testing::uniform_model;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
namespace fs = std::filesystem;

/// The logits come in f32, and the exponentials of a row are taken in f32 at best: a handful of roundings per token.
constexpr double kNatsTolerance = 64 * std::numeric_limits<float>::epsilon();

models::LanguageModel tiny_model(uint32_t seed) {
  const fs::path path = fs::temp_directory_path() / fmt::format("halftone-evaluate-{}-{}.gguf", ::getpid(), seed);
  halftone::testing::TinyGguf(seed).write(path);
  models::LanguageModel model = models::load_language_model(path);
  fs::remove(path);
  return model;
}

std::string some_text(size_t characters) {
  std::string text;
  for (int i = 0; text.size() < characters; ++i)
    text += "Line " + std::to_string(i * 7919 % 1009) + " of ink and dots.\n";
  return text.substr(0, characters);
}

/// Log-probabilities [row][token] in double of every position of `ids`.
std::vector<std::vector<double>> log_probabilities(ExecContext& exec, const models::LanguageModel& model,
                                                   std::span<const int32_t> ids) {
  nn::StepContext step{exec};
  nn::KvStore cache(model.decoder.config().kv_shape(), model.decoder.kv_format(), static_cast<int64_t>(ids.size()));
  const at::Tensor logits = model.decoder.forward(step, ids, cache, nn::Logits::All);
  const int64_t vocabulary = logits.size(1);
  std::vector<std::vector<double>> rows;
  for (int64_t t = 0; t < logits.size(0); ++t) {
    const float* row = logits.const_data_ptr<float>() + t * vocabulary;
    double sum = 0;
    for (int64_t i = 0; i < vocabulary; ++i) sum += std::exp(static_cast<double>(row[i]));
    rows.emplace_back();
    for (int64_t i = 0; i < vocabulary; ++i) rows.back().push_back(row[i] - std::log(sum));
  }
  return rows;
}

class EvaluateTest : public ::testing::Test {
 protected:
  void SetUp() override { Progress::set_enabled(false); }
  EvaluateRequest request(size_t characters, int64_t window) const {
    return {.text = some_text(characters), .window = window, .max_tokens = 4096, .kv_format = {}, .decode_tokens = 0};
  }
  OwnedExecContext exec_{2};
};

TEST_F(EvaluateTest, AUniformModelIsAsPerplexedAsItsVocabularyIsLarge) {
  const auto model = uniform_model();
  const Evaluation result = evaluate(exec_.get(), model, request(700, 100));
  EXPECT_NEAR(result.perplexity, 258, 258 * kNatsTolerance);
  EXPECT_NEAR(result.perplexity_error, 0, 258 * kNatsTolerance);
  EXPECT_EQ(result.tokens, 693);  // 7 windows of 100, the first token of each not scored
  EXPECT_EQ(result.window_nll.size(), 7u);
}

TEST_F(EvaluateTest, PerplexityIsThatOfTheLogitsInDouble) {
  const auto model = tiny_model(3);
  // A window of 200 takes two chunks of logits, and 450 characters leave a short last window.
  const EvaluateRequest asked = request(450, 200);
  const Evaluation result = evaluate(exec_.get(), model, asked);
  double nll = 0;
  int64_t count = 0;
  const auto ids = model.tokenizer.encode(asked.text);
  for (size_t begin = 0; begin < ids.size(); begin += 200) {
    const auto window = std::span(ids).subspan(begin, std::min<size_t>(200, ids.size() - begin));
    const auto rows = log_probabilities(exec_.get(), model, window);
    for (size_t t = 0; t + 1 < window.size(); ++t, ++count) nll -= rows[t][window[t + 1]];
  }
  EXPECT_EQ(result.tokens, count);
  EXPECT_NEAR(std::log(result.perplexity), nll / static_cast<double>(count), kNatsTolerance);
  EXPECT_GT(result.perplexity_error, 0);
}

TEST_F(EvaluateTest, DistanceIsThatOfTheLogitsInDouble) {
  const auto reference = tiny_model(3), other = tiny_model(4);
  const EvaluateRequest asked = request(300, 150);
  const Comparison result = compare(exec_.get(), reference, {&other}, asked);
  double kl = 0;
  int64_t count = 0, agreements = 0;
  const auto ids = reference.tokenizer.encode(asked.text);
  for (size_t begin = 0; begin < ids.size(); begin += 150) {
    const auto window = std::span(ids).subspan(begin, 150);
    const auto p = log_probabilities(exec_.get(), reference, window), q = log_probabilities(exec_.get(), other, window);
    for (size_t t = 0; t + 1 < window.size(); ++t, ++count) {
      for (size_t i = 0; i < p[t].size(); ++i) kl += std::exp(p[t][i]) * (p[t][i] - q[t][i]);
      agreements += std::max_element(p[t].begin(), p[t].end()) - p[t].begin() ==
                    std::max_element(q[t].begin(), q[t].end()) - q[t].begin();
    }
  }
  const Distance& distance = result.others.at(0).distance;
  EXPECT_NEAR(distance.kl_divergence, kl / static_cast<double>(count),
              kNatsTolerance * (1 + kl / static_cast<double>(count)));
  EXPECT_EQ(distance.top1_agreement, static_cast<double>(agreements) / static_cast<double>(count));
  EXPECT_GT(distance.kl_divergence, 0.1);
  EXPECT_GT(distance.kl_divergence_error, 0);
  EXPECT_EQ(result.tokens, count);
}

TEST_F(EvaluateTest, AModelIsAtNoDistanceFromItself) {
  const auto model = tiny_model(5), again = tiny_model(5);
  const Comparison result = compare(exec_.get(), model, {&again}, request(260, 100));
  EXPECT_EQ(result.others[0].distance.kl_divergence, 0);
  EXPECT_EQ(result.others[0].distance.top1_agreement, 1);
  EXPECT_EQ(result.others[0].evaluation.perplexity, result.reference.perplexity);
}

TEST_F(EvaluateTest, ThreadsAndCompanyDoNotChangeABit) {
  const auto reference = tiny_model(3), other = tiny_model(4), third = tiny_model(6);
  OwnedExecContext one(1);
  const auto asked = request(500, 120);
  const Comparison a = compare(one.get(), reference, {&other}, asked);
  const Comparison b = compare(exec_.get(), reference, {&third, &other}, asked);
  EXPECT_EQ(a.reference.perplexity, b.reference.perplexity);
  EXPECT_EQ(a.reference.perplexity_error, b.reference.perplexity_error);
  EXPECT_EQ(a.others[0].evaluation.perplexity, b.others[1].evaluation.perplexity);
  EXPECT_EQ(a.others[0].distance.kl_divergence, b.others[1].distance.kl_divergence);
  EXPECT_EQ(evaluate(one.get(), other, asked).perplexity, b.others[1].evaluation.perplexity);
}

TEST_F(EvaluateTest, SizesAreThoseOfTheModel) {
  const auto model = tiny_model(3);
  EvaluateRequest asked = request(100, 50);
  asked.kv_format = "int8";
  const Evaluation result = evaluate(exec_.get(), model, asked);
  EXPECT_EQ(result.weight_bytes, model.decoder.weight_bytes());
  EXPECT_EQ(result.bits_per_weight, 32);
  EXPECT_EQ(result.kv_format, "int8");
  EXPECT_EQ(result.kv_bytes_per_token, 2 * 3 * 2 * (16 + 4));  // keys and values, layers, heads, codes and f16 pairs
  EXPECT_GT(result.prefill_tokens_per_second, 0);
  EXPECT_EQ(result.decode_tokens_per_second, 0);
  int64_t bytes = 0;
  for (const auto& share : result.storages) bytes += share.bytes;
  EXPECT_EQ(result.weight_bytes - bytes, 7 * 64 * 4);  // the norms
  asked.decode_tokens = 4;
  EXPECT_GT(evaluate(exec_.get(), model, asked).decode_tokens_per_second, 0);
}

TEST_F(EvaluateTest, WindowsStartWithBosWhereTheModelWantsIt) {
  auto model = uniform_model();
  EvaluateRequest asked = request(10, 4);
  const auto sizes = [&] {
    std::vector<size_t> all;
    for (const auto& window : make_windows(model, asked)) all.push_back(window.size());
    return all;
  };
  EXPECT_THAT(sizes(), ElementsAre(4, 4, 2));
  asked.text = asked.text.substr(0, 9);
  EXPECT_THAT(sizes(), ElementsAre(4, 4));  // a window of one token scores nothing
  TokenizerSpec spec = model.tokenizer.spec();
  spec.add_bos = true;
  model.tokenizer = Tokenizer(spec);
  EXPECT_THAT(sizes(), ElementsAre(4, 4, 4));
  EXPECT_EQ(make_windows(model, asked)[1][0], halftone::testing::kStartToken);
  EXPECT_EQ(evaluate(exec_.get(), model, asked).tokens, 9);
  asked.max_tokens = 5;
  EXPECT_EQ(evaluate(exec_.get(), model, asked).tokens, 5);
}

TEST_F(EvaluateTest, BadRequestsSayWhatIsWrong) {
  const auto model = tiny_model(3);
  const auto fails = [&](const EvaluateRequest& asked) { return [&] { evaluate(exec_.get(), model, asked); }; };
  EvaluateRequest asked = request(100, 513);
  EXPECT_THAT(fails(asked), ThrowsMessage<InvalidArgument>(HasSubstr("513")));
  EXPECT_THAT(fails(asked), ThrowsMessage<InvalidArgument>(HasSubstr("2 .. 512")));
  asked = request(1, 100);
  EXPECT_THAT(fails(asked), ThrowsMessage<InvalidArgument>(HasSubstr("gives 1 tokens")));
  asked = request(100, 50);
  asked.kv_format = "int3";
  EXPECT_THAT(fails(asked), ThrowsMessage<InvalidArgument>(HasSubstr("int3")));
  asked = request(100, 50);
  asked.cancelled = [] { return true; };
  EXPECT_THROW(evaluate(exec_.get(), model, asked), Interrupted);
}

TEST_F(EvaluateTest, OtherTokenizersAreRefused) {
  const auto model = tiny_model(3);
  auto other = tiny_model(4);
  TokenizerSpec spec = other.tokenizer.spec();
  std::swap(spec.tokens[65], spec.tokens[66]);
  other.tokenizer = Tokenizer(spec);
  EXPECT_THAT([&] { compare(exec_.get(), model, {&other}, request(100, 50)); },
              ThrowsMessage<InvalidArgument>(HasSubstr("differ in their tokens")));
}

TEST_F(EvaluateTest, LogitsThatAreNotFiniteAreAnErrorOfTheModel) {
  auto model = tiny_model(3);
  model.decoder.final_norm().data_ptr<float>()[5] = std::numeric_limits<float>::infinity();
  EXPECT_THAT([&] { evaluate(exec_.get(), model, request(100, 50)); }, ThrowsMessage<NumericError>(HasSubstr("tiny")));
}

TEST(Bootstrap, AgreesWithTheFormulaForMeans) {
  std::vector<WeightedSum> units;
  double mean = 0, squares = 0;
  constexpr int kUnits = 40;
  for (int i = 0; i < kUnits; ++i) units.push_back({10.0 * (i * 29 % kUnits), 10});
  for (const auto& unit : units) mean += unit.sum / 10 / kUnits;
  for (const auto& unit : units) squares += (unit.sum / 10 - mean) * (unit.sum / 10 - mean) / kUnits;
  const double exact = std::sqrt(squares / kUnits);  // standard deviation of a resample's mean
  // The standard deviation of 1000 draws is itself known to 1/sqrt(2000) = 2.2 %; five times that.
  EXPECT_NEAR(bootstrap_error(units, false, 1), exact, 0.112 * exact);
  EXPECT_EQ(bootstrap_error(units, false, 1), bootstrap_error(units, false, 1));
  EXPECT_NE(bootstrap_error(units, false, 1), bootstrap_error(units, false, 2));
  for (auto& unit : units) unit.sum *= 1e-6;  // exp(x) = 1 + x for small x: the error is the same
  EXPECT_NEAR(bootstrap_error(units, true, 1), bootstrap_error(units, false, 1),
              1e-3 * bootstrap_error(units, false, 1));
  EXPECT_EQ(bootstrap_error(std::span(units).first(1), false, 1), 0);
}

TEST(EvaluationJson, HasTheFieldsThatScriptsRelyOn) {
  Comparison comparison;
  comparison.reference.perplexity = 12;
  comparison.tokens = 99;
  comparison.others.push_back({{}, {0.25, 0.01, 0.5}});
  Json json = to_json(comparison);
  for (const char* side : {"reference", "other"})
    for (const char* field : {"weight_bytes", "bits_per_weight", "kv_bytes_per_token", "perplexity", "perplexity_error",
                              "prefill_tokens_per_second", "decode_tokens_per_second"})
      EXPECT_TRUE(json.at(side).at(field).is_number()) << side << " " << field;
  EXPECT_EQ(json.at("kl_divergence"), 0.25);
  EXPECT_EQ(json.at("top1_agreement"), 0.5);
  EXPECT_EQ(json.at("tokens"), 99);
  comparison.others.push_back({{}, {0.75, 0.01, 0.5}});
  json = to_json(comparison);
  EXPECT_EQ(json.at("others").size(), 2u);
  EXPECT_EQ(json.at("others").at(1).at("kl_divergence"), 0.75);
  EXPECT_TRUE(json.at("others").at(1).at("other").at("perplexity").is_number());
}

}  // namespace
}  // namespace halftone::engine
