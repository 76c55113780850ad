// GGUF tensors that stay as they are on load: the same values as their expansion in every bit, and back to the same
// bytes when saved.
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "../engine/tiny_gguf.h"
#include "base/error.h"
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

/// All block types and plain ones side by side, in another place in each block.
GgufType mixed(std::string_view name) {
  constexpr GgufType kTypes[] = {GgufType::Q4_0, GgufType::Q8_0, GgufType::Q4_1, GgufType::F32};
  size_t sum = 0;
  for (const char c : name) sum += static_cast<unsigned char>(c);
  return kTypes[sum % std::size(kTypes)];
}

class StoredWeights : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("halftone-stored-" + std::to_string(::getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  fs::path write(const TinyGguf::TypeOf& type_of, bool untied = false) const {
    TinyGguf tiny(11, kShape, type_of);
    if (untied) tiny.untie();
    tiny.write(folder_ / "tiny.gguf");
    return folder_ / "tiny.gguf";
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
  const GgufFile file = GgufFile::open(write(mixed));
  size_t kept = 0, expanded = 0;
  for (const GgufTensor& tensor : file.tensors()) {
    const std::string name(tensor.name);
    const Storage storage = storage_from_gguf(tensor, Weights::Stored);
    EXPECT_NO_THROW(validate(storage)) << name;
    EXPECT_EQ(describe(storage), loaded_format(tensor.type, Weights::Stored)) << name;
    const Storage dense = storage_from_gguf(tensor, Weights::Float32);
    EXPECT_EQ(describe(dense), "f32") << name;
    expect_same_bits(dequantize(storage), dequantize(dense), name);
    (std::holds_alternative<QuantizedStorage>(storage) ? kept : expanded) += 1;
  }
  EXPECT_GT(kept, 5u);
  EXPECT_GT(expanded, 5u);
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
  for (const GgufType type : {GgufType::Q4_0, GgufType::Q8_0})
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
      quantized += std::holds_alternative<QuantizedStorage>(linear.weight()) ? 1 : 0;
    });
    EXPECT_EQ(quantized > 0, weights == Weights::Stored);
  }
}

TEST_F(StoredWeights, LogitsEqualThoseOfTheExpandedModel) {
  const fs::path source = write(mixed, true);
  LanguageModel stored = load_language_model(source);
  const LanguageModel expanded = load_language_model(source, {Weights::Float32});
  EXPECT_LT(stored.decoder.weight_bytes(), expanded.decoder.weight_bytes());
  OwnedExecContext exec(2);
  const auto logits = [&](const LanguageModel& model) {
    nn::StepContext step{exec.get()};
    nn::KvStore cache(model.decoder.config().kv_shape(), ElementType::Float32, 8);
    const std::vector<int32_t> tokens = {256, 70, 111, 120, 32, 0, 255};
    return model.decoder.forward(step, tokens, cache, nn::Logits::All);
  };
  for_each_linear(stored.decoder, [](nn::Linear& linear) { linear.set_weight(linear.shared_weight()); });
  // With f32 activations the two differ by rounding alone: K <= 160 products a sum, three blocks.
  const at::Tensor a = logits(stored), b = logits(expanded);
  EXPECT_LE((a - b).abs().max().item<float>(), 1e-4f * b.abs().max().item<float>());
  EXPECT_FALSE(a.isnan().any().item<bool>());
}

TEST_F(StoredWeights, NamesOfTheChoiceRoundTrip) {
  for (const Weights weights : {Weights::Stored, Weights::Float32})
    EXPECT_EQ(parse_weights(to_string(weights)), weights);
  EXPECT_THROW(parse_weights("f16"), InvalidArgument);
}

}  // namespace
}  // namespace halftone::models
