// Logits of real models against tests/goldens/logits_*.json, which tests/goldens/make_logit_goldens.py made with
// independent implementations: Hugging Face transformers in double, checked there against llama.cpp.
//
// The bound, per position: no logit differs by more than 1e-4 of the largest magnitude among the golden's logits.
// Rounding alone gives this: a dot product of K <= 2048 f32 terms has a relative error of about sqrt(K) 2^-24 = 3e-6,
// the 30 (18) layers add theirs in quadrature to a residual stream that keeps growing, and transformers and llama.cpp,
// run in f32, are measured 2.5e-6 to 4.5e-6 away ("checks" in the .json). A sliding window that is wrong by one token
// exceeds the bound (tested below).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/json.h"
#include "models/language/language_model.h"

namespace halftone::models {
namespace {

constexpr double kBound = 1e-4;
constexpr int64_t kAtOnce = 256;      // logits of a whole Gemma window would take 600 MB
constexpr size_t kScalarTokens = 16;  // the scalar kernels are slow
constexpr size_t kSplit = 100;        // tokens at once before decoding one by one
constexpr size_t kLateSplit = 224;    // the same for instruction sets below the best, to save time
// Sanitizers make the vector kernels twenty times as slow. With them the best instruction set alone sees whole texts;
// the tests of the kernels see the others.
#ifdef __SANITIZE_ADDRESS__
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read " + path.string() + "; tests run in the repository's root");
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

/// What make_logit_goldens.py wrote; rows follow `positions`.
struct Golden {
  explicit Golden(const std::string& name)
      : header(Json::parse(read_file("tests/goldens/logits_" + name + ".json"))),
        data(read_file("tests/goldens/logits_" + name + ".bin")),
        tokens(header.at("tokens").get<std::vector<int32_t>>()),
        positions(header.at("positions").get<std::vector<int64_t>>()),
        sampled_ids(header.at("sampled_ids").get<std::vector<int32_t>>()),
        argmax(array<int32_t>("argmax")),
        top_ids(array<int32_t>("top_ids")),
        top_logits(array<float>("top_logits")),
        sampled_logits(array<float>("sampled_logits")),
        max_abs(array<float>("max_abs")),
        logsumexp(array<float>("logsumexp")),
        last_ids(array<int32_t>("last_ids")),
        last_logits(array<float>("last_logits")) {}

  template <class T>
  std::vector<T> array(const char* name) const {
    const Json& entry = header.at("arrays").at(name);
    size_t count = 1;
    for (const Json& size : entry.at("shape")) count *= size.get<size_t>();
    const auto offset = entry.at("offset").get<size_t>();
    if (entry.at("type") != (std::is_same_v<T, float> ? "f32" : "i32") || offset + count * sizeof(T) > data.size())
      throw std::runtime_error(std::string("golden array ") + name + " contradicts its file");
    std::vector<T> values(count);
    std::memcpy(values.data(), data.data() + offset, count * sizeof(T));
    return values;
  }

  Json header;
  std::string data;
  std::vector<int32_t> tokens;
  std::vector<int64_t> positions;
  std::vector<int32_t> sampled_ids, argmax, top_ids;
  std::vector<float> top_logits, sampled_logits, max_abs, logsumexp;
  std::vector<int32_t> last_ids;
  std::vector<float> last_logits;
};

double logsumexp(std::span<const float> logits) {
  const double peak = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - peak);
  return peak + std::log(sum);
}

/// The larger of two errors; NaN wins.
double worse(double a, double b) { return b <= a ? a : b; }

/// Largest error of one row over the golden's largest magnitude; checks the argmax on the way.
double row_error(const Golden& golden, size_t row, std::span<const float> logits) {
  double error = std::abs(logsumexp(logits) - golden.logsumexp[row]);  // it moves by no more than its worst logit
  const auto compare = [&](std::span<const int32_t> ids, std::span<const float> values) {
    for (size_t i = 0; i < ids.size(); ++i)
      error = worse(error, std::abs(double{logits[static_cast<size_t>(ids[i])]} - values[i]));
  };
  const size_t sampled = golden.sampled_ids.size(), top = golden.top_ids.size() / golden.positions.size();
  const auto top_logits = std::span(golden.top_logits).subspan(row * top, top);
  compare(golden.sampled_ids, std::span(golden.sampled_logits).subspan(row * sampled, sampled));
  compare(std::span(golden.top_ids).subspan(row * top, top), top_logits);
  if (row + 1 == golden.positions.size()) compare(golden.last_ids, golden.last_logits);

  // Both of the first two may move by the bound, so only a larger gap decides the order.
  if (top_logits[0] - top_logits[1] > 2 * kBound * golden.max_abs[row]) {
    EXPECT_EQ(std::max_element(logits.begin(), logits.end()) - logits.begin(), golden.argmax[row])
        << "at position " << golden.positions[row];
  }
  return error / golden.max_abs[row];
}

std::span<const float> row_of(const at::Tensor& logits, int64_t row) {
  return {logits.const_data_ptr<float>() + row * logits.size(1), static_cast<size_t>(logits.size(1))};
}

struct Errors {
  double first_window = 0;  ///< worst over positions below 256
  double beyond = 0;        ///< worst over the later ones
};

/// Runs the first `count` tokens, 256 at once, and compares every position that the golden lists.
Errors compare_with(const Golden& golden, const nn::Decoder& decoder, ExecContext& exec, size_t count) {
  nn::StepContext step{exec};
  nn::KvStore cache(decoder.config().kv_shape(), ElementType::Float32, static_cast<int64_t>(count));
  Errors errors;
  for (int64_t begin = 0; begin < static_cast<int64_t>(count); begin += kAtOnce) {
    const auto tokens = std::span(golden.tokens).first(count).subspan(begin);
    const at::Tensor logits =
        decoder.forward(step, tokens.first(std::min<size_t>(tokens.size(), kAtOnce)), cache, nn::Logits::All);
    for (size_t row = 0; row < golden.positions.size(); ++row) {
      const int64_t position = golden.positions[row] - begin;
      if (position < 0 || position >= logits.size(0)) continue;
      double& worst = golden.positions[row] < kAtOnce ? errors.first_window : errors.beyond;
      worst = worse(worst, row_error(golden, row, row_of(logits, position)));
    }
  }
  return errors;
}

class LogitsModel : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    golden_ = std::make_unique<Golden>(GetParam());
    const std::filesystem::path path = "models/" + golden_->header.at("model").get<std::string>();
    if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is missing; fetch it with `make models-all`";
    model_ = std::make_unique<LanguageModel>(load_language_model(path, {Weights::Float32}));
    ASSERT_EQ(model_->file_bytes, golden_->header.at("file_bytes").get<int64_t>())
        << path << " is not the file that the goldens were made from; fetch it again with `make models-all`";
    ASSERT_EQ(model_->decoder.config().vocabulary, golden_->header.at("vocabulary").get<int64_t>());
  }

  static bool slow(Isa isa) { return isa == Isa::Scalar || (kSanitized && isa != usable_isa()); }

  std::unique_ptr<Golden> golden_;
  std::unique_ptr<LanguageModel> model_;
  OwnedExecContext exec_;
};

