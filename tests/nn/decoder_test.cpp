// The forward pass: prefill equals decoding token by token in every bit, batches do not matter, sites and sizes are
// what they are called, and contradictions are refused. (Real models are compared with goldens in tests/models.)
#include "nn/decoder.h"

#include <ATen/ops/cat.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/json.h"
#include "nn/testing/tiny_decoder.h"
#include "tensor/quantize.h"

namespace halftone::nn {
namespace {

using testing::HasSubstr;

class DecoderTest : public testing::TestWithParam<std::string> {
 protected:
  static DecoderConfig config() { return GetParam() == "gemma3" ? tiny_gemma_config() : tiny_llama_config(); }
  OwnedExecContext exec_{1};
};

INSTANTIATE_TEST_SUITE_P(Models, DecoderTest, testing::Values("llama", "gemma3"));

/// Logits of `tokens` fed in pieces of `piece`.
at::Tensor logits_in_pieces(ExecContext& exec, const Decoder& decoder, const std::vector<int32_t>& tokens,
                            int64_t piece, ElementType format) {
  KvStore cache(decoder.config().kv_shape(), format, static_cast<int64_t>(tokens.size()) + 3);
  StepContext step{exec};
  std::vector<at::Tensor> rows;
  const auto total = static_cast<int64_t>(tokens.size());
  for (int64_t at = 0; at < total; at += piece)
    rows.push_back(
        decoder.forward(step, std::span(tokens).subspan(at, std::min(piece, total - at)), cache, Logits::All));
  return at::cat(rows);
}

TEST_P(DecoderTest, PrefillEqualsDecodingBitForBit) {
  const auto tokens = tiny_tokens(13);
  for (const auto format : {ElementType::Float32, ElementType::Float16, ElementType::Int8, ElementType::Int4})
    for (const bool compressed : {false, true}) {
      Decoder decoder = tiny_decoder(config());
      if (compressed)
        for (auto& block : decoder.blocks())
          for (auto* linear : block.linears())
            linear->set_weight(quantize_nearest(exec_.get(), linear->dense_weight(),
                                                {ElementType::Int4, Granularity::Group, 32, true}),
                               ActivationFormat::Int8PerToken);
      const at::Tensor whole = tiny_logits(exec_.get(), decoder, tokens, format);
      for (const int64_t piece : {1, 5})
        EXPECT_TRUE(logits_in_pieces(exec_.get(), decoder, tokens, piece, format).equal(whole))
            << to_string(format) << " in pieces of " << piece << (compressed ? ", compressed" : "");
    }
}

struct Bystander : Observer {
  void linear_input(const std::string&, const at::Tensor&) override {}
  void queries_and_keys(int64_t, const at::Tensor&, const at::Tensor&) override {}
};

/// Who watches wants f32 inputs, so norms and gates run apart from the products that otherwise contain them.
TEST_P(DecoderTest, FusedBFloat16StepsHaveTheBitsOfSeparateOnes) {
  if (exec_.get().isa != Isa::Amx) GTEST_SKIP() << "bf16 products need AMX";
  const auto tokens = tiny_tokens(60);
  Decoder decoder = tiny_decoder(config());
  for (auto& block : decoder.blocks())
    for (auto* linear : block.linears())
      linear->set_weight(
          quantize_nearest(exec_.get(), linear->dense_weight(), {ElementType::Int4, Granularity::Group, 32, true}),
          ActivationFormat::Int8PerGroup);
  const at::Tensor integers = tiny_logits(exec_.get(), decoder, tokens);
  exec_.get().products = ProductPrecision::BFloat16;
  Bystander bystander;
  const at::Tensor fused = tiny_logits(exec_.get(), decoder, tokens);
  EXPECT_TRUE(fused.equal(tiny_logits(exec_.get(), decoder, tokens, ElementType::Float32, &bystander)));
  EXPECT_FALSE(fused.equal(integers)) << "this was no bf16";
}

TEST_P(DecoderTest, SequencesOfABatchDoNotMatterToEachOther) {
  Decoder decoder = tiny_decoder(config());
  for (auto& block : decoder.blocks())
    for (auto* linear : block.linears())
      linear->set_weight(
          quantize_nearest(exec_.get(), linear->dense_weight(), {ElementType::Int4, Granularity::Group, 32}),
          ActivationFormat::Int8PerGroup);
  StepContext step{exec_.get()};
  // Three sequences of different lengths; the batched step must give each the logits that it has alone.
  std::vector<KvStore> alone, together;
  std::vector<int32_t> next;
  std::vector<at::Tensor> wanted;
  for (const int64_t length : {1, 4, 11}) {
    const auto prompt = tiny_tokens(length, static_cast<uint64_t>(length));
    next.push_back(static_cast<int32_t>(length));
    for (auto* caches : {&alone, &together}) {
      caches->emplace_back(decoder.config().kv_shape(), ElementType::Int8, length + 2);
      decoder.forward(step, prompt, caches->back(), Logits::None);
    }
  }
  std::vector<KvStore*> caches;
  for (auto& cache : together) caches.push_back(&cache);
  for (int round = 0; round < 2; ++round) {
    const at::Tensor batch = decoder.forward_batch(step, next, caches);
    ASSERT_EQ(batch.sizes(), (std::vector<int64_t>{3, 97}));
    for (size_t i = 0; i < alone.size(); ++i)
      EXPECT_TRUE(decoder.forward(step, {&next[i], 1}, alone[i], Logits::Last)[0].equal(batch[static_cast<int64_t>(i)]))
          << "sequence " << i;
  }
  const std::vector<KvStore*> twice = {caches[0], caches[0]};
  EXPECT_THROW(decoder.forward_batch(step, std::vector<int32_t>{1, 2}, twice), InvalidArgument);
  EXPECT_THROW(decoder.forward_batch(step, std::vector<int32_t>{1, 2}, caches), InvalidArgument);
}

TEST_P(DecoderTest, StepsAllocateNothingAfterTheFirst) {
  const Decoder decoder = tiny_decoder(config());
  KvStore cache(decoder.config().kv_shape(), ElementType::Float16, 16);
  StepContext step{exec_.get()};
  const int32_t token = 5;
  decoder.forward(step, {&token, 1}, cache, Logits::Last);
  const size_t arena = exec_.get().arena.capacity_bytes(), workspace = exec_.get().workspace.capacity_bytes();
  for (int i = 0; i < 10; ++i) decoder.forward(step, {&token, 1}, cache, Logits::Last);
  EXPECT_EQ(exec_.get().arena.capacity_bytes(), arena);
  EXPECT_EQ(exec_.get().workspace.capacity_bytes(), workspace);
}

TEST_P(DecoderTest, ThreadsDoNotMatter) {
  const Decoder decoder = tiny_decoder(config());
  OwnedExecContext two(2);
  const auto tokens = tiny_tokens(9);
  EXPECT_TRUE(tiny_logits(two.get(), decoder, tokens).equal(tiny_logits(exec_.get(), decoder, tokens)));
}

TEST_P(DecoderTest, LaterTokensDoNotReachBack) {
  const Decoder decoder = tiny_decoder(config());
  auto tokens = tiny_tokens(10);
  const at::Tensor before = tiny_logits(exec_.get(), decoder, tokens);
  tokens[7] = (tokens[7] + 1) % 97;
  const at::Tensor after = tiny_logits(exec_.get(), decoder, tokens);
  EXPECT_TRUE(after.narrow(0, 0, 7).equal(before.narrow(0, 0, 7)));
  EXPECT_FALSE(after[7].equal(before[7]));
  EXPECT_FALSE(after[9].equal(before[9]));
}

TEST_P(DecoderTest, RowsOfLogits) {
  const Decoder decoder = tiny_decoder(config());
  const auto tokens = tiny_tokens(6);
  const at::Tensor all = tiny_logits(exec_.get(), decoder, tokens);
  EXPECT_EQ(all.sizes(), (std::vector<int64_t>{6, 97}));
  KvStore cache(decoder.config().kv_shape(), ElementType::Float32, 12);
  StepContext step{exec_.get()};
  EXPECT_TRUE(decoder.forward(step, tokens, cache, Logits::Last).equal(all.narrow(0, 5, 1)));
  EXPECT_FALSE(decoder.forward(step, tokens, cache, Logits::None).defined());
  EXPECT_EQ(cache.length(), 12);
}

TEST_P(DecoderTest, PiecesAreTheWhole) {
  const Decoder decoder = tiny_decoder(config());
  const auto tokens = tiny_tokens(6);
  KvStore cache(decoder.config().kv_shape(), ElementType::Float32, 6);
  StepContext step{exec_.get()};
  at::Tensor hidden = decoder.embed(exec_.get(), tokens);
  for (int64_t block = 0; block < 2; ++block) hidden = decoder.forward_block(step, block, hidden, cache);
  EXPECT_TRUE(decoder.output_logits(step, hidden).equal(tiny_logits(exec_.get(), decoder, tokens)));
}

TEST_P(DecoderTest, SitesAndObservations) {
  struct Sites final : Observer {
    void linear_input(const std::string& site, const at::Tensor& x) override {
      seen.push_back(site + " " + std::to_string(x.size(1)));
    }
    void queries_and_keys(int64_t block, const at::Tensor& q, const at::Tensor& k) override {
      seen.push_back("keys " + std::to_string(block) + " " + std::to_string(q.size(1)) + " " +
                     std::to_string(k.size(1)));
    }
    std::vector<std::string> seen;
  } sites;
  const Decoder decoder = tiny_decoder(config());
  tiny_logits(exec_.get(), decoder, tiny_tokens(3), ElementType::Float32, &sites);
  const std::string q = std::to_string(decoder.config().heads * decoder.config().head_dim);
  std::vector<std::string> wanted;
  for (const std::string block : {"0", "1"}) {
    const std::string b = "blocks." + block + ".";
    for (const char* name : {"attn.q_proj 64", "attn.k_proj 64", "attn.v_proj 64"}) wanted.push_back(b + name);
    wanted.push_back("keys " + block + " 4 2");
    wanted.push_back(b + "attn.o_proj " + q);
    for (const char* name : {"mlp.gate_proj 64", "mlp.up_proj 64", "mlp.down_proj 96"}) wanted.push_back(b + name);
  }
  wanted.push_back("lm_head 64");
  EXPECT_EQ(sites.seen, wanted);
}

TEST_P(DecoderTest, CountsTiedWeightsOnce) {
  Decoder decoder = tiny_decoder(config());
  const auto& c = decoder.config();
  const int64_t q = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim;
  int64_t norms = 2 * 64;
  if (GetParam() == "gemma3") norms += 2 * 64 + 2 * c.head_dim;
  const int64_t block = 64 * (q + 2 * kv) + q * 64 + 3 * 64 * 96 + norms;
  EXPECT_EQ(decoder.parameters(), 2 * block + 97 * 64 + 64);
  EXPECT_EQ(decoder.weight_bytes(), 4 * decoder.parameters());
  ASSERT_TRUE(decoder.tied());
  decoder.set_embedding(make_dense(dequantize(*decoder.embedding()), ElementType::Float16));
  EXPECT_TRUE(decoder.tied());
  EXPECT_EQ(decoder.weight_bytes(), 4 * decoder.parameters() - 2 * 97 * 64);
}

TEST_P(DecoderTest, ConfigurationSurvivesJson) {
  const DecoderConfig original = config();
  const DecoderConfig back = decoder_config_from_json(to_json(original));
  EXPECT_EQ(to_json(back), to_json(original));
  EXPECT_EQ(back.layers[0].inverse_frequency, original.layers[0].inverse_frequency);
  Json json = to_json(original);
  json.erase("ffn_width");
  EXPECT_THROW(decoder_config_from_json(json), IoError);
  json = to_json(original);
  json["kv_heads"] = 3;
  EXPECT_THROW(decoder_config_from_json(json), InvalidArgument);
}

TEST_P(DecoderTest, RefusesBadTokensAndFullCaches) {
  const Decoder decoder = tiny_decoder(config());
  KvStore cache(decoder.config().kv_shape(), ElementType::Float16, 4);
  StepContext step{exec_.get()};
  for (const int32_t bad : {-1, 97})
    EXPECT_THROW(decoder.forward(step, std::vector<int32_t>{1, bad}, cache, Logits::All), InvalidArgument);
  EXPECT_THROW(decoder.forward(step, std::vector<int32_t>{}, cache, Logits::All), InvalidArgument);
  EXPECT_THROW(decoder.forward(step, tiny_tokens(5), cache, Logits::All), InvalidArgument);
  EXPECT_EQ(cache.length(), 0) << "a refused step must not advance the cache";
}

TEST(DecoderConfigTest, ValidationNamesTheField) {
  const auto message = [](auto&& change) {
    DecoderConfig config = tiny_llama_config();
    change(config);
    try {
      config.validate();
    } catch (const InvalidArgument& problem) {
      return std::string(problem.what());
    }
    return std::string("accepted");
  };
  EXPECT_THAT(message([](auto& c) { c.width = 0; }), HasSubstr("width"));
  EXPECT_THAT(message([](auto& c) { c.vocabulary = int64_t{1} << 40; }), HasSubstr("vocabulary"));
  EXPECT_THAT(message([](auto& c) { c.kv_heads = 3; }), HasSubstr("key-value"));
  EXPECT_THAT(message([](auto& c) { c.norm_epsilon = 0; }), HasSubstr("norm_epsilon"));
  EXPECT_THAT(message([](auto& c) { c.layers.clear(); }), HasSubstr("layers"));
  EXPECT_THAT(message([](auto& c) { c.layers[1].window = -1; }), HasSubstr("window"));
  EXPECT_THAT(message([](auto& c) { c.layers[1].inverse_frequency.resize(9); }), HasSubstr("layer 1 rotates 18"));
}

TEST(LinearTest, RefusesWrongShapes) {
  PhiloxStream random(1);
  Linear linear("blocks.0.mlp.up_proj", DenseStorage{uniform_matrix(random, 3, 8, 1.0f)});
  try {
    linear.set_weight(DenseStorage{uniform_matrix(random, 8, 3, 1.0f)});
    FAIL() << "a transposed weight was accepted";
  } catch (const InvalidArgument& problem) {
    EXPECT_THAT(problem.what(), testing::AllOf(HasSubstr("blocks.0.mlp.up_proj"), HasSubstr("[8, 3]")));
  }
  EXPECT_THROW(Linear("x", DenseStorage{uniform_matrix(random, 3, 8, 1.0f)}, at::empty({4}, at::kFloat)),
               InvalidArgument);
  OwnedExecContext exec(1);
  StepContext step{exec.get()};
  Activation narrow(exec.get(), uniform_matrix(random, 2, 7, 1.0f));
  EXPECT_THROW(linear.forward(step, narrow), InvalidArgument);
}

TEST(LinearTest, FormatsHaveNames) {
  for (const auto format : {ActivationFormat::Float32, ActivationFormat::Int8PerToken, ActivationFormat::Int8PerGroup})
    EXPECT_EQ(parse_activation_format(to_string(format)), format);
  EXPECT_THROW(parse_activation_format("int4"), InvalidArgument);
}

}  // namespace
}  // namespace halftone::nn
