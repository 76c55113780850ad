// TokenizerSpec from a Hugging Face tokenizer.json. Three families are read: byte-level BPE (pre-tokenisers Split,
// Digits, ByteLevel in sequence), the SentencePiece style of Llama 2 and Gemma, which the file spells as BPE with
// byte_fallback and a normalizer that turns ' ' into U+2581, and SentencePiece's unigram model (T5, XLM-R). Anything
// else is Unsupported, by name. The normalizer NFC (Qwen 2) is accepted but not applied, as in llama.cpp: ids differ
// only for text not in NFC.
#include "io/tokenizer/tokenizer_hf.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "io/tokenizer/charsmap.h"
#include "io/tokenizer/pretokenizer.h"
#include "io/tokenizer/tokenizer_text.h"

namespace halftone {
namespace {

using nlohmann::json;

using detail::kSpaceMark;

const json& member(const json& object, const char* name) {
  static const json null;
  if (!object.is_object()) return null;
  const auto found = object.find(name);
  return found == object.end() ? null : *found;
}

std::string text_of(const json& object, const char* name) {
  const json& value = member(object, name);
  return value.is_string() ? value.get<std::string>() : std::string();
}

bool flag_of(const json& object, const char* name, bool missing) {
  const json& value = member(object, name);
  return value.is_boolean() ? value.get<bool>() : missing;
}

/// Components of a normalizer, pre_tokenizer, ...: the members of a Sequence, one object, or none for null.
std::vector<json> components(const json& component, const char* list_name) {
  if (component.is_null()) return {};
  if (text_of(component, "type") != "Sequence") return {component};
  std::vector<json> result;
  for (const json& part : member(component, list_name)) {
    if (text_of(part, "type") == "Sequence")
      throw Unsupported("tokenizer.json: a Sequence within a Sequence of {}; flatten it", list_name);
    result.push_back(part);
  }
  return result;
}

std::string literal_pattern(std::string_view text) {
  std::string pattern;
  for (const char c : text) {
    if (static_cast<unsigned char>(c) < 0x80 && !std::isalnum(static_cast<unsigned char>(c))) pattern.push_back('\\');
    pattern.push_back(c);
  }
  return pattern;
}

class HfReader {
 public:
  HfReader(const json& file, const json* config) : file_(file), config_(config), model_(member(file, "model")) {}

  TokenizerSpec read() {
    check_model();
    read_tokens();
    const std::vector<json> parts = components(member(file_, "pre_tokenizer"), "pretokenizers");
    const bool byte_level =
        std::any_of(parts.begin(), parts.end(), [](const json& part) { return text_of(part, "type") == "ByteLevel"; });
    if (spec_.kind == TokenizerKind::Unigram) {
      read_unigram_normalizer();
      read_unigram_spaces(parts);
    } else if (byte_level) {
      read_byte_level(parts);
      read_merges();
    } else {
      spec_.kind = TokenizerKind::Spm;
      read_space_mark(parts);
      read_merges();
    }
    read_types();
    read_special_roles();
    read_post_processor();
    detect_end_of_generation(spec_);
    spec_.chat_template = chat_template();
    return std::move(spec_);
  }

 private:
  void check_model() {
    if (!model_.is_object()) throw IoError("tokenizer.json: there is no object 'model'; is this a tokenizer.json?");
    const std::string type = text_of(model_, "type");
    if (type == "Unigram") spec_.kind = TokenizerKind::Unigram;
    // Old files leave the type out; BPE is the one that has merges.
    if (type != "BPE" && type != "Unigram" && !(type.empty() && model_.contains("merges")))
      throw Unsupported("tokenizer.json: model type '{}'; this build reads BPE and Unigram", type);
    for (const char* name : {"continuing_subword_prefix", "end_of_word_suffix"})
      if (!text_of(model_, name).empty())
        throw Unsupported("tokenizer.json: model.{} = '{}'; only models without one are read", name,
                          text_of(model_, name));
    const json& dropout = member(model_, "dropout");
    if (dropout.is_number() && dropout.get<double>() != 0)
      throw Unsupported("tokenizer.json: model.dropout = {}; set it to null for inference", dropout.get<double>());
  }

