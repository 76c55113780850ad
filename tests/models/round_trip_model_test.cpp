// A real model through our writers and back: artifacts keep every bit of every storage, GGUF files keep the values.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>

#include "base/error.h"
#include "base/json.h"
#include "io/gguf/gguf.h"
#include "models/language/language_model.h"
#include "tensor/quantize.h"

namespace halftone::models {
namespace {

namespace fs = std::filesystem;

/// Names of everything with bits in a decoder; shape and type come first, so that tensors of equal bytes but another
/// shape differ.
std::map<std::string, std::string> bits_of_decoder(const nn::Decoder& decoder) {
  std::map<std::string, std::string> bits;
  const auto add = [&](const std::string& name, const at::Tensor& tensor) {
    if (!tensor.defined()) return;
    std::string& text = bits[name];
    text = c10::toString(tensor.scalar_type());
    for (const int64_t size : tensor.sizes()) text += " " + std::to_string(size);
    const at::Tensor flat = tensor.contiguous();
    text.append(static_cast<const char*>(flat.const_data_ptr()), flat.nbytes());
  };
  const auto add_storage = [&](const std::string& name, const Storage& storage) {
    bits[name] = describe(storage);
    if (const auto* dense = std::get_if<DenseStorage>(&storage)) return add(name + ".values", dense->values);
    const auto& q = std::get<QuantizedStorage>(storage);
    bits[name + ".scheme"] = to_json(q.scheme).dump();
    add(name + ".codes", q.codes);
    add(name + ".scales", q.scales);
    add(name + ".group_scales", q.group_scales);
    add(name + ".zeros", q.zeros);
  };
  const auto add_linear = [&](const nn::Linear& linear) {
    add_storage(linear.site(), linear.weight());
    bits[linear.site() + ".activations"] = nn::to_string(linear.activations());
    add(linear.site() + ".bias", linear.bias());
  };
  add_storage("embedding", *decoder.embedding());
  add("final_norm", decoder.final_norm());
  add_linear(decoder.lm_head());
  for (size_t i = 0; i < decoder.blocks().size(); ++i) {
    const nn::DecoderBlock& block = decoder.blocks()[i];
    const std::string prefix = "blocks." + std::to_string(i) + ".";
    for (const nn::Linear* linear : block.linears()) add_linear(*linear);
    add(prefix + "attn_norm", block.attn_norm);
    add(prefix + "ffn_norm", block.ffn_norm);
    add(prefix + "q_norm", block.q_norm);
    add(prefix + "k_norm", block.k_norm);
    add(prefix + "post_attn_norm", block.post_attn_norm);
    add(prefix + "post_ffn_norm", block.post_ffn_norm);
  }
  return bits;
}

/// Compares name by name: a failure must not print megabytes.
void expect_same_bits(const nn::Decoder& actual, const nn::Decoder& expected) {
  const auto a = bits_of_decoder(actual), e = bits_of_decoder(expected);
  for (const auto& [name, value] : e) {
    const auto found = a.find(name);
    if (found == a.end())
      ADD_FAILURE() << name << " is missing";
    else
      EXPECT_TRUE(found->second == value) << name << " differs";
  }
  EXPECT_EQ(a.size(), e.size()) << "there is more than was saved";
}

at::Tensor logits_of(ExecContext& exec, const nn::Decoder& decoder) {
  const std::vector<int32_t> tokens = {504, 10575, 216, 33, 7, 2000, 9, 1};
  nn::StepContext step{exec};
  nn::KvStore cache(decoder.config().kv_shape(), decoder.kv_format(), 8);
  return decoder.forward(step, tokens, cache, nn::Logits::All);
}

std::string bytes_of_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

class RoundTrip : public testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(source_)) GTEST_SKIP() << source_ << " is missing; fetch it with `make models-all`";
    folder_ = fs::temp_directory_path() / ("halftone_round_trip_" + std::to_string(getpid()));
    fs::create_directories(folder_);
    model_ = std::make_unique<LanguageModel>(load_language_model(source_, {Weights::Float32}));
  }
  void TearDown() override {
    if (!folder_.empty()) fs::remove_all(folder_);
  }

  nn::Decoder& decoder() { return model_->decoder; }
  Storage nearest(const nn::Linear& linear, const QuantScheme& scheme) {
    return quantize_nearest(exec_.get(), linear.dense_weight(), scheme);
  }
  /// Every linear layer of the blocks through `store`.
  template <class Store>
  void replace_all(Store store) {
    for (auto& block : decoder().blocks())
      for (nn::Linear* linear : block.linears()) linear->set_weight(store(*linear));
  }

  fs::path source_ = "models/SmolLM2-135M-Instruct.Q4_1.gguf", folder_;
  std::unique_ptr<LanguageModel> model_;
  OwnedExecContext exec_;
};

