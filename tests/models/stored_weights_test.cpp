// GGUF tensors that stay as they are on load: the same values as their expansion in every bit, and back to the same
// bytes when saved.
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <set>

#include "../engine/tiny_gguf.h"
#include "../tensor/random_matrix.h"
#include "base/error.h"
#include "base/json.h"
#include "models/language/gguf_storage.h"
#include "models/language/language_model.h"
#include "models/language/load_weights.h"

namespace halftone::models {
namespace {

namespace fs = std::filesystem;
using halftone::testing::TinyGguf;
using halftone::testing::TinyShape;

// 96 columns are one and a half chunks of the int4 layout, 160 two and a half.
constexpr TinyShape kShape = {.width = 96, .ffn_width = 160, .heads = 3, .kv_heads = 1, .head_dim = 32};

// k-quants come in blocks of 256.
constexpr TinyShape kWideShape = {.width = 256, .ffn_width = 512, .heads = 4, .kv_heads = 2, .head_dim = 64};

GgufType one_of(std::span<const GgufType> types, std::string_view name) {
  size_t sum = 0;
  for (const char c : name) sum += static_cast<unsigned char>(c);
  return types[sum % types.size()];
}

/// All types of blocks of 32 and plain ones side by side, in another place in each block.
GgufType mixed(std::string_view name) {
  constexpr GgufType kTypes[] = {GgufType::Q4_0, GgufType::Q8_0, GgufType::Q4_1, GgufType::Q5_0,
                                 GgufType::Q5_1, GgufType::F32,  GgufType::MXFP4};
  return one_of(kTypes, name);
}

GgufType mixed_k(std::string_view name) {
  constexpr GgufType kTypes[] = {GgufType::Q2_K, GgufType::Q3_K, GgufType::Q4_K, GgufType::Q5_K, GgufType::Q6_K};
  return one_of(kTypes, name);
}

class StoredWeights : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("halftone-stored-" + std::to_string(::getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path write(const TinyGguf::TypeOf& type_of, bool untied = false, const TinyShape& shape = kShape) const {
    TinyGguf tiny(11, shape, type_of);
    if (untied) tiny.untie();
    const fs::path path = folder_ / fmt::format("tiny{}.gguf", shape.width);
    tiny.write(path);
    return path;
  }

  fs::path folder_;
};

void expect_same_bits(const at::Tensor& a, const at::Tensor& b, const std::string& what) {
  ASSERT_EQ(a.sizes(), b.sizes()) << what;
  EXPECT_EQ(std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()), 0) << what;
}

/// Every tensor of `a` is in `b` with the same type, shape and bytes, and the other way round.
void expect_same_tensors(const fs::path& a, const fs::path& b) {
  const GgufFile first = GgufFile::open(a), second = GgufFile::open(b);
  EXPECT_EQ(first.tensors().size(), second.tensors().size());
  for (const GgufTensor& tensor : first.tensors()) {
    const GgufTensor& other = second.tensor(tensor.name);
    EXPECT_EQ(tensor.type, other.type) << tensor.name;
    EXPECT_EQ(tensor.dims, other.dims) << tensor.name;
    EXPECT_TRUE(std::ranges::equal(tensor.bytes, other.bytes)) << tensor.name;
  }
}

TEST_F(StoredWeights, KeepTheFilesValuesInEveryBit) {
  for (const fs::path& path : {write(mixed), write(mixed_k, true, kWideShape)}) {
    const GgufFile file = GgufFile::open(path);
    std::set<GgufType> kept;
    size_t expanded = 0;
    for (const GgufTensor& tensor : file.tensors()) {
      const std::string name = fmt::format("{} {}", tensor.name, to_string(tensor.type));
      const Storage storage = storage_from_gguf(tensor, Weights::Stored);
      EXPECT_NO_THROW(validate(storage)) << name;
      EXPECT_EQ(describe(storage), loaded_format(tensor.type, Weights::Stored)) << name;
      const Storage dense = storage_from_gguf(tensor, Weights::Float32);
      EXPECT_EQ(describe(dense), "f32") << name;
      expect_same_bits(dequantize(storage), dequantize(dense), name);
      if (std::holds_alternative<FormatStorage>(storage)) kept.insert(tensor.type);
      if (std::holds_alternative<QuantizedStorage>(storage)) {
        kept.insert(tensor.type);
        EXPECT_EQ(bytes_of(storage), std::get<QuantizedStorage>(storage).scheme.bytes(tensor.rows(), tensor.columns()));
      } else {
        ++expanded;
      }
    }
    EXPECT_GE(kept.size(), 4u) << "types";
    EXPECT_GT(expanded, 5u);
  }
}

TEST_F(StoredWeights, GoldenBlocks) {
  // Two blocks and a half-filled chunk: element k of a row of 96 has the code k % 16, and a scale of its block's own.
  const uint16_t scales[] = {0x3c00, 0xb800, 0x4000};  // 1, -0.5, 2
  std::vector<Q4_0Block> blocks(3);
  for (int b = 0; b < 3; ++b) {
    blocks[b].d = scales[b];
    for (int j = 0; j < 16; ++j) blocks[b].qs[j] = static_cast<uint8_t>(j | j << 4);
  }
  const GgufTensor tensor{"x", GgufType::Q4_0, 2, {96, 1, 1, 1}, std::as_bytes(std::span(blocks))};
  const auto storage = std::get<QuantizedStorage>(storage_from_gguf(tensor, Weights::Stored));
  ASSERT_EQ(storage.codes.numel(), 64);
  const auto* codes = storage.codes.const_data_ptr<uint8_t>();
  for (int j = 0; j < 32; ++j) {
    EXPECT_EQ(codes[j], (j % 16) * 17) << j;  // elements j and 32 + j
    EXPECT_EQ(codes[32 + j], j % 16) << j;    // element 64 + j, and none beside it
  }
  const at::Tensor values = dequantize(storage);
  EXPECT_EQ(values[0][0].item<float>(), -8);
  EXPECT_EQ(values[0][33].item<float>(), 3.5);
  EXPECT_EQ(values[0][95].item<float>(), 14);
}

TEST_F(StoredWeights, SavingGivesTheSameBytes) {
  for (const GgufType type : {GgufType::Q4_0, GgufType::Q4_1, GgufType::Q8_0})
    for (const bool untied : {false, true}) {
      SCOPED_TRACE(std::string(to_string(type)) + (untied ? " untied" : " tied"));
      const fs::path source = write([type](std::string_view) { return type; }, untied);
      const LanguageModel model = load_language_model(source);
      EXPECT_EQ(model.decoder.tied(), !untied);
      EXPECT_EQ(describe(*model.decoder.embedding()), loaded_format(type, Weights::Stored));
      EXPECT_LT(model.decoder.weight_bytes(), 2 * model.decoder.parameters());
      save_gguf(model, source, folder_ / "again.gguf");
      expect_same_tensors(source, folder_ / "again.gguf");
    }
}

TEST_F(StoredWeights, ArtifactsKeepTheTensors) {
  for (const bool wide : {false, true}) {
    const fs::path source = wide ? write(mixed_k, true, kWideShape) : write(mixed, true);
    const LanguageModel model = load_language_model(source);
    save_artifact(model, Json::object(), folder_ / "kept.halftone");
    const LanguageModel loaded = load_language_model(folder_ / "kept.halftone");
    for (size_t i = 0; i < model.decoder.blocks().size(); ++i) {
      const auto ours = model.decoder.blocks()[i].linears(), theirs = loaded.decoder.blocks()[i].linears();
      for (size_t j = 0; j < ours.size(); ++j) {
        EXPECT_EQ(describe(theirs[j]->weight()), describe(ours[j]->weight())) << ours[j]->site();
        EXPECT_EQ(theirs[j]->activations(), ours[j]->activations());
        expect_same_bits(dequantize(theirs[j]->weight()), dequantize(ours[j]->weight()), ours[j]->site());
      }
    }
  }
}

template <class Visit>
void for_each_linear(nn::Decoder& decoder, Visit visit) {
  for (auto& block : decoder.blocks())
    for (nn::Linear* linear : block.linears()) visit(*linear);
  visit(decoder.lm_head());
}

TEST_F(StoredWeights, ActivationsFollowTheStorage) {
  const fs::path source = write(mixed, true);
  for (const Weights weights : {Weights::Stored, Weights::Float32}) {
    LanguageModel model = load_language_model(source, {weights});
    int quantized = 0;
    for_each_linear(model.decoder, [&](nn::Linear& linear) {
      EXPECT_EQ(linear.activations(), activations_for(linear.weight())) << linear.site();
      const bool is_dense = std::holds_alternative<DenseStorage>(linear.weight());
      EXPECT_EQ(linear.activations() == nn::ActivationFormat::Float32, is_dense) << linear.site();
      quantized += is_dense ? 0 : 1;
    });
    EXPECT_EQ(quantized > 0, weights == Weights::Stored);
  }
}

at::Tensor logits_of(ExecContext& exec, const LanguageModel& model) {
  nn::StepContext step{exec};
  nn::KvStore cache(model.decoder.config().kv_shape(), ElementType::Float32, 8);
  const std::vector<int32_t> tokens = {256, 70, 111, 120, 32, 0, 255};
  return model.decoder.forward(step, tokens, cache, nn::Logits::All);
}

TEST_F(StoredWeights, RunOnlyModelsGiveTheSameBitsAndGiveTheirNumbersUp) {
  OwnedExecContext exec(2);
  const auto q4_0 = [](std::string_view) { return GgufType::Q4_0; };
  const auto mxfp4 = [](std::string_view) { return GgufType::MXFP4; };
  for (const auto& [type_of, untied, shape] :
       {std::tuple(TinyGguf::TypeOf(mixed_k), true, kWideShape), std::tuple(TinyGguf::TypeOf(mixed), true, kShape),
        std::tuple(TinyGguf::TypeOf(q4_0), false, kShape), std::tuple(TinyGguf::TypeOf(mxfp4), false, kShape)}) {
    const fs::path source = write(type_of, untied, shape);
    const LanguageModel whole = load_language_model(source);
    EXPECT_EQ(whole.decoder.tied(), !untied);
    const fs::path artifact = folder_ / "run.halftone", again = folder_ / "again.halftone";
    save_artifact(whole, Json::object(), artifact);
    for (const auto& path : {source, artifact}) {
      LanguageModel running = load_language_model(path, {.pool = &exec.get().pool, .run_only = true});
      const at::Tensor wanted = logits_of(exec.get(), whole);
      EXPECT_FALSE(wanted.isnan().any().item<bool>());
      expect_same_bits(logits_of(exec.get(), running), wanted, path.string());
      int given_up = 0;
      for_each_linear(running.decoder, [&](const nn::Linear& linear) {
        const bool packed = linear.activations() != nn::ActivationFormat::Float32;
        const bool held = !packed || (linear.site() == "lm_head" && running.decoder.tied() &&
                                      std::holds_alternative<FormatStorage>(linear.weight()));
        EXPECT_NE(describe(linear.weight()), "") << linear.site();
        if (held) {
          EXPECT_NO_THROW(dequantize(linear.weight())) << linear.site();
        } else {
          EXPECT_THROW(dequantize(linear.weight()), InvalidArgument) << linear.site();
          ++given_up;
        }
      });
      EXPECT_GT(given_up, 0);
      EXPECT_EQ(running.decoder.tied(), whole.decoder.tied());
      EXPECT_THROW(save_artifact(running, Json::object(), again), InvalidArgument);
      EXPECT_FALSE(fs::exists(again));
    }
  }
}

TEST_F(StoredWeights, TokenizersLoadWithoutTheirModel) {
  const fs::path source = write(mixed), artifact = folder_ / "whole.halftone";
  const LanguageModel model = load_language_model(source);
  save_artifact(model, Json::object(), artifact);
  const Json wanted = tokenizer_spec_to_json(model.tokenizer.spec());
  for (const auto& path : {source, artifact})
    EXPECT_EQ(tokenizer_spec_to_json(load_tokenizer(path).spec()), wanted) << path;
  EXPECT_THROW(load_tokenizer(folder_ / "absent.gguf"), IoError);
}

TEST(MakeBlocks, OfSeveralDamagedBlocksTheFirstIsNamed) {
  OwnedExecContext exec(2);
  for (ThreadPool* pool : {static_cast<ThreadPool*>(nullptr), &exec.get().pool}) try {
      make_blocks(6, {.pool = pool},
                  [](int64_t index) -> nn::DecoderBlock { throw IoError("block {} is damaged", index); });
      FAIL() << "accepted";
    } catch (const IoError& error) {
      EXPECT_STREQ(error.what(), "block 0 is damaged");
    }
}

TEST_F(StoredWeights, LogitsEqualThoseOfTheExpandedModel) {
  for (const bool wide : {false, true}) {
    const fs::path source = wide ? write(mixed_k, true, kWideShape) : write(mixed, true);
    LanguageModel stored = load_language_model(source);
    const LanguageModel expanded = load_language_model(source, {Weights::Float32});
    EXPECT_LT(stored.decoder.weight_bytes(), expanded.decoder.weight_bytes());
    OwnedExecContext exec(2);
    for_each_linear(stored.decoder, [](nn::Linear& linear) { linear.set_weight(linear.shared_weight()); });
    // With f32 activations the two differ by rounding alone: K <= 512 products a sum, three blocks.
    const at::Tensor a = logits_of(exec.get(), stored), b = logits_of(exec.get(), expanded);
    EXPECT_LE((a - b).abs().max().item<float>(), 1e-4f * b.abs().max().item<float>());
    EXPECT_FALSE(a.isnan().any().item<bool>());
  }
}

// With int8 activations every input is off by half a step at most, and its step by the rounding to f16 and to f32:
// |y' - y| <= sum_k |w| * (step / 2 + |x| * 2^-11), and a little for the sums.
TEST_F(StoredWeights, IntegerLayersStayWithinTheStepsOfTheirInputs) {
  for (const bool wide : {false, true}) {
    const fs::path source = wide ? write(mixed_k, true, kWideShape) : write(mixed, true);
    LanguageModel model = load_language_model(source);
    OwnedExecContext exec(2);
    nn::StepContext step{exec.get()};
    std::set<std::string> seen;
    for_each_linear(model.decoder, [&](nn::Linear& linear) {
      if (linear.activations() == nn::ActivationFormat::Float32) return;
      const int64_t k = linear.inputs();
      seen.insert(describe(linear.weight()));
      for (const int64_t tokens : {1, 33}) {
        const at::Tensor x = random_matrix(tokens, k, 5);
        const Arena::Frame frame(exec.get().arena);
        Activation input(exec.get(), x);
        const at::Tensor y = linear.forward(step, input).to(at::kDouble);
        const at::Tensor w = dequantize(linear.weight()).to(at::kDouble), xd = x.to(at::kDouble);
        const at::Tensor half_steps = xd.abs().view({tokens, -1, 32}).amax(2, true).expand({tokens, k / 32, 32}) / 254;
        const at::Tensor exact = xd.matmul(w.t());
        const at::Tensor error = half_steps.reshape({tokens, k}) + xd.abs() * 0x1p-11;
        // f32 sums: at most two roundings a fold of 16, of products and minimums no larger than the largest weights.
        const at::Tensor sums = xd.abs().sum(1, true) * w.abs().max() * ((static_cast<double>(k) / 8 + 8) * 0x3p-24);
        const at::Tensor bound = error.matmul(w.abs().t()) + sums;
        EXPECT_TRUE(((y - exact).abs() <= bound).all().item<bool>())
            << linear.site() << " " << describe(linear.weight()) << " excess "
            << ((y - exact).abs() - bound).max().item<double>();
      }
    });
    EXPECT_GE(seen.size(), 4u) << "formats";
  }
}

TEST_F(StoredWeights, NamesOfTheChoiceRoundTrip) {
  for (const Weights weights : {Weights::Stored, Weights::Float32})
    EXPECT_EQ(parse_weights(to_string(weights)), weights);
  EXPECT_THROW(parse_weights("f16"), InvalidArgument);
}

}  // namespace
}  // namespace halftone::models
