// Tensor naming and checks of saved storages; see storage_io.h.
#include "models/language/storage_io.h"

#include <ATen/ops/empty.h>

#include <cstring>

#include "base/error.h"
#include "base/json.h"
#include "models/language/names.h"
#include "tensor/codebook_storage.h"

namespace halftone::models {
namespace {

constexpr std::array<std::pair<at::ScalarType, SafetensorsType>, 6> kTypes = {{{at::kByte, SafetensorsType::U8},
                                                                               {at::kChar, SafetensorsType::I8},
                                                                               {at::kHalf, SafetensorsType::F16},
                                                                               {at::kBFloat16, SafetensorsType::BF16},
                                                                               {at::kFloat, SafetensorsType::F32},
                                                                               {at::kLong, SafetensorsType::I64}}};

const Json& field(const Json& description, const char* name, const std::string& owner) {
  if (!description.is_object() || !description.contains(name))
    throw IoError("the artifact's description of {} lacks the field '{}'", owner, name);
  return description.at(name);
}

/// Reads field `name` as T.
template <class T>
T value_of(const Json& description, const char* name, const std::string& owner) {
  try {
    return field(description, name, owner).get<T>();
  } catch (const Json::exception&) {
    throw IoError("the artifact's description of {} has a field '{}' of the wrong type", owner, name);
  }
}

void add_parts(const std::string& name, const FormatStorage& storage, TensorBundle& bundle) {
  bundle.add(name + ".codes", storage.codes);
  if (storage.scales.defined()) bundle.add(name + ".scales", storage.scales);
  if (storage.outer.defined()) bundle.add(name + ".outer", storage.outer);
  if (storage.zeros.defined()) bundle.add(name + ".zeros", storage.zeros);
}

/// The tensors that `storage.format` asks for.
void load_parts(const std::string& name, const SafetensorsFile& file, FormatStorage& storage) {
  storage.codes = read_tensor(file, name + ".codes");
  if (storage.format.scale.stored()) storage.scales = read_tensor(file, name + ".scales");
  if (storage.format.scale.two_level()) storage.outer = read_tensor(file, name + ".outer");
  if (storage.format.element.is_unsigned_integer()) storage.zeros = read_tensor(file, name + ".zeros");
}

Json save_format(const std::string& name, const FormatStorage& storage, TensorBundle& bundle) {
  add_parts(name, storage, bundle);
  return Json{
      {"kind", "format"}, {"format", to_string(storage.format)}, {"rows", storage.rows}, {"columns", storage.columns}};
}

FormatStorage load_format(const std::string& name, const Json& description, const SafetensorsFile& file) {
  FormatStorage storage;
  try {
    storage.format = parse_matrix_format(value_of<std::string>(description, "format", name));
  } catch (const InvalidArgument& problem) {
    throw IoError("{}: {}: {}", file.name(), name, problem.what());
  }
  storage.rows = value_of<int64_t>(description, "rows", name);
  storage.columns = value_of<int64_t>(description, "columns", name);
  load_parts(name, file, storage);
  return storage;
}

/// A table beside the parts of a format; "scales" has the words of a MatrixFormat after its element, or is null.
Json save_codebook(const std::string& name, const CodebookStorage& storage, TensorBundle& bundle) {
  const FormatStorage& indexed = storage.indexed;
  bundle.add(name + ".table", storage.table);
  add_parts(name, indexed, bundle);
  Json json{{"kind", "codebook"}, {"scales", nullptr}, {"rows", indexed.rows}, {"columns", indexed.columns}};
  if (indexed.format.scale.stored()) json["scales"] = scaling_words(indexed.format);
  return json;
}

CodebookStorage load_codebook(const std::string& name, const Json& description, const SafetensorsFile& file) {
  const bool scaled = !field(description, "scales", name).is_null();
  const auto words = scaled ? value_of<std::string>(description, "scales", name) : std::string();
  const auto rows = value_of<int64_t>(description, "rows", name);
  const auto columns = value_of<int64_t>(description, "columns", name);
  try {
    CodebookStorage storage =
        make_codebook_storage(read_tensor(file, name + ".table"), parse_scaling(words), rows, columns);
    load_parts(name, file, storage.indexed);
    return storage;
  } catch (const InvalidArgument& problem) {
    throw IoError("{}: {} is damaged: {}", file.name(), name, problem.what());
  }
}

}  // namespace

void TensorBundle::add(const std::string& name, const at::Tensor& tensor) {
  if (!tensor.defined())
    throw InvalidArgument("tensor {} was given up: its model was loaded to be run only; load it again to save it",
                          name);
  const at::Tensor kept = tensor.contiguous();
  for (const auto& [torch_type, type] : kTypes)
    if (torch_type == kept.scalar_type()) {
      views_.push_back(
          {name, type, kept.sizes().vec(), {static_cast<const std::byte*>(kept.const_data_ptr()), kept.nbytes()}});
      alive_.push_back(kept);
      return;
    }
  throw InvalidArgument("tensor {} of type {} has no place in an artifact", name, c10::toString(kept.scalar_type()));
}

at::Tensor read_tensor(const SafetensorsFile& file, const std::string& name) {
  const TensorView& view = file.tensor(name);
  for (const auto& [torch_type, type] : kTypes)
    if (type == view.type) {
      at::Tensor tensor = at::empty(view.shape, torch_type);
      if (!view.bytes.empty()) std::memcpy(tensor.mutable_data_ptr(), view.bytes.data(), view.bytes.size());
      return tensor;
    }
  throw Unsupported("{}: tensor {} has type {}, which models do not use", file.name(), name, to_string(view.type));
}

Json save_storage(const std::string& name, const Storage& storage, TensorBundle& bundle) {
  if (const auto* dense = std::get_if<DenseStorage>(&storage)) {
    bundle.add(name + ".values", dense->values);
    return Json{{"kind", "dense"}};
  }
  if (const auto* formatted = std::get_if<FormatStorage>(&storage)) return save_format(name, *formatted, bundle);
  if (const auto* coded = std::get_if<CodebookStorage>(&storage)) return save_codebook(name, *coded, bundle);
  const auto& q = std::get<QuantizedStorage>(storage);
  bundle.add(name + ".codes", q.codes);
  bundle.add(name + ".scales", q.scales);
  if (q.group_scales.defined()) bundle.add(name + ".group_scales", q.group_scales);
  if (q.zeros.defined()) bundle.add(name + ".zeros", q.zeros);
  if (q.mins.defined()) bundle.add(name + ".mins", q.mins);
  if (q.group_mins.defined()) bundle.add(name + ".group_mins", q.group_mins);
  return Json{{"kind", "quantized"}, {"scheme", to_json(q.scheme)}, {"rows", q.rows}, {"columns", q.columns}};
}

Storage load_storage(const std::string& name, const Json& description, const SafetensorsFile& file) {
  const auto kind = value_of<std::string>(description, "kind", name);
  Storage storage;
  if (kind == "dense") {
    storage = DenseStorage{read_tensor(file, name + ".values")};
  } else if (kind == "quantized") {
    QuantizedStorage q;
    q.scheme = quant_scheme_from_json(field(description, "scheme", name));
    q.rows = value_of<int64_t>(description, "rows", name);
    q.columns = value_of<int64_t>(description, "columns", name);
    q.codes = read_tensor(file, name + ".codes");
    q.scales = read_tensor(file, name + ".scales");
    const bool super = q.scheme.granularity == Granularity::SuperGroup;
    if (q.scheme.has_group_scales()) q.group_scales = read_tensor(file, name + ".group_scales");
    if (q.scheme.zero_points) q.zeros = read_tensor(file, name + ".zeros");
    if (q.scheme.minimums) q.mins = read_tensor(file, name + ".mins");
    if (q.scheme.minimums && super) q.group_mins = read_tensor(file, name + ".group_mins");
    storage = std::move(q);
  } else if (kind == "format") {
    storage = load_format(name, description, file);
  } else if (kind == "codebook") {
    storage = load_codebook(name, description, file);
  } else {
    throw Unsupported("{}: {} is stored as '{}'; this version reads dense, quantized, format and codebook", file.name(),
                      name, kind);
  }
  try {
    validate(storage);
  } catch (const InvalidArgument& problem) {
    throw IoError("{}: {} is damaged: {}", file.name(), name, problem.what());
  }
  return storage;
}

std::array<nn::NormWeight*, 6> norms_of(nn::DecoderBlock& block) {
  return {&block.attn_norm, &block.ffn_norm, &block.q_norm, &block.k_norm, &block.post_attn_norm, &block.post_ffn_norm};
}

Json save_block(int64_t index, const nn::DecoderBlock& block, TensorBundle& bundle) {
  Json linears = Json::object(), norms = Json::array();
  for (const auto* linear : block.linears()) {
    Json entry = save_storage(linear->site(), linear->weight(), bundle);
    entry["activations"] = nn::to_string(linear->activations());
    entry["bias"] = linear->bias().defined();
    if (linear->bias().defined()) bundle.add(linear->site() + ".bias", linear->bias());
    linears[linear->site()] = std::move(entry);
  }
  const auto weights = norms_of(const_cast<nn::DecoderBlock&>(block));  // read only
  for (size_t i = 0; i < weights.size(); ++i) {
    if (!weights[i]->defined()) continue;
    norms.push_back(kNormNames[i].site);
    bundle.add(site_name(index, kNormNames[i].site), *weights[i]);
  }
  return Json{{"linears", std::move(linears)}, {"norms", std::move(norms)}};
}

nn::DecoderBlock load_block(int64_t index, const Json& description, const SafetensorsFile& file) {
  const std::string owner = "blocks." + std::to_string(index);
  const auto linear = [&](size_t part) {
    const std::string site = site_name(index, kLinearNames[part].site);
    const Json& entry = field(field(description, "linears", owner), site.c_str(), owner);
    const bool has_bias = value_of<bool>(entry, "bias", site);
    nn::Linear layer(site, load_storage(site, entry, file),
                     has_bias ? read_tensor(file, site + ".bias") : at::Tensor());
    const auto activations = nn::parse_activation_format(value_of<std::string>(entry, "activations", site));
    if (activations != layer.activations()) layer.set_weight(layer.shared_weight(), activations);
    return layer;
  };
  nn::DecoderBlock block{{},        {},        {},        {},        {},        {},       linear(0),
                         linear(1), linear(2), linear(3), linear(4), linear(5), linear(6)};
  const auto names = value_of<std::vector<std::string>>(description, "norms", owner);
  const auto weights = norms_of(block);
  for (size_t i = 0; i < weights.size(); ++i)
    if (std::find(names.begin(), names.end(), kNormNames[i].site) != names.end())
      *weights[i] = read_tensor(file, site_name(index, kNormNames[i].site));
  return block;
}

}  // namespace halftone::models