/// Every storage there is, layer by layer in turn, with everything else that an artifact has to keep.
void vary(nn::Decoder& decoder, ExecContext& exec) {
  const std::vector<QuantScheme> schemes = {
      {.element = ElementType::Int8, .granularity = Granularity::Row},
      {.element = ElementType::Int4, .granularity = Granularity::Group, .group = 64, .zero_points = true},
      {.element = ElementType::Int4, .granularity = Granularity::TwoLevel, .group = 64, .zero_points = true},
      {.element = ElementType::Int2, .granularity = Granularity::Group, .group = 32, .zero_points = true},
      {.element = ElementType::Int3, .granularity = Granularity::TwoLevel, .group = 32, .zero_points = true},
      {.element = ElementType::Int4, .granularity = Granularity::Group, .group = 128},  // 576: a short last group
      {.element = ElementType::Int8, .granularity = Granularity::Group, .group = 32, .zero_points = true}};
  const ElementType dense[] = {ElementType::Float32, ElementType::Float16, ElementType::BFloat16};
  size_t layer = 0;
  for (auto& block : decoder.blocks())
    for (nn::Linear* linear : block.linears()) {
      const at::Tensor weight = linear->dense_weight();
      const size_t turn = layer++ % (schemes.size() + std::size(dense));
      const Storage storage = turn < schemes.size() ? Storage(quantize_nearest(exec, weight, schemes[turn]))
                                                    : make_dense(weight, dense[turn - schemes.size()]);
      const bool int8_inputs = turn < 3;
      linear->set_weight(storage, int8_inputs ? nn::ActivationFormat::Int8PerToken : nn::ActivationFormat::Float32);
      if (turn % 2 == 1) linear->set_bias(weight.select(1, 0).clone());
    }
  decoder.set_kv_format(ElementType::Int4);
  decoder.set_residual_rotation(RandomHadamard(decoder.config().width, 0x123456789abcdef));
}