  void put_token(const json& id_value, const std::string& text, size_t limit) {
    if (!id_value.is_number_unsigned() || id_value.get<uint64_t>() >= limit)
      throw IoError("tokenizer.json: token '{}' has id {}; wanted an integer from 0 to {}", text, id_value.dump(),
                    limit - 1);
    const auto id = id_value.get<size_t>();
    if (id >= spec_.tokens.size()) spec_.tokens.resize(id + 1);
    if (!spec_.tokens[id].empty() && spec_.tokens[id] != text)
      throw IoError("tokenizer.json: id {} is both '{}' and '{}'", id, spec_.tokens[id], text);
    spec_.tokens[id] = text;
  }

  /// Unigram models list [token, log probability].
  void read_scored_tokens(const json& vocab) {
    if (!vocab.is_array()) throw IoError("tokenizer.json: model.vocab is not a list of [token, score]");
    for (const json& entry : vocab) {
      if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number())
        throw IoError("tokenizer.json: model.vocab[{}] = {} is not [token, score]", spec_.tokens.size(), entry.dump());
      spec_.tokens.push_back(entry[0].get<std::string>());
      spec_.scores.push_back(entry[1].get<float>());
    }
  }

  void read_tokens() {
    const json& vocab = member(model_, "vocab");
    if (spec_.kind == TokenizerKind::Unigram)
      read_scored_tokens(vocab);
    else if (!vocab.is_object())
      throw IoError("tokenizer.json: model.vocab is not an object of token: id");
    added_ = member(file_, "added_tokens");
    constexpr size_t kMaxHoles = 65536;  // ids nobody uses; they keep an empty text
    const size_t limit = vocab.size() + (added_.is_array() ? added_.size() : 0) + kMaxHoles;
    if (vocab.is_object())
      for (const auto& [text, id] : vocab.items()) put_token(id, text, limit);
    if (!added_.is_array()) return;
    for (const json& token : added_) {
      const std::string text = text_of(token, "content");
      if (flag_of(token, "single_word", false))
        throw Unsupported("tokenizer.json: added token '{}' has single_word set, which is not supported", text);
      put_token(member(token, "id"), text, limit);
    }
    if (spec_.kind == TokenizerKind::Unigram) spec_.scores.resize(spec_.tokens.size());
  }

  int32_t find(std::string_view text) const {
    if (text.empty()) return -1;
    const auto found = std::find(spec_.tokens.begin(), spec_.tokens.end(), text);
    return found == spec_.tokens.end() ? -1 : static_cast<int32_t>(found - spec_.tokens.begin());
  }

  void read_byte_level(const std::vector<json>& parts) {
    for (const json& part : components(member(file_, "normalizer"), "normalizers"))
      if (text_of(part, "type") != "NFC")
        throw Unsupported("tokenizer.json: normalizer '{}' with a byte-level model; only NFC is read",
                          text_of(part, "type"));
    spec_.pre = "custom";
    spec_.ignore_merges = flag_of(model_, "ignore_merges", false);
    bool done = false;
    for (const json& part : parts) {
      const std::string type = text_of(part, "type");
      if (done) throw Unsupported("tokenizer.json: pre_tokenizer '{}' after ByteLevel", type);
      if (type == "Split") {
        spec_.pre_patterns.push_back(split_pattern(part));
      } else if (type == "Digits") {
        spec_.pre_patterns.push_back(flag_of(part, "individual_digits", false) ? "\\p{N}" : "\\p{N}+");
      } else if (type == "ByteLevel") {
        done = true;
        spec_.add_space_prefix = flag_of(part, "add_prefix_space", true);
        if (spec_.add_space_prefix && parts.size() > 1)
          throw Unsupported("tokenizer.json: ByteLevel with add_prefix_space behind another pre_tokenizer");
        if (flag_of(part, "use_regex", true)) spec_.pre_patterns.emplace_back(kGpt2Pattern);
      } else {
        throw Unsupported("tokenizer.json: pre_tokenizer '{}'; this build reads Split, Digits and ByteLevel", type);
      }
    }
  }

