// Hugging Face's tokenizer.json and tokenizer_config.json from a byte-level BPE TokenizerSpec. The pre-tokeniser is
// spelled out as Split expressions, since the file format has no names for llama.cpp's rows; GPT-2's expression, where
// it comes last, is what ByteLevel means by use_regex.
#include "base/error.h"
#include "io/tokenizer/pretokenizer.h"
#include "io/tokenizer/tokenizer_hf.h"
#include "io/tokenizer/tokenizer_text.h"

namespace halftone {
namespace {

using nlohmann::json;  // objects are trees: a vocabulary is inserted in no time

bool contains(const std::vector<int32_t>& ids, int32_t id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

json name_or_null(const TokenizerSpec& spec, int32_t id) { return id < 0 ? json() : json(spec.tokens[id]); }

json added_tokens(const TokenizerSpec& spec) {
  json list = json::array();
  for (size_t i = 0; i < spec.types.size(); ++i) {
    const TokenType type = spec.types[i];
    const auto id = static_cast<int32_t>(i);
    if (spec.tokens[i].empty() || type == TokenType::Normal || type == TokenType::Unused) continue;
    list.push_back({{"id", id},
                    {"content", spec.tokens[i]},
                    {"single_word", false},
                    {"lstrip", contains(spec.lstrip_ids, id)},
                    {"rstrip", contains(spec.rstrip_ids, id)},
                    {"normalized", false},
                    {"special", type != TokenType::UserDefined}});
  }
  return list;
}

json pre_tokenizer(const TokenizerSpec& spec) {
  std::vector<std::string> patterns = detail::pretokenizer_patterns(spec);
  const bool gpt2_last = !patterns.empty() && patterns.back() == kGpt2Pattern;
  if (gpt2_last) patterns.pop_back();
  if (spec.add_space_prefix && !patterns.empty())
    throw Unsupported("tokenizer.json: a space in front of text goes only with GPT-2's pre-tokeniser, not with '{}'",
                      spec.pre);
  json steps = json::array();
  for (const std::string& pattern : patterns)
    steps.push_back(
        {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}});
  steps.push_back({{"type", "ByteLevel"},
                   {"add_prefix_space", spec.add_space_prefix},
                   {"trim_offsets", true},
                   {"use_regex", gpt2_last}});
  return {{"type", "Sequence"}, {"pretokenizers", std::move(steps)}};
}

/// BOS in front and EOS behind, as the spec asks, for one text and for a pair.
json post_processor(const TokenizerSpec& spec) {
  if (!spec.add_bos && !spec.add_eos)
    return {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", false}, {"use_regex", true}};
  json special = json::object();
  const auto steps = [&](std::initializer_list<const char*> sequences) {
    json list = json::array();
    const auto token = [&](int32_t id, int type) {
      const std::string& name = spec.tokens.at(id);
      list.push_back({{"SpecialToken", {{"id", name}, {"type_id", type}}}});
      special[name] = {{"id", name}, {"ids", {id}}, {"tokens", {name}}};
    };
    int type = 0;
    for (const char* sequence : sequences) {
      if (spec.add_bos) token(spec.bos_id, type);
      list.push_back({{"Sequence", {{"id", sequence}, {"type_id", type}}}});
      if (spec.add_eos) token(spec.eos_id, type);
      ++type;
    }
    return list;
  };
  json single = steps({"A"}), pair = steps({"A", "B"});
  return {{"type", "TemplateProcessing"},
          {"single", std::move(single)},
          {"pair", std::move(pair)},
          {"special_tokens", std::move(special)}};
}

json bpe_model(const TokenizerSpec& spec) {
  json vocabulary = json::object(), merges = json::array();
  for (size_t id = 0; id < spec.tokens.size(); ++id)
    if (!spec.tokens[id].empty()) vocabulary[spec.tokens[id]] = id;
  for (const auto& [left, right] : spec.merges) merges.push_back({spec.tokens[left], spec.tokens[right]});
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", nullptr},  // the alphabet's bytes are all there is: a byte without a token is dropped
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", false},
          {"byte_fallback", false},
          {"ignore_merges", spec.ignore_merges},
          {"vocab", std::move(vocabulary)},
          {"merges", std::move(merges)}};
}

}  // namespace

std::string tokenizer_spec_to_hf(const TokenizerSpec& spec) {
  if (spec.kind != TokenizerKind::Bpe)
    throw Unsupported(
        "tokenizer.json is written for byte-level BPE only, and this tokenizer is of SentencePiece's kind; write an "
        "artifact or a GGUF file");
  const json file = {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", added_tokens(spec)},
      {"normalizer", nullptr},
      {"pre_tokenizer", pre_tokenizer(spec)},
      {"post_processor", post_processor(spec)},
      {"decoder", {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}}},
      {"model", bpe_model(spec)}};
  return file.dump(1);
}

std::string tokenizer_config_to_hf(const TokenizerSpec& spec) {
  json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                 {"clean_up_tokenization_spaces", false},
                 {"bos_token", name_or_null(spec, spec.bos_id)},
                 {"eos_token", name_or_null(spec, spec.eos_id)},
                 {"unk_token", name_or_null(spec, spec.unk_id)},
                 {"pad_token", name_or_null(spec, spec.pad_id)},
                 {"add_bos_token", spec.add_bos},
                 {"add_eos_token", spec.add_eos}};
  if (!spec.chat_template.empty()) config["chat_template"] = spec.chat_template;
  return config.dump(2);
}

}  // namespace halftone