TEST_F(RoundTrip, ArtifactKeepsEveryBit) {
  vary(decoder(), exec_.get());
  const Json provenance = {{"method", "several"}, {"seed", 18446744073709551615u}, {"clip", 0.1}};
  const fs::path first = folder_ / "first.halftone", second = folder_ / "second.halftone";
  save_artifact(*model_, provenance, first);
  const LanguageModel loaded = load_language_model(first);

  expect_same_bits(loaded.decoder, decoder());
  EXPECT_EQ(to_json(loaded.decoder.config()).dump(), to_json(decoder().config()).dump());
  for (size_t i = 0; i < decoder().config().layers.size(); ++i)
    EXPECT_EQ(loaded.decoder.config().layers[i].inverse_frequency, decoder().config().layers[i].inverse_frequency);
  EXPECT_EQ(loaded.decoder.config().softmax_scale, decoder().config().softmax_scale);
  EXPECT_EQ(loaded.decoder.config().norm_epsilon, decoder().config().norm_epsilon);
  EXPECT_TRUE(loaded.decoder.tied());
  EXPECT_EQ(loaded.decoder.kv_format(), ElementType::Int4);
  ASSERT_TRUE(loaded.decoder.residual_rotation().has_value());
  EXPECT_EQ(loaded.decoder.residual_rotation()->seed(), decoder().residual_rotation()->seed());
  EXPECT_TRUE(tokenizer_spec_to_json(loaded.tokenizer.spec()) == tokenizer_spec_to_json(model_->tokenizer.spec()));
  EXPECT_EQ(loaded.provenance.dump(), provenance.dump());
  EXPECT_EQ(loaded.name, model_->name);
  EXPECT_EQ(loaded.source_kind, "artifact");
  EXPECT_EQ(loaded.file_bytes, static_cast<int64_t>(fs::file_size(first)));
  EXPECT_EQ(loaded.decoder.weight_bytes(), decoder().weight_bytes());

  const at::Tensor ours = logits_of(exec_.get(), decoder()), theirs = logits_of(exec_.get(), loaded.decoder);
  EXPECT_EQ(std::memcmp(ours.const_data_ptr(), theirs.const_data_ptr(), ours.nbytes()), 0) << "logits differ";
  save_artifact(loaded, loaded.provenance, second);
  EXPECT_TRUE(bytes_of_file(first) == bytes_of_file(second)) << "saving again gives another file";
}

TEST_F(RoundTrip, ArtifactKeepsAHeadThatIsNotTied) {
  nn::Decoder& tied = decoder();
  OwnedExecContext exec(1);
  auto head = std::make_shared<const Storage>(quantize_nearest(
      exec.get(), dequantize(*tied.embedding()), {.element = ElementType::Int8, .granularity = Granularity::Row}));
  auto blocks = std::move(tied.blocks());
  model_->decoder = nn::Decoder(tied.config(), tied.embedding(), std::move(blocks), tied.final_norm(), head);
  decoder().lm_head().set_weight(head, nn::ActivationFormat::Int8PerToken);
  replace_all([&](const nn::Linear& linear) { return make_dense(linear.dense_weight(), ElementType::Float16); });
  save_artifact(*model_, nullptr, folder_ / "untied.halftone");
  const LanguageModel loaded = load_language_model(folder_ / "untied.halftone");
  EXPECT_FALSE(loaded.decoder.tied());
  EXPECT_FALSE(loaded.decoder.residual_rotation().has_value());
  EXPECT_TRUE(loaded.provenance.is_null());
  expect_same_bits(loaded.decoder, decoder());
}

/// A storage that GGUF has a type for.
struct GgufOutput {
  const char* name;
  GgufType type;
  ElementType element;
};

void PrintTo(const GgufOutput& output, std::ostream* out) { *out << output.name; }

class GgufRoundTrip : public RoundTrip, public testing::WithParamInterface<GgufOutput> {};

/// dequantize(storage) for integers, the values themselves otherwise: what a GGUF reader gives back.
at::Tensor stored_values(const Storage& storage) {
  const auto* dense = std::get_if<DenseStorage>(&storage);
  return dense ? dense->values : dequantize(storage);
}

void expect_same_values(const std::string& name, const Storage& actual, const Storage& expected) {
  const at::Tensor a = stored_values(actual), e = stored_values(expected);
  ASSERT_EQ(a.scalar_type(), e.scalar_type()) << name;
  ASSERT_EQ(a.sizes(), e.sizes()) << name;
  EXPECT_EQ(std::memcmp(a.const_data_ptr(), e.const_data_ptr(), a.nbytes()), 0) << name << " differs";
}

