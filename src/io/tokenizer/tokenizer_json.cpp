// TokenizerSpec to and from our own JSON: flat arrays, merges as id pairs, so that a vocabulary of 262144 reads fast.
#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/json.h"
#include "io/tokenizer/charsmap.h"
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

/// The same for what unigram tokenizers have besides, all but the charsmap, whose bytes are no text.
template <class Rules, class Visitor>
void visit_unigram(Rules& rules, const Visitor& visit) {
  visit("any_space", rules.any_space);
  visit("strip_left", rules.strip_left);
  visit("strip_right", rules.strip_right);
  visit("strip_any", rules.strip_any);
  visit("merge_spaces", rules.merge_spaces);
  visit("prefix_unless_there", rules.prefix_unless_there);
  visit("split_words", rules.split_words);
}

constexpr std::array<std::pair<std::string_view, TokenizerKind>, 3> kKinds{
    {{"bpe", TokenizerKind::Bpe}, {"spm", TokenizerKind::Spm}, {"unigram", TokenizerKind::Unigram}}};

template <class AnyJson>
TokenizerSpec read_own(const AnyJson& json) {
  if (!json.is_object() || !json.contains("format") || json["format"] != std::string(kFormat))
    throw IoError("tokenizer JSON: 'format' is not '{}'; was this written by halftone?", kFormat);
  TokenizerSpec spec;
  std::string field;
  try {
    field = "kind";
    const auto kind = json.at("kind").template get<std::string>();
    const auto known = std::find_if(kKinds.begin(), kKinds.end(), [&](const auto& row) { return row.first == kind; });
    if (known == kKinds.end()) throw IoError("tokenizer JSON: kind = '{}'; wanted bpe, spm or unigram", kind);
    spec.kind = known->second;
    if (spec.kind == TokenizerKind::Unigram) {
      const auto& rules = json.at(field = "unigram");
      visit_unigram(spec.unigram, [&](const char* name, auto& member) {
        field = name;
        rules.at(name).get_to(member);
      });
      field = "charsmap";
      spec.unigram.charsmap =
          detail::decode_base64(rules.at(field).template get<std::string>(), "tokenizer JSON: charsmap");
    }
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
  for (const auto& [name, kind] : kKinds)
    if (kind == spec.kind) json["kind"] = name;
  if (spec.kind == TokenizerKind::Unigram) {
    Json& rules = json["unigram"];
    visit_unigram(spec.unigram, [&](const char* name, const bool member) { rules[name] = member; });
    rules["charsmap"] = detail::encode_base64(spec.unigram.charsmap);
  }
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
