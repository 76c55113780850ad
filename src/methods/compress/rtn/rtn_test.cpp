// rtn: formats as asked, fewer bits a larger error, untouched sites untouched, every option refused as documented.
#include "methods/compress/rtn/rtn.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "plugin/testing/calibrate.h"

namespace halftone {
namespace {

using nn::tiny_decoder;
using nn::tiny_gemma_config;
using nn::tiny_llama_config;

class RtnTest : public testing::Test {
 protected:
  RtnTest() { register_rtn(catalogue_); }
  nn::Decoder compressed(const OptionValues& options, const std::string& sites = "blocks.*") {
    nn::Decoder model = tiny_decoder(tiny_llama_config());
    compress_tiny(exec_.get(), model, catalogue_, "rtn", options, sites);
    return model;
  }
  double error(const OptionValues& options) {
    return logits_error(exec_.get(), compressed(options), tiny_decoder(tiny_llama_config()));
  }
  Catalogue catalogue_;
  OwnedExecContext exec_{2};
};

TEST_F(RtnTest, Golden) {
  // One row of two groups of 16, symmetric 4-bit: max 7 makes a step of 1, max 3.5 one of 0.5.
  nn::Decoder model = tiny_decoder(tiny_llama_config());
  auto& linear = model.blocks()[0].q_proj;
  at::Tensor weight = linear.dense_weight().clone();
  weight.zero_();
  weight[0][0] = 7.0f;
  weight[0][1] = 2.4f;
  weight[0][2] = -2.6f;
  weight[0][16] = -3.5f;
  weight[0][17] = 0.6f;
  linear.set_weight(DenseStorage{weight});
  compress_tiny(exec_.get(), model, catalogue_, "rtn", {{"symmetric", "true"}, {"group_size", "16"}});
  const at::Tensor rounded = dequantize(linear.weight());
  EXPECT_EQ(rounded[0][0].item<float>(), 7.0f);
  EXPECT_EQ(rounded[0][1].item<float>(), 2.0f);
  EXPECT_EQ(rounded[0][2].item<float>(), -3.0f);
  EXPECT_EQ(rounded[0][16].item<float>(), -3.5f);
  EXPECT_EQ(rounded[0][17].item<float>(), 0.5f);
  EXPECT_EQ(rounded[0][40].item<float>(), 0.0f);
}

TEST_F(RtnTest, StoresWhatItIsAskedFor) {
  const auto format = [&](const OptionValues& options) {
    return describe(compressed(options).blocks()[1].down_proj.weight());  // 96 inputs
  };
  EXPECT_EQ(format({}), "int4 group 64 asymmetric");  // the last group is short
  EXPECT_EQ(format({{"fit_group_size", "true"}}), "int4 group 32 asymmetric");
  EXPECT_EQ(format({{"bits", "8"}, {"granularity", "row"}, {"symmetric", "true"}}), "int8 row symmetric");
  EXPECT_EQ(format({{"bits", "2"}, {"group_size", "48"}}), "int2 group 48 asymmetric");
}

TEST_F(RtnTest, StoresAnyNumberFormat) {
  const auto format = [&](const std::string& name, const std::string& head) {
    const nn::Decoder model = compressed({{"format", name}, {"head", head}});
    return describe(model.blocks()[1].down_proj.weight()) + ", " + describe(*model.embedding());
  };
  EXPECT_EQ(format("mxfp4", "nvfp4"), "mxfp4, nvfp4");
  EXPECT_EQ(format("nf4 group:64 f16", "e4m3 tensor f32"), "nf4 group:64 f16 absmax, e4m3 tensor f32 absmax");
  EXPECT_EQ(format("e4m3 block:32x32 f32", "mxfp8_e4m3"), "e4m3 block:32x32 f32 absmax, mxfp8_e4m3");
  EXPECT_EQ(format("int4_full group:64 f16", "int8 row f16"), "int4 group 64 symmetric, int8 row symmetric");
  EXPECT_EQ(format("complex row f16", "f16"), "complex row f16 absmean, f16");
  EXPECT_EQ(format("complex tensor f16x2", "f16"), "complex tensor f16x2 absmean, f16");
}

TEST_F(RtnTest, StoresCodebooksOfOnesOwn) {
  const auto path = std::filesystem::temp_directory_path() / ("halftone-rtn-" + std::to_string(::getpid()) + ".txt");
  std::ofstream(path) << "-1\n-0.25\n0\n0.25\n1\n";
  const nn::Decoder given = compressed({{"format", "codebook:" + path.string() + " group:32 f16"}});
  std::filesystem::remove(path);
  EXPECT_EQ(describe(given.blocks()[1].down_proj.weight()), "codebook 5 f16 group:32 f16 absmax");
  const nn::Decoder found = compressed({{"format", "kmeans:16x4"}, {"head", "kmeans:16 row f16"}});
  EXPECT_EQ(describe(found.blocks()[1].down_proj.weight()), "codebook 16x4 f16");
  EXPECT_EQ(describe(*found.embedding()), "codebook 16 f16 row f16 absmax");
}

TEST_F(RtnTest, CodebooksFollowTheSeedAndLargerOnesLoseLess) {
  const auto table = [&](uint64_t seed) {
    nn::Decoder model = tiny_decoder(tiny_llama_config());
    const auto pass = catalogue_.make_compress_pass("rtn", {{"format", "kmeans:16x4"}});
    const SiteSelector sites;
    CompressContext context{exec_.get(), model, sites, seed};
    pass->compress_block(context, 0, {});
    return std::get<CodebookStorage>(model.blocks()[0].up_proj.weight()).table;
  };
  EXPECT_TRUE(table(1).equal(table(1)));
  EXPECT_FALSE(table(1).equal(table(2)));
  const auto lost = [&](const char* format) { return error({{"format", format}, {"head", "f32"}}); };
  EXPECT_LT(lost("kmeans:64 group:32 f16"), lost("kmeans:16 group:32 f16"));
  EXPECT_LT(lost("kmeans:16 group:32 f16"), lost("kmeans:4 group:32 f16"));
}

TEST_F(RtnTest, ASchemeSaidAsAFormatHasTheSameCodes) {
  // int4_full has the codes -8 .. 7 of symmetric int4, and the same scale, max / 7.
  const nn::Decoder said = compressed({{"format", "int4_full group:64 f16"}}),
                    meant = compressed({{"symmetric", "true"}});
  for (size_t i = 0; i < 7; ++i) {
    const auto& a = std::get<QuantizedStorage>(said.blocks()[0].linears()[i]->weight());
    const auto& b = std::get<QuantizedStorage>(meant.blocks()[0].linears()[i]->weight());
    EXPECT_EQ(a.scheme, b.scheme);
    EXPECT_TRUE(a.scales.equal(b.scales));
    EXPECT_TRUE(a.codes.equal(b.codes));
  }
}

TEST_F(RtnTest, BetterFormatsLoseLess) {
  const auto lost = [&](const char* format) { return error({{"format", format}, {"head", "f32"}}); };
  const double eight = lost("mxfp8_e4m3"), six = lost("mxfp6_e2m3"), nv = lost("nvfp4"), mx = lost("mxfp4"),
               two = lost("ternary row f16");
  EXPECT_LT(eight, nv);
  EXPECT_LT(six, nv);
  EXPECT_LT(nv, two);
  EXPECT_LT(mx, two);
}

TEST_F(RtnTest, RandomRoundingFollowsTheSeed) {
  const auto codes = [&](uint64_t seed, const char* rounding) {
    nn::Decoder model = tiny_decoder(tiny_llama_config());
    const auto pass =
        catalogue_.make_compress_pass("rtn", {{"format", "mxfp4 truncation-free"}, {"rounding", rounding}});
    const SiteSelector sites;
    CompressContext context{exec_.get(), model, sites, seed};
    pass->compress_block(context, 0, {});
    return std::get<FormatStorage>(model.blocks()[0].up_proj.weight()).codes;
  };
  EXPECT_TRUE(codes(1, "stochastic").equal(codes(1, "stochastic")));
  EXPECT_FALSE(codes(1, "stochastic").equal(codes(2, "stochastic")));
  EXPECT_TRUE(codes(1, "nearest-even").equal(codes(2, "nearest-even")));
}

TEST_F(RtnTest, FormatsThatDoNotFitAreRefused) {
  const auto message = [&](const OptionValues& options) { return option_error(catalogue_, "rtn", options); };
  for (const char* part : {"method rtn", "format = 'mxfp5'", "mxfp8_e4m3", "nvfp4", "ELEMENT GRANULARITY SCALE"})
    EXPECT_THAT(message({{"format", "mxfp5"}}), testing::HasSubstr(part));
  EXPECT_THAT(message({{"format", "e4m3 token f16"}}), testing::HasSubstr("activations"));
  EXPECT_THAT(message({{"head", "e9m9 row f16"}}), testing::HasSubstr("e2m1"));
  EXPECT_THAT(message({{"format", "kmeans:1"}}), testing::HasSubstr("2 to 65536"));
  EXPECT_THAT(message({{"format", "codebook:/no/such/file"}}), testing::HasSubstr("cannot be read"));
  EXPECT_THAT(message({{"format", "kmeans:16"}, {"bits", "8"}}), testing::HasSubstr("leave bits out"));
  EXPECT_THAT(message({{"format", "mxfp4"}, {"group_size", "32"}}), testing::HasSubstr("leave group_size out"));
  EXPECT_THAT(message({{"rounding", "stochastic"}}), testing::HasSubstr("needs a format"));
  const auto thrown = [&](const OptionValues& options) -> std::string {
    try {
      compressed(options);
    } catch (const Error& problem) {
      return problem.what();
    }
    return "accepted";
  };
  EXPECT_THAT(thrown({{"format", "complex row f16"}, {"rounding", "stochastic"}}), testing::HasSubstr("nearest-even"));
  EXPECT_THAT(thrown({{"format", "complex group:3 f16"}}),
              testing::AllOf(testing::HasSubstr("blocks.0."), testing::HasSubstr("2 numbers at a time")));
  EXPECT_THAT(thrown({{"format", "nf4 group:64 f16"}, {"activations", "int8"}}), testing::HasSubstr("nf4 codes"));
  EXPECT_THAT(thrown({{"format", "kmeans:16"}, {"activations", "int8"}}), testing::HasSubstr("no integer kernel"));
  EXPECT_THAT(thrown({{"format", "kmeans:16x4"}, {"rounding", "stochastic"}}), testing::HasSubstr("leave it out"));
  EXPECT_THAT(thrown({{"format", "kmeans:16x5"}}), testing::HasSubstr("5 numbers at a time"));
  EXPECT_THAT(thrown({{"format", "kmeans:65536"}}), testing::HasSubstr("65536 entries"));
}

TEST_F(RtnTest, TheHeadTakesIntegersWhereAllLayersDo) {
  using nn::ActivationFormat;
  const auto head = [&](const OptionValues& options, const std::string& sites = "blocks.*") {
    return compressed(options, sites).lm_head().activations();
  };
  const OptionValues grouped = {{"group_size", "32"}, {"head", "int8"}};
  const auto with = [&](OptionValues options, const std::string& name, const std::string& value) {
    options[name] = value;
    return options;
  };
  EXPECT_EQ(head(grouped), ActivationFormat::Float32) << "16-bit activations are kept to the end";
  for (const char* activations : {"int8", "int8-group32"}) {
    const OptionValues integer = with(grouped, "activations", activations);
    EXPECT_EQ(head(integer), ActivationFormat::Int8PerGroup) << activations;
    EXPECT_EQ(head(with(integer, "head", "nvfp4")), ActivationFormat::Int8PerGroup);
    EXPECT_EQ(head(with(integer, "head", "nf4 group:64 f16")), ActivationFormat::Float32) << "no integer kernel";
    EXPECT_EQ(head(with(integer, "head", "f16")), ActivationFormat::Float32);
    EXPECT_EQ(head(integer, "blocks.1.*"), ActivationFormat::Float32) << "other layers stay as they are";
  }
}

TEST_F(RtnTest, GroupsOfInputsAreFinerThanTokens) {
  const auto lost = [&](const char* activations) {
    return error({{"bits", "8"}, {"group_size", "32"}, {"head", "int8_group32"}, {"activations", activations}});
  };
  const double none = lost("f32"), fine = lost("int8-group32"), coarse = lost("int8");
  EXPECT_LT(none, fine);
  EXPECT_LT(fine, coarse);
}

TEST_F(RtnTest, StoresHeadAndCacheFormat) {
  const auto head = [&](const std::string& name) {
    const nn::Decoder model = compressed({{"head", name}, {"kv", "int8"}});
    EXPECT_TRUE(model.tied()) << name;
    EXPECT_EQ(model.kv_format(), ElementType::Int8);
    return describe(*model.embedding());
  };
  EXPECT_EQ(head("f16"), "f16");
  EXPECT_EQ(head("bf16"), "bf16");
  EXPECT_EQ(head("f32"), "f32");
  EXPECT_EQ(head("int8"), "int8 row symmetric");
  EXPECT_EQ(head("int8_group32"), "int8 group 32 symmetric");
  EXPECT_EQ(head("int4"), "int4 group 32 symmetric");
}

TEST_F(RtnTest, UntiedHeadIsStoredToo) {
  nn::Decoder tied = tiny_decoder(tiny_llama_config());
  PhiloxStream random(77);
  auto head = std::make_shared<const Storage>(DenseStorage{nn::uniform_matrix(random, 97, 64, 1.0f)});
  nn::Decoder model(tied.config(), tied.embedding(), std::move(tied.blocks()), tied.final_norm(), head);
  compress_tiny(exec_.get(), model, catalogue_, "rtn", {{"head", "int8"}});
  EXPECT_FALSE(model.tied());
  EXPECT_EQ(describe(model.lm_head().weight()), "int8 row symmetric");
  EXPECT_EQ(describe(*model.embedding()), "int8 row symmetric");
  EXPECT_LT(nn::relative_distance(dequantize(model.lm_head().weight()), dequantize(*head)), 0.51 / 127);
}

TEST_F(RtnTest, FewerBitsLoseMore) {
  const double eight = error({{"bits", "8"}}), four = error({{"bits", "4"}}), two = error({{"bits", "2"}});
  EXPECT_LT(eight, four);
  EXPECT_LT(four, two);
  EXPECT_LT(eight, error({{"bits", "8"}, {"activations", "int8"}}));
}

TEST_F(RtnTest, EveryOptionThatCostsBytesOrTimeLowersTheErrorOfWeights) {
  const auto weight_error = [&](const OptionValues& options) {
    const nn::Decoder model = compressed(options), original = tiny_decoder(tiny_llama_config());
    double sum = 0;
    for (size_t i = 0; i < 7; ++i)
      sum += (dequantize(model.blocks()[0].linears()[i]->weight()) - original.blocks()[0].linears()[i]->dense_weight())
                 .square()
                 .sum()
                 .item<double>();
    return sum;
  };
  const double groups = weight_error({{"group_size", "16"}});
  EXPECT_LT(groups, weight_error({{"granularity", "row"}}));
  EXPECT_LT(groups, weight_error({{"group_size", "16"}, {"symmetric", "true"}}));
  EXPECT_LT(weight_error({{"group_size", "16"}, {"clip_steps", "20"}}), groups);
}

TEST_F(RtnTest, LeavesOtherSitesAlone) {
  const nn::Decoder model = compressed({}, "*.mlp.*,!blocks.0.*"), original = tiny_decoder(tiny_llama_config());
  for (int64_t block = 0; block < 2; ++block) {
    const auto now = model.blocks()[block].linears(), then = original.blocks()[block].linears();
    for (size_t i = 0; i < now.size(); ++i) {
      const bool chosen = block == 1 && now[i]->site().find(".mlp.") != std::string::npos;
      EXPECT_EQ(std::holds_alternative<QuantizedStorage>(now[i]->weight()), chosen) << now[i]->site();
      if (!chosen) {
        EXPECT_TRUE(now[i]->dense_weight().equal(then[i]->dense_weight())) << now[i]->site();
      }
    }
  }
}

TEST_F(RtnTest, NamesTheLayerThatCannotBeRounded) {
  nn::Decoder model = tiny_decoder(tiny_gemma_config());
  at::Tensor weight = model.blocks()[1].up_proj.dense_weight().clone();
  weight[3][4] = std::numeric_limits<float>::infinity();
  model.blocks()[1].up_proj.set_weight(DenseStorage{weight});
  try {
    compress_tiny(exec_.get(), model, catalogue_, "rtn", {});
    FAIL() << "an infinite weight was rounded";
  } catch (const NumericError& problem) {
    EXPECT_THAT(problem.what(),
                testing::AllOf(testing::HasSubstr("blocks.1.mlp.up_proj"), testing::HasSubstr("[3, 4]")));
  }
}

TEST_F(RtnTest, RefusesCompressedModels) {
  nn::Decoder model = compressed({});
  EXPECT_THROW(compress_tiny(exec_.get(), model, catalogue_, "rtn", {}), Unsupported);
}

TEST_F(RtnTest, OptionErrors) {
  EXPECT_EQ(wrong_refusals(catalogue_, "rtn"), "");
  EXPECT_THAT(option_error(catalogue_, "rtn", {{"bits", "5"}}), testing::HasSubstr("8 | 4 | 3 | 2"));
  EXPECT_THAT(option_error(catalogue_, "rtn", {{"group_size", "8"}}), testing::HasSubstr("16 .. 4096"));
}

}  // namespace
}  // namespace halftone