TEST_P(GgufRoundTrip, KeepsValuesAndMetadata) {
  const auto [name, type, element] = GetParam();
  const bool integer = element == ElementType::Int4 || element == ElementType::Int8;
  const QuantScheme scheme{.element = element, .granularity = Granularity::Group, .group = 32};
  const auto store = [&](const nn::Linear& linear) {
    return integer ? nearest(linear, scheme) : make_dense(linear.dense_weight(), element);
  };
  replace_all(store);
  decoder().set_embedding(store(decoder().lm_head()));
  const fs::path path = folder_ / "out.gguf";
  save_gguf(*model_, source_, path);

  const LanguageModel loaded = load_language_model(path);
  expect_same_values("embedding", *loaded.decoder.embedding(), *decoder().embedding());
  EXPECT_TRUE(loaded.decoder.tied());
  for (size_t i = 0; i < decoder().blocks().size(); ++i) {
    const auto theirs = loaded.decoder.blocks()[i].linears();
    const auto ours = decoder().blocks()[i].linears();
    for (size_t j = 0; j < ours.size(); ++j)
      expect_same_values(ours[j]->site(), theirs[j]->weight(), ours[j]->weight());
  }
  EXPECT_EQ(to_json(loaded.decoder.config()).dump(), to_json(decoder().config()).dump());
  EXPECT_TRUE(tokenizer_spec_to_json(loaded.tokenizer.spec()) == tokenizer_spec_to_json(model_->tokenizer.spec()));

  const fs::path again = folder_ / "again.gguf";
  save_gguf(loaded, path, again);
  EXPECT_TRUE(bytes_of_file(again) == bytes_of_file(path)) << "loading and saving once more changes the file";

  const GgufFile before = GgufFile::open(source_), after = GgufFile::open(path);
  EXPECT_EQ(after.tensor("blk.29.ffn_down.weight").type, type);
  EXPECT_EQ(after.tensor("token_embd.weight").type, type);
  EXPECT_EQ(after.tensors().size(), before.tensors().size());
  EXPECT_EQ(after.metadata().size(), before.metadata().size());
  for (const GgufEntry& entry : before.metadata()) {
    if (entry.key == "general.file_type") continue;
    const auto found = std::find_if(after.metadata().begin(), after.metadata().end(),
                                    [&](const GgufEntry& other) { return other.key == entry.key; });
    ASSERT_NE(found, after.metadata().end()) << entry.key;
    EXPECT_TRUE(std::ranges::equal(found->payload, entry.payload)) << entry.key;
  }
}

INSTANTIATE_TEST_SUITE_P(Types, GgufRoundTrip,
                         testing::Values(GgufOutput{"Q4_0", GgufType::Q4_0, ElementType::Int4},
                                         GgufOutput{"Q8_0", GgufType::Q8_0, ElementType::Int8},
                                         GgufOutput{"F16", GgufType::F16, ElementType::Float16},
                                         GgufOutput{"BF16", GgufType::BF16, ElementType::BFloat16},
                                         GgufOutput{"F32", GgufType::F32, ElementType::Float32}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_F(RoundTrip, GgufRefusesWhatItCannotHold) {
  const fs::path path = folder_ / "refused.gguf";
  nn::Linear& linear = decoder().blocks()[3].down_proj;
  const auto expect_refused = [&](const std::string& part) {
    try {
      save_gguf(*model_, source_, path);
      ADD_FAILURE() << "written without an error";
    } catch (const Unsupported& problem) {
      EXPECT_NE(std::string(problem.what()).find(part), std::string::npos) << problem.what();
    }
    EXPECT_TRUE(fs::is_empty(folder_)) << "a refused file left something behind";
  };
  const at::Tensor weight = linear.dense_weight();
  const QuantScheme refused[] = {
      {.element = ElementType::Int4, .granularity = Granularity::Group, .group = 64},
      {.element = ElementType::Int4, .granularity = Granularity::Group, .group = 32, .zero_points = true},
      {.element = ElementType::Int8, .granularity = Granularity::Row}};
  for (const QuantScheme& scheme : refused) {
    linear.set_weight(quantize_nearest(exec_.get(), weight, scheme));
    expect_refused("blocks.3.mlp.down_proj");
  }
  linear.set_weight(make_dense(weight, ElementType::Float32));
  decoder().set_residual_rotation(RandomHadamard(decoder().config().width, 1));
  expect_refused("rotation");
}

}  // namespace
}  // namespace halftone::models