TEST_P(LogitsModel, EqualTheGoldensOnEveryIsa) {
  for (const Isa isa : attainable_isas()) {
    SCOPED_TRACE(std::string(to_string(isa)));
    exec_.get().isa = isa;
    const size_t count = slow(isa) ? kScalarTokens : golden_->tokens.size();
    const Errors errors = compare_with(*golden_, model_->decoder, exec_.get(), count);
    std::printf("%s %s: relative error %.2e over %zu tokens, %.2e beyond 256\n", GetParam(),
                std::string(to_string(isa)).c_str(), errors.first_window, count, errors.beyond);
    EXPECT_LE(errors.first_window, kBound);
    EXPECT_LE(errors.beyond, kBound);
    EXPECT_GT(errors.first_window, 0) << "nothing was compared";
  }
}

TEST_P(LogitsModel, DecodingOneByOneGivesThePrefillsBits) {
  const auto tokens = std::span<const int32_t>(golden_->tokens).first(kAtOnce);
  const nn::Decoder& decoder = model_->decoder;
  nn::StepContext step{exec_.get()};
  nn::KvStore whole_cache(decoder.config().kv_shape(), ElementType::Float32, kAtOnce);
  nn::KvStore split_cache(decoder.config().kv_shape(), ElementType::Float32, kAtOnce);
  for (const Isa isa : attainable_isas()) {
    if (slow(isa)) continue;
    SCOPED_TRACE(std::string(to_string(isa)));
    exec_.get().isa = isa;
    whole_cache.truncate(0);
    split_cache.truncate(0);
    const at::Tensor whole = decoder.forward(step, tokens, whole_cache, nn::Logits::All);
    const size_t split = isa == usable_isa() && !kSanitized ? kSplit : kLateSplit;
    at::Tensor part = decoder.forward(step, tokens.first(split), split_cache, nn::Logits::Last);
    int64_t different = 0, first_different = -1;
    for (size_t next = split;; ++next) {
      const auto expected = row_of(whole, static_cast<int64_t>(next) - 1);
      if (std::memcmp(row_of(part, 0).data(), expected.data(), expected.size_bytes()) != 0 && different++ == 0)
        first_different = static_cast<int64_t>(next) - 1;
      if (next == tokens.size()) break;
      part = decoder.forward(step, tokens.subspan(next, 1), split_cache, nn::Logits::Last);
    }
    EXPECT_EQ(different, 0) << "positions differ, the first is " << first_different;
  }
}

class WindowedLogitsModel : public LogitsModel {};

TEST_P(WindowedLogitsModel, AWindowWrongByOneTokenExceedsTheBound) {
  nn::DecoderConfig config = model_->decoder.config();
  for (auto& layer : config.layers)
    if (layer.window > 0) ++layer.window;
  nn::Decoder& original = model_->decoder;
  const nn::Decoder changed(config, original.embedding(), std::move(original.blocks()), original.final_norm(),
                            original.lm_head().shared_weight());
  const Errors errors = compare_with(*golden_, changed, exec_.get(), golden_->tokens.size());
  EXPECT_LE(errors.first_window, kBound);
  EXPECT_GT(errors.beyond, kBound);
}

constexpr auto kNameOf = [](const auto& info) { return std::string(info.param); };
INSTANTIATE_TEST_SUITE_P(Models, LogitsModel, testing::Values("smollm2", "gemma3"), kNameOf);
INSTANTIATE_TEST_SUITE_P(Models, WindowedLogitsModel, testing::Values("gemma3"), kNameOf);

}  // namespace
}  // namespace halftone::models
