// Storages of any number format in files: an artifact keeps every bit, damage is refused, and MXFP4 tensors of GGUF
// files stay as they are.
#include <ATen/ops/zeros_like.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "../engine/tiny_gguf.h"
#include "../tensor/random_matrix.h"
#include "base/error.h"
#include "base/json.h"
#include "io/artifact.h"
#include "models/language/gguf_storage.h"
#include "models/language/language_model.h"
#include "models/language/storage_io.h"
#include "numerics/formats/weight_format.h"
#include "tensor/codebook_storage.h"
#include "tensor/format_storage.h"

namespace halftone::models {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class FormatStorageIo : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("halftone-formats-" + std::to_string(::getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  FormatStorage stored(const std::string& format, int64_t rows = 7, int64_t columns = 100) {
    return std::get<FormatStorage>(
        quantize_to_format(exec_.get(), random_matrix(rows, columns, 1), parse_weight_format(format)));
  }
  Storage coded(const char* text, int64_t rows = 7, int64_t columns = 100) {
    return quantize_to_codebook(exec_.get(), random_matrix(rows, columns, 1), parse_codebook_spec(text));
  }
  /// Saves `storage` and loads it again after `change` of its description.
  template <class Change>
  Storage reloaded(const Storage& storage, const Change& change) {
    TensorBundle bundle;
    Json description = save_storage("x", storage, bundle);
    change(description);
    write_artifact(folder_ / "x.halftone", Json{{"x", description}}, bundle.views());
    const Artifact artifact = open_artifact(folder_ / "x.halftone");
    return load_storage("x", artifact.document.at("x"), artifact.file);
  }
  template <class Change>
  std::string error(const Storage& storage, const Change& change) {
    try {
      reloaded(storage, change);
    } catch (const IoError& problem) {
      return problem.what();
    }
    return "accepted";
  }

  OwnedExecContext exec_{1};
  fs::path folder_;
};

TEST_F(FormatStorageIo, ArtifactsKeepEveryBitOfEveryFormat) {
  int kept = 0;
  for (const ElementFormat& element : kElementFormats)
    for (const char* rest : {"row f32", "group:16 e4m3_f32", "block:3x32 e8m0", "group:32 u4_f16", "channel bf16"}) {
      if (element.kind == ElementKind::PowerOfTwo ||
          (element.dimension > 1 && std::string_view(rest) == "channel bf16"))
        continue;
      SCOPED_TRACE(std::string(element.name) + " " + rest);
      const FormatStorage storage = stored(std::string(element.name) + " " + rest);
      const auto again = std::get<FormatStorage>(reloaded(storage, [](Json&) {}));
      EXPECT_EQ(to_string(again.format), to_string(storage.format));
      EXPECT_EQ(again.rows, storage.rows);
      EXPECT_EQ(again.columns, storage.columns);
      for (const auto part :
           {&FormatStorage::codes, &FormatStorage::scales, &FormatStorage::outer, &FormatStorage::zeros})
        EXPECT_TRUE(same_bits(again.*part, storage.*part));
      ++kept;
    }
  EXPECT_EQ(kept, (static_cast<int>(std::size(kElementFormats)) - 1) * 5 - 1);
}

TEST_F(FormatStorageIo, DamageIsNamed) {
  const FormatStorage good = stored("nvfp4");
  const auto nothing = [](Json&) {};
  const auto set = [](const char* name, Json value) {
    return [name, value](Json& description) { description[name] = value; };
  };
  EXPECT_EQ(error(good, nothing), "accepted");
  EXPECT_THAT(error(good, set("format", "e2m1 group:16 e5m3_f32 absmax")), HasSubstr("e4m3_f32"));
  EXPECT_THAT(error(good, set("format", "e2m1 group:16 f16 absmax")), HasSubstr("'scales'"));
  EXPECT_THAT(error(good, set("format", "e2m1")), HasSubstr("ELEMENT GRANULARITY SCALE"));
  EXPECT_THAT(error(good, set("format", 4)), HasSubstr("'format' of the wrong type"));
  EXPECT_THAT(error(good, set("format", "uint4 group:16 e4m3_f32 absmax")), HasSubstr("x.zeros"));
  EXPECT_THAT(error(good, set("rows", 8)), HasSubstr("'codes'"));
  EXPECT_THAT(error(good, set("columns", 0)), HasSubstr("damaged"));
  EXPECT_THAT(error(good, set("columns", int64_t{1} << 61)), HasSubstr("damaged"));
  EXPECT_THAT(error(good, [](Json& d) { d.erase("columns"); }), HasSubstr("lacks the field 'columns'"));
  FormatStorage broken = good;
  broken.scales = good.scales.clone().fill_(0x7f);
  EXPECT_THAT(error(broken, nothing), HasSubstr("'scales' is nan in e4m3"));
}

TEST_F(FormatStorageIo, ArtifactsKeepBothScalesOfComplexCodes) {
  for (const char* name : {"complex tensor f32x2", "complex row f16x2", "complex group:16 bf16x2 absmax"}) {
    const FormatStorage storage = stored(name);
    const auto again = std::get<FormatStorage>(reloaded(storage, [](Json&) {}));
    EXPECT_EQ(describe(again), describe(storage));
    EXPECT_TRUE(same_bits(again.codes, storage.codes)) << name;
    EXPECT_TRUE(same_bits(again.scales, storage.scales)) << name;
    EXPECT_TRUE(same_bits(dequantize(again), dequantize(storage))) << name;
    EXPECT_THAT(error(storage, [](Json& d) { d["format"] = "complex row f16"; }), HasSubstr("'scales'"));
  }
}

TEST_F(FormatStorageIo, ArtifactsKeepEveryBitOfCodebooks) {
  for (const char* text : {"kmeans:16", "kmeans:11 group:16 f16", "kmeans:256:f32 row bf16", "kmeans:9x4",
                           "kmeans:30x2 group:32 e4m3_f32", "kmeans:5x10:f32 block:2x20 e8m0"}) {
    SCOPED_TRACE(text);
    const Storage storage = coded(text);
    const auto& before = std::get<CodebookStorage>(storage);
    const Storage again = reloaded(storage, [](Json&) {});
    EXPECT_EQ(describe(again), describe(storage));
    EXPECT_EQ(bytes_of(again), bytes_of(storage));
    EXPECT_TRUE(same_bits(std::get<CodebookStorage>(again).table, before.table));
    for (const auto part : {&FormatStorage::codes, &FormatStorage::scales, &FormatStorage::outer})
      EXPECT_TRUE(same_bits(std::get<CodebookStorage>(again).indexed.*part, before.indexed.*part));
    EXPECT_TRUE(same_bits(dequantize(again), dequantize(storage)));
  }
}

TEST_F(FormatStorageIo, DamagedCodebooksAreNamed) {
  const auto nothing = [](Json&) {};
  const auto set = [](const char* name, Json value) {
    return [name, value](Json& description) { description[name] = value; };
  };
  const auto good = std::get<CodebookStorage>(coded("kmeans:11 group:16 f16"));
  EXPECT_EQ(error(good, nothing), "accepted");
  EXPECT_THAT(error(good, set("scales", "group:16")), HasSubstr("GRANULARITY SCALE"));
  EXPECT_THAT(error(good, set("scales", "group:32 f16 absmax")), HasSubstr("'scales' must be"));
  EXPECT_THAT(error(good, set("scales", 3)), HasSubstr("wrong type"));
  EXPECT_THAT(error(good, set("rows", 8)), HasSubstr("'codes'"));
  EXPECT_THAT(error(good, set("columns", 0)), HasSubstr("damaged"));
  EXPECT_THAT(error(good, set("columns", int64_t{1} << 61)), HasSubstr("damaged"));
  EXPECT_THAT(error(good, [](Json& d) { d.erase("scales"); }), HasSubstr("lacks the field 'scales'"));
  const auto with_table = [&](const at::Tensor& table) {
    CodebookStorage broken = good;
    broken.table = table;
    return error(broken, nothing);
  };
  EXPECT_THAT(with_table(good.table.narrow(0, 0, 10).contiguous()), HasSubstr("is past the table of 10 entries"));
  EXPECT_THAT(with_table(good.table.narrow(0, 0, 1).contiguous()), HasSubstr("2 to 65536 entries"));
  EXPECT_THAT(with_table(good.table.narrow(0, 0, 4).contiguous()), HasSubstr("'codes'")) << "narrower indices";
  EXPECT_THAT(with_table(good.table.view({-1})), HasSubstr("'table' must be"));
  EXPECT_THAT(with_table(good.table.to(at::kBFloat16)), HasSubstr("'table' must be"));
  at::Tensor table = good.table.clone();
  table[3][0] = INFINITY;
  EXPECT_THAT(with_table(table), HasSubstr("must be finite"));
  CodebookStorage broken = good;
  broken.indexed.scales = at::zeros_like(good.indexed.scales);
  EXPECT_THAT(error(broken, nothing), HasSubstr("positive"));
}

TEST_F(FormatStorageIo, Mxfp4OfGgufStaysAsItIs) {
  std::vector<Mxfp4Block> blocks(6);  // 2 x 96
  for (size_t b = 0; b < blocks.size(); ++b) {
    blocks[b].e = static_cast<uint8_t>(b == 0 ? 0 : 120 + b);
    for (size_t j = 0; j < 16; ++j) blocks[b].qs[j] = static_cast<uint8_t>(37 * j + 11 * b);
  }
  const GgufTensor tensor{"x", GgufType::MXFP4, 2, {96, 2, 1, 1}, std::as_bytes(std::span(blocks))};
  const Storage storage = storage_from_gguf(tensor, Weights::Stored);
  EXPECT_NO_THROW(validate(storage));
  EXPECT_EQ(describe(storage), "mxfp4");
  EXPECT_EQ(describe(storage), loaded_format(GgufType::MXFP4, Weights::Stored));
  EXPECT_EQ(bytes_of(storage), static_cast<int64_t>(sizeof(Mxfp4Block) * blocks.size()));
  const at::Tensor values = dequantize(storage), wanted = dequantize(storage_from_gguf(tensor, Weights::Float32));
  ASSERT_EQ(values.sizes(), wanted.sizes());
  EXPECT_EQ(std::memcmp(values.const_data_ptr(), wanted.const_data_ptr(), values.nbytes()), 0) << "-0 included";
  blocks[4].e = 255;
  EXPECT_THROW(storage_from_gguf(tensor, Weights::Stored), IoError);
}

TEST_F(FormatStorageIo, Mxfp4IsWrittenToGgufAndReadBack) {
  halftone::testing::TinyGguf(5).write(folder_ / "tiny.gguf");
  LanguageModel model = load_language_model(folder_ / "tiny.gguf");
  const auto to_mxfp4 = [&](const at::Tensor& weight) {
    return quantize_to_format(exec_.get(), weight, parse_weight_format("mxfp4 truncation-free"));
  };
  model.decoder.set_embedding(to_mxfp4(dequantize(*model.decoder.embedding())));
  for (auto& block : model.decoder.blocks())
    for (nn::Linear* linear : block.linears()) linear->set_weight(to_mxfp4(linear->dense_weight()));
  save_gguf(model, folder_ / "tiny.gguf", folder_ / "mxfp4.gguf");
  const LanguageModel again = load_language_model(folder_ / "mxfp4.gguf");
  EXPECT_TRUE(same_bits(dequantize(*again.decoder.embedding()), dequantize(*model.decoder.embedding())));
  for (size_t b = 0; b < model.decoder.blocks().size(); ++b)
    for (size_t i = 0; i < 7; ++i) {
      const Storage& read = again.decoder.blocks()[b].linears()[i]->weight();
      const Storage& written = model.decoder.blocks()[b].linears()[i]->weight();
      EXPECT_EQ(describe(read), "mxfp4");
      for (const auto part : {&FormatStorage::codes, &FormatStorage::scales})
        EXPECT_TRUE(same_bits(std::get<FormatStorage>(read).*part, std::get<FormatStorage>(written).*part));
    }
  auto& linear = model.decoder.blocks()[0].up_proj;
  linear.set_weight(quantize_to_format(exec_.get(), dequantize(linear.weight()), parse_weight_format("nvfp4")));
  EXPECT_THROW(check_gguf_output(model), Unsupported) << "no GGUF type holds it";
  linear.set_weight(quantize_to_codebook(exec_.get(), dequantize(linear.weight()), parse_codebook_spec("kmeans:16")));
  EXPECT_THROW(check_gguf_output(model), Unsupported) << "nor codebooks";
}

}  // namespace
}  // namespace halftone::models
