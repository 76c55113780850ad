// The Q4_1 file as it is stored, with int8 activations, beside its expansion to f32.
//
// Inputs of linear layers are rounded to steps of max|x| / 127 over 32 of them: noise of step / sqrt(12) on each, a
// part max / rms / (127 sqrt(12)) of their size, at most sqrt(32) / 440 = 1.3 % (all of a group in one element) and
// about 0.5 % where they are bell-shaped. A layer rounds four times (q/k/v, o, gate/up, down), each rounding is
// independent of the others and reaches the logits with at most the weight of its branch in the residual stream. Were
// every branch the whole stream, 30 layers and the head would add up to 1.3 % * sqrt(121) = 14 %: the bound. ggml
// rounds in the same places.
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <cmath>

#include "models/language/language_model.h"

namespace halftone::models {
namespace {

constexpr const char* kModel = "models/SmolLM2-135M-Instruct.Q4_1.gguf";
constexpr const char* kText = "The printing press was invented in the fifteenth century. It made books cheap, and";

class StoredModel : public testing::Test {
 protected:
  static LanguageModel load(Weights weights) { return load_language_model(kModel, {weights}); }

  at::Tensor logits(const LanguageModel& model, const std::vector<int32_t>& tokens) {
    nn::StepContext step{exec_.get()};
    nn::KvStore cache(model.decoder.config().kv_shape(), ElementType::Float32, static_cast<int64_t>(tokens.size()));
    return model.decoder.forward(step, tokens, cache, nn::Logits::All);
  }

  /// `count` tokens, each the most likely one.
  std::vector<int32_t> continued(const LanguageModel& model, std::vector<int32_t> tokens, int count) {
    nn::StepContext step{exec_.get()};
    nn::KvStore cache(model.decoder.config().kv_shape(), ElementType::Float32,
                      static_cast<int64_t>(tokens.size()) + count);
    std::vector<int32_t> next = tokens;
    for (int i = 0; i < count; ++i) {
      const at::Tensor last = model.decoder.forward(step, next, cache, nn::Logits::Last).view(-1);
      next = {static_cast<int32_t>(last.argmax().item<int64_t>())};
      tokens.push_back(next[0]);
    }
    return tokens;
  }

  OwnedExecContext exec_{2};
};

TEST_F(StoredModel, LogitsStayWithinTheNoiseOfTheirInputs) {
  const LanguageModel stored = load(Weights::Stored), expanded = load(Weights::Float32);
  for (const auto& block : stored.decoder.blocks())
    for (const nn::Linear* linear : block.linears()) {
      ASSERT_EQ(describe(linear->weight()), "int4 group 32 minimums") << linear->site();
      ASSERT_EQ(linear->activations(), nn::ActivationFormat::Int8PerGroup) << linear->site();
    }
  EXPECT_LT(stored.decoder.weight_bytes() * 5, expanded.decoder.weight_bytes());
  // A prompt and what the expanded model makes of it.
  const std::vector<int32_t> tokens = continued(expanded, expanded.tokenizer.encode(kText), 24);
  const auto centred = [](const at::Tensor& rows) { return rows - rows.mean(1, true); };
  const at::Tensor a = centred(logits(stored, tokens)), b = centred(logits(expanded, tokens));
  const at::Tensor noise = (a - b).square().mean(1).sqrt(), relative = noise / b.square().mean(1).sqrt();
  EXPECT_LE(relative.max().item<double>(), std::sqrt(32.0) / (127 * std::sqrt(12.0)) * std::sqrt(121.0));
  EXPECT_GT(relative.min().item<double>(), 0) << "inputs were not rounded";
  std::printf("relative error of logits: mean %.4f, largest %.4f\n", relative.mean().item<double>(),
              relative.max().item<double>());
  // Where the best token is ahead of the next by six deviations of a difference, the choice is the same.
  int decided = 0;
  for (int64_t i = 0; i < b.size(0); ++i) {
    const auto best = b[i].argmax().item<int64_t>();
    at::Tensor others = b[i].clone();
    others[best] = -INFINITY;
    const double margin = b[i][best].item<double>() - others.max().item<double>();
    if (margin < 6 * std::sqrt(2.0) * noise[i].item<double>()) continue;
    ++decided;
    EXPECT_EQ(a[i].argmax().item<int64_t>(), best) << "position " << i << ", margin " << margin;
  }
  std::printf("%d of %d positions decided\n", decided, static_cast<int>(b.size(0)));
  EXPECT_GE(decided, 10);
}

}  // namespace
}  // namespace halftone::models
