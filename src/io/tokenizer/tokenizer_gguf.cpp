// TokenizerSpec from the `tokenizer.*` metadata of a GGUF file (docs/gguf.md of ggml). Keys that a file leaves out get
// llama.cpp's defaults for the vocabulary's model.
#include "base/error.h"
#include "io/gguf/gguf.h"
#include "io/tokenizer/pretokenizer.h"
#include "io/tokenizer/tokenizer_text.h"

namespace halftone {
namespace {

int32_t read_id(const GgufFile& file, std::string_view name, int32_t missing) {
  const int64_t id = file.get_i64(fmt::format("tokenizer.ggml.{}_token_id", name), missing);
  // Some writers store "none" as all ones.
  return id < 0 || id > INT32_MAX ? -1 : static_cast<int32_t>(id);
}

std::vector<TokenType> read_types(const GgufFile& file) {
  std::vector<TokenType> types;
  for (const int64_t type : file.get_i64s("tokenizer.ggml.token_type")) {
    if (type < 1 || type > 6)
      throw IoError("{}: tokenizer.ggml.token_type[{}] = {}; types run from 1 to 6", file.name(), types.size(), type);
    types.push_back(static_cast<TokenType>(type));
  }
  return types;
}

void read_bpe(const GgufFile& file, TokenizerSpec& spec) {
  spec.kind = TokenizerKind::Bpe;
  spec.pre = file.get_string("tokenizer.ggml.pre", "default");
  const PreTokenizerRow* row = find_pretokenizer(spec.pre);
  if (!row)
    throw Unsupported("{}: tokenizer.ggml.pre = '{}' is not known; known: {}", file.name(), spec.pre,
                      known_pretokenizers());
  spec.ignore_merges = row->ignore_merges;
  spec.bos_id = read_id(file, "bos", -1);
  spec.eos_id = read_id(file, "eos", -1);
  spec.unk_id = read_id(file, "unknown", -1);
  spec.add_bos = file.get_bool("tokenizer.ggml.add_bos_token", row->add_bos && spec.bos_id >= 0);
  if (!file.has("tokenizer.ggml.merges")) return;
  const std::vector<std::string_view> lines = file.get_strings("tokenizer.ggml.merges");
  std::vector<std::pair<std::string_view, std::string_view>> merges;
  merges.reserve(lines.size());
  for (const std::string_view line : lines) {
    const auto merge = detail::split_merge(line);
    if (!merge)
      throw IoError("{}: tokenizer.ggml.merges[{}] = '{}' is not two tokens with a space between", file.name(),
                    merges.size(), line);
    merges.push_back(*merge);
  }
  spec.merges = detail::merges_from_text(spec.tokens, merges, file.name());
}

void read_spm(const GgufFile& file, TokenizerSpec& spec) {
  spec.kind = TokenizerKind::Spm;
  spec.scores = file.get_f32s("tokenizer.ggml.scores");
  spec.bos_id = read_id(file, "bos", 1);
  spec.eos_id = read_id(file, "eos", 2);
  spec.unk_id = read_id(file, "unknown", 0);
  spec.add_bos = file.get_bool("tokenizer.ggml.add_bos_token", true);
  spec.add_space_prefix = file.get_bool("tokenizer.ggml.add_space_prefix", true);
}

void read_unigram(const GgufFile& file, TokenizerSpec& spec) {
  spec.kind = TokenizerKind::Unigram;
  spec.scores = file.get_f32s("tokenizer.ggml.scores");
  spec.bos_id = read_id(file, "bos", -1);
  spec.eos_id = read_id(file, "eos", 1);
  spec.unk_id = read_id(file, "unknown", 2);
  spec.add_bos = file.get_bool("tokenizer.ggml.add_bos_token", false);
  spec.add_space_prefix = file.get_bool("tokenizer.ggml.add_space_prefix", false);
  UnigramRules& rules = spec.unigram;
  rules.merge_spaces = file.get_bool("tokenizer.ggml.remove_extra_whitespaces", false);
  rules.strip_left = rules.strip_right = rules.merge_spaces;
  if (!file.has("tokenizer.ggml.precompiled_charsmap")) return;
  for (const int64_t byte : file.get_i64s("tokenizer.ggml.precompiled_charsmap"))
    rules.charsmap.push_back(static_cast<char>(byte));
}

}  // namespace

TokenizerSpec tokenizer_spec_from_gguf(const GgufFile& file) {
  TokenizerSpec spec;
  const std::string_view model = file.get_string("tokenizer.ggml.model");
  for (const std::string_view token : file.get_strings("tokenizer.ggml.tokens")) spec.tokens.emplace_back(token);
  if (file.has("tokenizer.ggml.token_type")) spec.types = read_types(file);
  if (model == "gpt2")
    read_bpe(file, spec);
  else if (model == "llama")
    read_spm(file, spec);
  else if (model == "t5")
    read_unigram(file, spec);
  else
    throw Unsupported(
        "{}: tokenizer.ggml.model = '{}'; this build reads gpt2 (byte-level BPE), llama (SPM) and t5 (unigram)",
        file.name(), model);
  spec.eot_id = read_id(file, "eot", -1);
  spec.pad_id = read_id(file, "padding", -1);
  spec.add_eos = file.get_bool("tokenizer.ggml.add_eos_token", model == "t5");
  const int32_t end_of_message = read_id(file, "eom", -1);
  if (end_of_message >= 0) spec.end_of_generation_ids.push_back(end_of_message);
  detect_end_of_generation(spec);
  spec.chat_template = file.get_string("tokenizer.chat_template", "");
  return spec;
}

}  // namespace halftone
