// TokenizerSpec to and from our own JSON: flat arrays, merges as id pairs, so that a vocabulary of 262144 reads fast.
#include "base/error.h"
#include "base/json.h"
#include "io/tokenizer/tokenizer.h"
#include "io/tokenizer/tokenizer_hf.h"

namespace halftone {
namespace {

constexpr std::string_view kFormat = "halftone.tokenizer.v1";

/// Calls `visit(name, member)` for every member that JSON holds as it is.
template <class Spec, class Visitor>
void visit_plain(Spec& spec, const Visitor& visit) {
  visit("pre", spec.pre);
  visit("pre_patterns", spec.pre_patterns);
  visit("bos_id", spec.bos_id);
  visit("eos_id", spec.eos_id);
  visit("eot_id", spec.eot_id);
  visit("unk_id", spec.unk_id);
  visit("pad_id", spec.pad_id);
  visit("end_of_generation_ids", spec.end_of_generation_ids);
  visit("lstrip_ids", spec.lstrip_ids);
  visit("rstrip_ids", spec.rstrip_ids);
  visit("add_bos", spec.add_bos);
  visit("add_eos", spec.add_eos);
  visit("add_space_prefix", spec.add_space_prefix);
  visit("space_prefix_first_only", spec.space_prefix_first_only);
  visit("ignore_merges", spec.ignore_merges);
  visit("chat_template", spec.chat_template);
  visit("tokens", spec.tokens);
  visit("scores", spec.scores);
}

template <class AnyJson>
TokenizerSpec read_own(const AnyJson& json) {
  if (!json.is_object() || !json.contains("format") || json["format"] != std::string(kFormat))
    throw IoError("tokenizer JSON: 'format' is not '{}'; was this written by halftone?", kFormat);
  TokenizerSpec spec;
  std::string field;
  try {
    field = "kind";
    const auto kind = json.at("kind").template get<std::string>();
    if (kind != "bpe" && kind != "spm") throw IoError("tokenizer JSON: kind = '{}'; wanted bpe or spm", kind);
    spec.kind = kind == "bpe" ? TokenizerKind::Bpe : TokenizerKind::Spm;
    visit_plain(spec, [&](const char* name, auto& member) {
      field = name;
      json.at(name).get_to(member);
    });
    field = "types";
    for (const auto& type : json.at("types"))
      spec.types.push_back(static_cast<TokenType>(type.template get<uint8_t>()));
    field = "merges";
    const auto& merges = json.at("merges");
    if (!merges.is_array() || merges.size() % 2 != 0) throw IoError("tokenizer JSON: merges are not pairs of ids");
    for (size_t i = 0; i < merges.size(); i += 2)
      spec.merges.push_back({merges[i].template get<int32_t>(), merges[i + 1].template get<int32_t>()});
  } catch (const nlohmann::json::exception& error) {
    throw IoError("tokenizer JSON: field '{}': {}", field, error.what());
  }
  return spec;
}

}  // namespace

Json tokenizer_spec_to_json(const TokenizerSpec& spec) {
  Json json;
  json["format"] = kFormat;
  json["kind"] = spec.kind == TokenizerKind::Bpe ? "bpe" : "spm";
  visit_plain(spec, [&](const char* name, const auto& member) { json[name] = member; });
  Json& types = json["types"] = Json::array();
  for (const TokenType type : spec.types) types.push_back(static_cast<int>(type));
  Json& merges = json["merges"] = Json::array();
  for (const auto& [left, right] : spec.merges) {
    merges.push_back(left);
    merges.push_back(right);
  }
  return json;
}

TokenizerSpec tokenizer_spec_from_own_json(const Json& json) { return read_own(json); }

TokenizerSpec tokenizer_spec_from_json(std::string_view text) {
  const nlohmann::json json = detail::parse_tokenizer_json(text, "tokenizer JSON");
  if (json.is_object() && json.contains("format")) return read_own(json);
  return detail::tokenizer_spec_from_hf_json(json, nullptr);
}

}  // namespace halftone