  static std::string split_pattern(const json& part) {
    const std::string behavior = text_of(part, "behavior");
    const bool invert = flag_of(part, "invert", false);
    // Keeping only what matches equals keeping both where the expression covers all text, as those files' do.
    if (behavior != "Isolated" && !(behavior == "Removed" && invert))
      throw Unsupported("tokenizer.json: pre_tokenizer Split with behavior '{}' (invert {}); only Isolated is read",
                        behavior, invert);
    const json& pattern = member(part, "pattern");
    const std::string regex = text_of(pattern, "Regex");
    if (regex.find("&&") != std::string::npos)
      throw Unsupported("tokenizer.json: the pattern '{}' intersects classes with &&, which is not supported", regex);
    if (!regex.empty()) return regex;
    const std::string literal = text_of(pattern, "String");
    if (literal.empty()) throw IoError("tokenizer.json: a Split pre_tokenizer without pattern.Regex or pattern.String");
    return literal_pattern(literal);
  }

  void read_space_mark(const std::vector<json>& parts) {
    bool marks = false;
    for (const json& part : components(member(file_, "normalizer"), "normalizers")) {
      const std::string type = text_of(part, "type");
      if (type == "Prepend" && text_of(part, "prepend") == kSpaceMark) {
        spec_.add_space_prefix = true;
      } else if (type == "Replace" && text_of(member(part, "pattern"), "String") == " " &&
                 text_of(part, "content") == kSpaceMark) {
        marks = true;
      } else {
        throw Unsupported("tokenizer.json: normalizer '{}' ({}); this build reads Prepend and Replace of ' ' by U+2581",
                          type, part.dump());
      }
    }
    for (const json& part : parts) {
      const std::string type = text_of(part, "type");
      // Gemma splits at ' ', of which its normalizer leaves none.
      if (marks && type == "Split" && text_of(member(part, "pattern"), "String") == " ") continue;
      if (type != "Metaspace" || flag_of(part, "split", true) || text_of(part, "replacement") != kSpaceMark)
        throw Unsupported(
            "tokenizer.json: pre_tokenizer '{}' ({}); this build reads ByteLevel, and Metaspace that does "
            "not split",
            type, part.dump());
      marks = true;
      const std::string scheme = text_of(part, "prepend_scheme");
      spec_.add_space_prefix = scheme != "never";
      spec_.space_prefix_first_only = scheme == "first";
    }
    if (!marks) throw Unsupported("tokenizer.json: a BPE model that neither is ByteLevel nor marks spaces with U+2581");
    if (!flag_of(model_, "byte_fallback", false))
      throw Unsupported("tokenizer.json: model.byte_fallback is false; without ByteLevel it is needed");
  }

  void read_unigram_normalizer() {
    bool first = true;
    for (const json& part : components(member(file_, "normalizer"), "normalizers")) {
      const std::string type = text_of(part, "type"), content = text_of(part, "content");
      const json& pattern = member(part, "pattern");
      UnigramRules& rules = spec_.unigram;
      if (type == "Precompiled" && first) {
        rules.charsmap = detail::decode_base64(text_of(part, "precompiled_charsmap"), "tokenizer.json: the charsmap");
      } else if (type == "Strip") {
        rules.strip_left = rules.strip_left || flag_of(part, "strip_left", true);
        rules.strip_right = rules.strip_right || flag_of(part, "strip_right", true);
        rules.strip_any = true;
      } else if (type == "Replace" && text_of(pattern, "Regex") == " {2,}" &&
                 (content == " " || content == kSpaceMark)) {
        rules.merge_spaces = true;
      } else if (type == "Replace" && text_of(pattern, "String") == " " && content == kSpaceMark) {
        marks_spaces_ = true;
      } else if (type == "Prepend" && text_of(part, "prepend") == kSpaceMark) {
        spec_.add_space_prefix = true;
      } else {
        throw Unsupported(
            "tokenizer.json: normalizer '{}' with a unigram model; this build reads Precompiled in front, Strip, "
            "Prepend "
            "of U+2581, and Replace of ' ' or of runs of it",
            type);
      }
      first = false;
    }
  }

