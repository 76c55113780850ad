// cast: the element types as asked, errors within half a step, everything outside the blocks too, refusals.
#include "methods/compress/cast/cast.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plugin/testing/calibrate.h"

namespace halftone {
namespace {

using nn::tiny_decoder;
using nn::tiny_llama_config;

class CastTest : public testing::Test {
 protected:
  CastTest() { register_cast(catalogue_); }
  nn::Decoder cast(const OptionValues& options, const std::string& sites = "blocks.*") {
    nn::Decoder model = tiny_decoder(tiny_llama_config());
    compress_tiny(exec_.get(), model, catalogue_, "cast", options, sites);
    return model;
  }
  Catalogue catalogue_;
  OwnedExecContext exec_{2};
};

TEST_F(CastTest, StoresEverythingInTheFormat) {
  const nn::Decoder original = tiny_decoder(tiny_llama_config());
  for (const std::string format : {"f16", "bf16", "f32"}) {
    const nn::Decoder model = cast({{"format", format}, {"kv", "int8"}});
    EXPECT_EQ(describe(*model.embedding()), format);
    EXPECT_TRUE(model.tied());
    EXPECT_EQ(model.kv_format(), ElementType::Int8);
    // Half a step of the format at a weight w, or of its smallest subnormal: 2^-11 |w| + 2^-25 for f16.
    const float half_step = format == "f16" ? 0x1p-11f : format == "bf16" ? 0x1p-8f : 0.0f;
    const float floor = format == "f16" ? 0x1p-25f : 0.0f;
    for (size_t block = 0; block < model.blocks().size(); ++block)
      for (size_t i = 0; i < 7; ++i) {
        const auto& now = *model.blocks()[block].linears()[i];
        EXPECT_EQ(describe(now.weight()), format) << now.site();
        const at::Tensor then = original.blocks()[block].linears()[i]->dense_weight();
        EXPECT_TRUE(((now.dense_weight() - then).abs() <= then.abs() * half_step + floor).all().item<bool>())
            << now.site();
      }
  }
}

TEST_F(CastTest, Golden) {
  nn::Decoder model = tiny_decoder(tiny_llama_config());
  auto& linear = model.blocks()[0].q_proj;
  at::Tensor weight = linear.dense_weight().clone();
  weight[0][0] = 1.0f + 0x1p-11f;  // between two f16 neighbours: to the even one
  weight[0][1] = 1.0f + 0x1.8p-10f;
  linear.set_weight(DenseStorage{weight});
  compress_tiny(exec_.get(), model, catalogue_, "cast", {});
  EXPECT_EQ(model.blocks()[0].q_proj.dense_weight()[0][0].item<float>(), 1.0f);
  EXPECT_EQ(model.blocks()[0].q_proj.dense_weight()[0][1].item<float>(), 1.0f + 0x1p-9f);
}

TEST_F(CastTest, LeavesOtherSitesAlone) {
  const nn::Decoder model = cast({}, "blocks.1.*");
  EXPECT_EQ(describe(model.blocks()[0].up_proj.weight()), "f32");
  EXPECT_EQ(describe(model.blocks()[1].up_proj.weight()), "f16");
}

TEST_F(CastTest, NamesTheLayerBeyondTheRange) {
  nn::Decoder model = tiny_decoder(tiny_llama_config());
  at::Tensor weight = model.blocks()[1].up_proj.dense_weight().clone();
  weight[3][4] = 70000.0f;
  model.blocks()[1].up_proj.set_weight(DenseStorage{weight});
  try {
    compress_tiny(exec_.get(), model, catalogue_, "cast", {});
    FAIL() << "70000 has no f16";
  } catch (const NumericError& problem) {
    EXPECT_THAT(problem.what(), testing::AllOf(testing::HasSubstr("blocks.1.mlp.up_proj"), testing::HasSubstr("bf16")));
  }
}

TEST_F(CastTest, OptionErrors) {
  EXPECT_EQ(wrong_refusals(catalogue_, "cast"), "");
  EXPECT_THAT(option_error(catalogue_, "cast", {{"format", "f64"}}), testing::HasSubstr("f16 | bf16 | f32"));
}

}  // namespace
}  // namespace halftone
