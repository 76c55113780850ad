// Writing GGUF files that other programs load: the source file's metadata, our storages in GGUF's own types.
#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "io/gguf/gguf_writer.h"
#include "models/language/language_model.h"
#include "models/language/names.h"
#include "models/language/storage_io.h"
#include "numerics/formats/weight_format.h"
#include "numerics/packing.h"

namespace halftone::models {
namespace {

// Values of general.file_type that stand for the main type of a file.
constexpr uint32_t kFileTypeF32 = 0, kFileTypeF16 = 1, kFileTypeQ4_0 = 2, kFileTypeQ4_1 = 3, kFileTypeQ8_0 = 7,
                   kFileTypeBF16 = 32, kFileTypeMXFP4 = 38;

uint32_t file_type_of(GgufType type) {
  switch (type) {
    case GgufType::F16:
      return kFileTypeF16;
    case GgufType::BF16:
      return kFileTypeBF16;
    case GgufType::Q4_0:
      return kFileTypeQ4_0;
    case GgufType::Q4_1:
      return kFileTypeQ4_1;
    case GgufType::Q8_0:
      return kFileTypeQ8_0;
    case GgufType::MXFP4:
      return kFileTypeMXFP4;
    default:
      return kFileTypeF32;
  }
}

/// Whether blocks of GGUF's MXFP4 hold these codes; how their scales were chosen does not matter.
bool is_mxfp4(const FormatStorage& storage) {
  MatrixFormat format = storage.format;
  format.rule = ScaleRule::OcpFloor;
  return weight_format_name(format) == "mxfp4" && storage.columns % 32 == 0;
}

[[noreturn]] void throw_no_type(const std::string& site, const Storage& storage) {
  throw Unsupported(
      "{} is stored as {}, which no GGUF type holds; GGUF output takes f32, f16, bf16, mxfp4, and int4 or int8 in "
      "symmetric groups of 32, or int4 with minimums; write an artifact instead (any name not ending in .gguf)",
      site, describe(storage));
}

GgufType gguf_type_of(const std::string& site, const Storage& storage) {
  if (const auto* dense = std::get_if<DenseStorage>(&storage)) {
    const auto type = dense->values.scalar_type();
    return type == at::kHalf ? GgufType::F16 : type == at::kBFloat16 ? GgufType::BF16 : GgufType::F32;
  }
  if (const auto* formatted = std::get_if<FormatStorage>(&storage)) {
    if (is_mxfp4(*formatted)) return GgufType::MXFP4;
    throw_no_type(site, storage);
  }
  if (std::holds_alternative<CodebookStorage>(storage)) throw_no_type(site, storage);
  const auto& q = std::get<QuantizedStorage>(storage);
  const bool grouped = q.scheme.granularity == Granularity::Group && q.scheme.group == 32 && !q.scheme.zero_points &&
                       q.columns % 32 == 0;
  if (grouped && q.scheme.element == ElementType::Int4) return q.scheme.minimums ? GgufType::Q4_1 : GgufType::Q4_0;
  if (grouped && q.scheme.element == ElementType::Int8 && !q.scheme.minimums) return GgufType::Q8_0;
  throw_no_type(site, storage);
}

template <class Block, class Fill>
void write_blocks(const QuantizedStorage& q, std::span<std::byte> out, Fill fill) {
  auto* blocks = reinterpret_cast<Block*>(out.data());
  std::vector<uint8_t> codes(q.columns);
  const int64_t groups = q.columns / 32;
  const auto* scales = static_cast<const uint16_t*>(q.scales.const_data_ptr());
  [[maybe_unused]] const auto* mins =
      q.mins.defined() ? static_cast<const uint16_t*>(q.mins.const_data_ptr()) : nullptr;
  for (int64_t row = 0; row < q.rows; ++row) {
    unpack_codes(q.scheme.element, q.codes.const_data_ptr<uint8_t>() + row * q.codes.size(1), codes);
    for (int64_t g = 0; g < groups; ++g) {
      Block& block = blocks[row * groups + g];
      block.d = scales[row * groups + g];
      if constexpr (requires { block.m; }) block.m = mins[row * groups + g];
      fill(block, codes.data() + g * 32);
    }
  }
}

/// Nibbles 2j and 2j + 1 of a byte become those of elements j and j + 16.
void write_mxfp4(const FormatStorage& storage, std::span<std::byte> out) {
  auto* blocks = reinterpret_cast<Mxfp4Block*>(out.data());
  const auto* scales = storage.scales.const_data_ptr<uint8_t>();
  const auto* codes = storage.codes.const_data_ptr<uint8_t>();
  for (int64_t index = 0; index < storage.scales.numel(); ++index, codes += 16) {
    blocks[index].e = scales[index];
    const auto code = [&](int element) { return codes[element / 2] >> element % 2 * 4 & 15; };
    for (int j = 0; j < 16; ++j) blocks[index].qs[j] = static_cast<uint8_t>(code(j) | code(j + 16) << 4);
  }
}

void fill_tensor(const Storage& storage, std::span<std::byte> out) {
  if (const auto* dense = std::get_if<DenseStorage>(&storage)) {
    std::memcpy(out.data(), dense->values.const_data_ptr(), out.size());
    return;
  }
  if (const auto* formatted = std::get_if<FormatStorage>(&storage)) return write_mxfp4(*formatted, out);
  const auto& q = std::get<QuantizedStorage>(storage);
  const auto nibbles = [](auto& block, const uint8_t* codes) {
    for (int j = 0; j < 16; ++j) block.qs[j] = static_cast<uint8_t>(codes[j] | codes[j + 16] << 4);
  };
  if (q.scheme.element == ElementType::Int8)
    write_blocks<Q8_0Block>(q, out, [](Q8_0Block& block, const uint8_t* codes) { std::memcpy(block.qs, codes, 32); });
  else if (q.scheme.minimums)
    write_blocks<Q4_1Block>(q, out, nibbles);
  else
    write_blocks<Q4_0Block>(q, out, nibbles);
}

void add_matrix(GgufWriter& writer, const std::string& name, const std::string& site, const Storage& storage) {
  const std::array<int64_t, 2> dims = {columns_of(storage), rows_of(storage)};
  writer.add_tensor(name, dims, gguf_type_of(site, storage),
                    [&storage](std::span<std::byte> out) { fill_tensor(storage, out); });
}

void add_vector(GgufWriter& writer, const std::string& name, const at::Tensor& values) {
  const std::array<int64_t, 1> dims = {values.numel()};
  writer.add_tensor(name, dims, GgufType::F32,
                    std::as_bytes(std::span(values.const_data_ptr<float>(), values.numel())));
}

void add_block(GgufWriter& writer, int64_t index, const nn::DecoderBlock& block) {
  const std::string prefix = "blk." + std::to_string(index) + ".";
  const auto linears = block.linears();
  for (size_t i = 0; i < linears.size(); ++i) {
    const std::string name = prefix + std::string(kLinearNames[i].gguf);
    add_matrix(writer, name + ".weight", linears[i]->site(), linears[i]->weight());
    if (linears[i]->bias().defined()) add_vector(writer, name + ".bias", linears[i]->bias());
  }
  const auto norms = norms_of(const_cast<nn::DecoderBlock&>(block));  // read only
  for (size_t i = 0; i < norms.size(); ++i)
    if (norms[i]->defined()) add_vector(writer, prefix + std::string(kNormNames[i].gguf) + ".weight", *norms[i]);
}

}  // namespace

void check_gguf_output(const LanguageModel& model) {
  const nn::Decoder& decoder = model.decoder;
  if (decoder.residual_rotation())
    throw Unsupported(
        "a model with an online rotation has no GGUF form; switch it off (rotate=false) or write an artifact");
  if (model.source_kind != "gguf")
    throw Unsupported(
        "GGUF output carries over the metadata of a GGUF input, but the model was read from {}; write an "
        "artifact instead",
        model.source_kind);
  gguf_type_of("embedding", *decoder.embedding());
  gguf_type_of("lm_head", decoder.lm_head().weight());
  for (const auto& block : decoder.blocks())
    for (const auto* linear : block.linears()) gguf_type_of(linear->site(), linear->weight());
}

void save_gguf(const LanguageModel& model, const std::filesystem::path& source, const std::filesystem::path& path) {
  check_gguf_output(model);
  const nn::Decoder& decoder = model.decoder;
  const GgufFile original = GgufFile::open(source);
  GgufWriter writer;
  writer.copy_metadata(original);
  writer.set_u32("general.file_type",
                 file_type_of(gguf_type_of("blocks.0.attn.q_proj", decoder.blocks().front().q_proj.weight())));
  add_matrix(writer, "token_embd.weight", "embedding", *decoder.embedding());
  if (!decoder.tied()) add_matrix(writer, "output.weight", "lm_head", decoder.lm_head().weight());
  add_vector(writer, "output_norm.weight", decoder.final_norm());
  for (size_t i = 0; i < decoder.blocks().size(); ++i) add_block(writer, static_cast<int64_t>(i), decoder.blocks()[i]);
  if (const GgufTensor* factors = original.find("rope_freqs.weight"))
    writer.add_tensor(factors->name, std::span(factors->dims).first(factors->rank), factors->type, factors->bytes);
  writer.write(path);
}

}  // namespace halftone::models