  void read_unigram_spaces(const std::vector<json>& parts) {
    UnigramRules& rules = spec_.unigram;
    for (const json& part : parts) {
      const std::string type = text_of(part, "type");
      if (type == "WhitespaceSplit" && !marks_spaces_) {
        rules.any_space = rules.merge_spaces = rules.strip_left = rules.strip_right = true;
        continue;
      }
      if (type != "Metaspace" || text_of(part, "replacement") != kSpaceMark)
        throw Unsupported(
            "tokenizer.json: pre_tokenizer '{}' with a unigram model; this build reads Metaspace with U+2581, and "
            "WhitespaceSplit before it",
            type);
      std::string scheme = text_of(part, "prepend_scheme");
      if (scheme.empty()) scheme = flag_of(part, "add_prefix_space", true) ? "always" : "never";
      if (rules.any_space && scheme != "always")
        throw Unsupported(
            "tokenizer.json: Metaspace with prepend_scheme '{}' behind WhitespaceSplit; only 'always' is read", scheme);
      marks_spaces_ = true;
      rules.prefix_unless_there = true;
      rules.split_words = rules.split_words || rules.any_space || flag_of(part, "split", true);
      spec_.add_space_prefix = scheme != "never";
      spec_.space_prefix_first_only = scheme == "first";
    }
    if (!marks_spaces_) throw Unsupported("tokenizer.json: a unigram model that does not mark spaces with U+2581");
  }

  void read_merges() {
    const json& merges = member(model_, "merges");
    if (!merges.is_array()) throw IoError("tokenizer.json: model.merges is not a list");
    std::vector<std::pair<std::string_view, std::string_view>> pairs;
    pairs.reserve(merges.size());
    for (const json& merge : merges) {
      if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
        pairs.emplace_back(merge[0].get_ref<const std::string&>(), merge[1].get_ref<const std::string&>());
        continue;
      }
      const auto split = merge.is_string() ? detail::split_merge(merge.get_ref<const std::string&>()) : std::nullopt;
      if (!split)
        throw IoError("tokenizer.json: model.merges[{}] = {} is not two tokens; wanted \"a b\" or [\"a\", \"b\"]",
                      pairs.size(), merge.dump());
      pairs.push_back(*split);
    }
    spec_.merges = detail::merges_from_text(spec_.tokens, pairs, "tokenizer.json");
    // A vocabulary of bytes alone is legal; the ranks then come from nowhere, and nothing merges.
    if (spec_.kind == TokenizerKind::Spm && spec_.merges.empty()) spec_.scores.assign(spec_.tokens.size(), 0.0f);
  }

  void read_types() {
    spec_.types.assign(spec_.tokens.size(), TokenType::Normal);
    const bool bytes = spec_.kind != TokenizerKind::Bpe && flag_of(model_, "byte_fallback", false);
    for (int value = 0; bytes && value < 256; ++value) byte_names_[value] = fmt::format("<0x{:02X}>", value);
    for (size_t id = 0; bytes && id < spec_.tokens.size(); ++id)
      if (std::binary_search(byte_names_.begin(), byte_names_.end(), spec_.tokens[id]))
        spec_.types[id] = TokenType::Byte;
    if (added_.is_array()) {
      for (const json& token : added_) {
        const auto id = member(token, "id").get<int32_t>();
        spec_.types[id] = flag_of(token, "special", false) ? TokenType::Control : TokenType::UserDefined;
        if (flag_of(token, "lstrip", false)) spec_.lstrip_ids.push_back(id);
        if (flag_of(token, "rstrip", false)) spec_.rstrip_ids.push_back(id);
      }
    }
    spec_.unk_id = unknown_token();
    // Byte-level models never produce it; there it is often the control token that ends a text, and stays one.
    const bool control = spec_.unk_id >= 0 && spec_.types[spec_.unk_id] == TokenType::Control;
    if (spec_.unk_id >= 0 && !(control && spec_.kind == TokenizerKind::Bpe))
      spec_.types[spec_.unk_id] = TokenType::Unknown;
  }

