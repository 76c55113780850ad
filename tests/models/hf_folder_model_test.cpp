// A real model through a Hugging Face folder: tensors renamed, q and k in the other row order, RoPE in the other
// convention, the tokenizer in the other file format. bench/peers/check_hf_folder.py reads such a folder with
// transformers.
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/json.h"
#include "models/language/language_model.h"

namespace halftone::models {
namespace {

namespace fs = std::filesystem;

class HfFolder : public testing::Test {
 protected:
  void SetUp() override {
    const fs::path source = "models/SmolLM2-135M-Instruct.Q4_1.gguf";
    if (!fs::exists(source)) GTEST_SKIP() << source << " is missing; fetch it with `make models`";
    model_ = std::make_unique<LanguageModel>(load_language_model(source, {Weights::Float32}));
    const char* keep = std::getenv("HALFTONE_KEEP_HF_FOLDER");  // for bench/peers/check_hf_folder.py
    kept_ = keep != nullptr;
    folder_ = kept_ ? fs::path(keep) : fs::temp_directory_path() / ("halftone-hf-" + std::to_string(::getpid()));
    save_hf(*model_, folder_);
  }
  void TearDown() override {
    if (!folder_.empty() && !kept_) fs::remove_all(folder_);
  }

  std::unique_ptr<LanguageModel> model_;
  fs::path folder_;
  bool kept_ = false;
};

TEST_F(HfFolder, GivesTheSameLogitsAndTokens) {
  const LanguageModel loaded = load_language_model(folder_);
  EXPECT_EQ(loaded.source_kind, "safetensors");
  EXPECT_EQ(loaded.decoder.parameters(), model_->decoder.parameters());
  EXPECT_TRUE(loaded.decoder.tied());
  EXPECT_EQ(loaded.decoder.config().rope_style, kernels::RopeStyle::HalfSplit);
  EXPECT_EQ(loaded.decoder.config().layers.front().inverse_frequency,
            model_->decoder.config().layers.front().inverse_frequency);

  // The same products in another order: rounding alone, measured about 1e-6.
  const Json golden = Json::parse(read_text("tests/goldens/logits_smollm2.json"));
  const auto tokens = golden.at("tokens").get<std::vector<int32_t>>();
  OwnedExecContext exec;
  const auto logits = [&](const LanguageModel& model) {
    nn::StepContext step{exec.get()};
    nn::KvStore cache(model.decoder.config().kv_shape(), ElementType::Float32, 256);
    return model.decoder.forward(step, std::span(tokens).first(256), cache, nn::Logits::All);
  };
  const at::Tensor expected = logits(*model_), actual = logits(loaded);
  const double error = (actual - expected).abs().max().item<double>() / expected.abs().max().item<double>();
  std::printf("logits through a Hugging Face folder: relative difference %.2e\n", error);
  EXPECT_LE(error, 1e-5);
  EXPECT_GT(error, 0) << "the folder should not have the GGUF file's row order";

  const Json strings = Json::parse(read_text("tests/goldens/tokenizer_smollm2.json"));
  ASSERT_GE(strings.at("cases").size(), 291u);
  for (const Json& item : strings.at("cases")) {
    const auto text = item.at("text").get<std::string>();
    const EncodeOptions options{.add_special = item.at("add_special"), .parse_special = item.at("parse_special")};
    EXPECT_EQ(loaded.tokenizer.encode(text, options), item.at("ids").get<std::vector<int32_t>>())
        << item.at("text").dump();
  }
  const TokenizerSpec &before = model_->tokenizer.spec(), &after = loaded.tokenizer.spec();
  EXPECT_EQ(after.tokens, before.tokens);
  EXPECT_EQ(after.merges, before.merges);
  EXPECT_EQ(after.bos_id, before.bos_id);
  EXPECT_EQ(after.eos_id, before.eos_id);
  EXPECT_EQ(after.chat_template, before.chat_template);
  for (int32_t id = 0; id < loaded.tokenizer.vocab_size(); ++id) {
    EXPECT_EQ(loaded.tokenizer.is_end_of_generation(id), model_->tokenizer.is_end_of_generation(id)) << id;
    EXPECT_EQ(loaded.tokenizer.is_control(id), model_->tokenizer.is_control(id)) << id;
  }
}

TEST_F(HfFolder, RefusesWhatItCannotHold) {
  const auto message = [&] {
    try {
      save_hf(*model_, folder_ / "never");
    } catch (const Unsupported& problem) {
      return std::string(problem.what());
    }
    return std::string("written without an error");
  };
  nn::Decoder& decoder = model_->decoder;
  decoder.set_residual_rotation(RandomHadamard(decoder.config().width, 1));
  EXPECT_NE(message().find("rotate=false"), std::string::npos) << message();
  decoder.set_residual_rotation({});
  nn::DecoderConfig config = decoder.config();
  config.layers.back().inverse_frequency[3] /= 8;
  model_->decoder = nn::Decoder(config, decoder.embedding(), std::move(decoder.blocks()), decoder.final_norm(),
                                decoder.lm_head().shared_weight());
  EXPECT_NE(message().find("frequencies"), std::string::npos) << message();
  EXPECT_FALSE(fs::exists(folder_ / "never"));
}

}  // namespace
}  // namespace halftone::models