  /// By its name, or in unigram models by its id.
  int32_t unknown_token() const {
    if (spec_.kind != TokenizerKind::Unigram) return find(text_of(model_, "unk_token"));
    const json& id = member(model_, "unk_id");
    if (id.is_null()) return -1;
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= spec_.tokens.size())
      throw IoError("tokenizer.json: model.unk_id = {}; ids run from 0 to {}", id.dump(), spec_.tokens.size() - 1);
    return id.get<int32_t>();
  }

  /// A special token's text: from the config (a string or an object with content), else the first name that exists.
  int32_t role(const char* field, std::initializer_list<std::string_view> names) const {
    if (config_) {
      const json& value = member(*config_, field);
      const int32_t id = find(value.is_object() ? text_of(value, "content") : text_of(*config_, field));
      if (id >= 0) return id;
    }
    for (const std::string_view name : names)
      if (const int32_t id = find(name); id >= 0 && spec_.types[id] != TokenType::Normal) return id;
    return -1;
  }

  void read_special_roles() {
    spec_.bos_id = role("bos_token", {"<s>", "<bos>", "<|begin_of_text|>", "<|endoftext|>"});
    spec_.eos_id = role("eos_token", {"</s>", "<eos>", "<|end_of_text|>", "<|im_end|>", "<|endoftext|>"});
    if (spec_.unk_id < 0) spec_.unk_id = role("unk_token", {});
    spec_.pad_id = role("pad_token", {"<pad>", "[PAD]"});
  }

  void read_post_processor() {
    bool has_template = false;
    for (const json& part : components(member(file_, "post_processor"), "processors")) {
      const std::string type = text_of(part, "type");
      if (type == "ByteLevel") continue;
      if (type != "TemplateProcessing")
        throw Unsupported("tokenizer.json: post_processor '{}'; this build reads ByteLevel and TemplateProcessing",
                          type);
      has_template = true;
      bool before = true;
      for (const json& step : member(part, "single")) {
        if (!member(step, "Sequence").is_null()) {
          before = false;
          continue;
        }
        const std::string text = text_of(member(step, "SpecialToken"), "id");
        const int32_t id = find(text);
        bool& flag = before ? spec_.add_bos : spec_.add_eos;
        if (id < 0 || flag)
          throw Unsupported(
              "tokenizer.json: TemplateProcessing adds '{}'; at most one known token is read on each side", text);
        flag = true;
        (before ? spec_.bos_id : spec_.eos_id) = id;
      }
    }
    if (has_template || !config_) return;
    spec_.add_bos = flag_of(*config_, "add_bos_token", false) && spec_.bos_id >= 0;
    spec_.add_eos = flag_of(*config_, "add_eos_token", false) && spec_.eos_id >= 0;
  }

  std::string chat_template() const {
    if (!config_) return {};
    const json& value = member(*config_, "chat_template");
    if (value.is_string()) return value.get<std::string>();
    if (!value.is_array()) return {};
    for (const json& named : value)
      if (text_of(named, "name") == "default") return text_of(named, "template");
    return {};
  }

  const json& file_;
  const json* config_;
  const json& model_;
  json added_;
  bool marks_spaces_ = false;                // unigram models: spaces become U+2581
  std::array<std::string, 256> byte_names_;  // sorted, since hexadecimal digits are
  TokenizerSpec spec_;
};

}  // namespace

namespace detail {

nlohmann::json parse_tokenizer_json(std::string_view text, std::string_view what) {
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    throw IoError("{}: not valid JSON: {}", what, error.what());
  }
}

TokenizerSpec tokenizer_spec_from_hf_json(const nlohmann::json& json, const nlohmann::json* config) {
  return HfReader(json, config).read();
}

}  // namespace detail

TokenizerSpec tokenizer_spec_from_hf(std::string_view tokenizer_json, std::string_view tokenizer_config_json) {
  const json file = detail::parse_tokenizer_json(tokenizer_json, "tokenizer.json");
  if (tokenizer_config_json.empty()) return detail::tokenizer_spec_from_hf_json(file, nullptr);
  const json config = detail::parse_tokenizer_json(tokenizer_config_json, "tokenizer_config.json");
  return detail::tokenizer_spec_from_hf_json(file, &config);
}

}  // namespace halftone
