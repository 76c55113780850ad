// Text to token ids and back: byte-level BPE (GPT-2, SmolLM, Llama 3, Qwen 2), SentencePiece-style merging (Llama 2,
// Gemma) and SentencePiece's unigram model (T5, XLM-R), from GGUF metadata, a Hugging Face tokenizer.json, or our own
// JSON.
//
// Ids follow llama.cpp and the Hugging Face tokenizers where these agree. Bytes that are not UTF-8 are kept, so
// decode(encode(x)) == x for every x whose bytes the vocabulary has; a byte without a token is dropped (both peers do
// so; SmolLM2 lacks 21 bytes). Text is never normalised, but for unigram models that say so (UnigramRules).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json_fwd.h"

namespace halftone {

class GgufFile;

enum class TokenizerKind { Bpe, Spm, Unigram };

/// What a token is; the values are those of GGUF's `tokenizer.ggml.token_type`.
enum class TokenType : uint8_t { Normal = 1, Unknown, Control, UserDefined, Unused, Byte };

/// "Tokens `left` and `right` side by side become one"; earlier merges win.
struct TokenMerge {
  int32_t left;
  int32_t right;
  bool operator==(const TokenMerge&) const = default;
};

/// What a unigram tokenizer does to text before it looks for tokens, in this order.
struct UnigramRules {
  std::string charsmap;              // SentencePiece's precompiled_charsmap, which rewrites characters; bytes, or empty
  bool any_space = false;            // every white-space character counts as a space
  bool strip_left = false;           // spaces at the start are dropped
  bool strip_right = false;          // and at the end
  bool strip_any = false;            // so is every other white-space character
  bool merge_spaces = false;         // a run of spaces counts as one
  bool prefix_unless_there = false;  // no space goes before text that starts with one
  bool split_words = false;          // no token reaches beyond the next space
  bool operator==(const UnigramRules&) const = default;
};

/// Everything a tokenizer is made of; -1 stands for "no such token".
struct TokenizerSpec {
  TokenizerKind kind = TokenizerKind::Bpe;
  std::string pre = "default";            // row of the pre-tokeniser table, or "custom" for pre_patterns (BPE only)
  std::vector<std::string> pre_patterns;  // regular expressions, each splitting the pieces the one before left
  std::vector<std::string> tokens;        // text of every id; BPE texts in GPT-2's byte alphabet
  std::vector<float> scores;     // SPM without merges: the highest score merges first; Unigram: log probabilities
  std::vector<TokenType> types;  // empty: all normal
  std::vector<TokenMerge> merges;
  std::vector<int32_t> lstrip_ids, rstrip_ids;  // special tokens that swallow the white space on that side
  int32_t bos_id = -1, eos_id = -1, eot_id = -1, unk_id = -1, pad_id = -1;
  std::vector<int32_t> end_of_generation_ids;  // besides eos and eot
  bool add_bos = false;
  bool add_eos = false;
  bool add_space_prefix = false;         // a space goes before text; BPE: unless the text starts with one
  bool space_prefix_first_only = false;  // only before text that starts the input, not after special tokens
  bool ignore_merges = false;            // BPE: a piece that is a token stays whole, whatever the merges say
  UnigramRules unigram;                  // Unigram only
  std::string chat_template;             // Jinja source, empty when the model has none

  /// Throws InvalidArgument naming the field, the value and the rule that it breaks.
  void validate() const;
};

/// Reads a Hugging Face tokenizer.json, and optionally tokenizer_config.json for the special tokens and chat template.
/// Throws IoError for damaged JSON, Unsupported naming a component we do not have, InvalidArgument as validate() does.
TokenizerSpec tokenizer_spec_from_hf(std::string_view tokenizer_json, std::string_view tokenizer_config_json = {});
/// The text of a Hugging Face tokenizer.json, and of the tokenizer_config.json beside it, that give the same ids.
/// Throws Unsupported for SentencePiece-style tokenizers, which are read only.
std::string tokenizer_spec_to_hf(const TokenizerSpec& spec);
std::string tokenizer_config_to_hf(const TokenizerSpec& spec);
/// Our own JSON, as the artifact embeds it; tokenizer_spec_from_own_json gives the spec again.
Json tokenizer_spec_to_json(const TokenizerSpec& spec);
/// Reads our own JSON. Throws IoError naming the field.
TokenizerSpec tokenizer_spec_from_own_json(const Json& json);
/// Reads our own JSON or a Hugging Face tokenizer.json, whichever `text` is.
TokenizerSpec tokenizer_spec_from_json(std::string_view text);
/// Reads the `tokenizer.*` metadata of a GGUF file. Throws IoError or Unsupported naming the key and value.
TokenizerSpec tokenizer_spec_from_gguf(const GgufFile& file);

/// Adds the tokens that, by their well-known names (`<|im_end|>`, `<end_of_turn>`, ...), end a turn or the text.
void detect_end_of_generation(TokenizerSpec& spec);

struct EncodeOptions {
  bool add_special = true;                // put BOS before and EOS after, where the spec asks for them
  bool parse_special = false;             // read control tokens out of the text; false for text that users typed
  std::span<const size_t> plain_at = {};  // rising byte offsets at which no control token starts all the same
};

struct DecodeOptions {
  bool skip_special = true;  // leave control tokens out instead of spelling them
};

/// Encodes and decodes; immutable, so one object serves any number of threads.
class Tokenizer {
 public:
  /// Throws what TokenizerSpec::validate throws.
  explicit Tokenizer(TokenizerSpec spec);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  /// Ids of `text`, any bytes. Throws InvalidArgument for texts above 256 MiB or when a regular expression exceeds its
  /// match limits.
  std::vector<int32_t> encode(std::string_view text, EncodeOptions options = {}) const;
  /// Byte offsets in `text` at which the name of a control token starts, as encode would read it with parse_special.
  std::vector<size_t> control_names(std::string_view text) const;
  /// Bytes of `ids`: the inverse of encode. Throws InvalidArgument for an id outside the vocabulary.
  std::string decode(std::span<const int32_t> ids, DecodeOptions options = {}) const;
  /// Bytes that token `id` stands for (control tokens: their name); may be part of a character.
  std::string token_text(int32_t id) const;
  /// The id whose spelling in the vocabulary is `text`, or -1.
  int32_t find(std::string_view text) const;

  int32_t vocab_size() const;
  int32_t bos_id() const { return spec().bos_id; }
  int32_t eos_id() const { return spec().eos_id; }
  bool is_end_of_generation(int32_t id) const;
  bool is_control(int32_t id) const;
  const TokenizerSpec& spec() const;

 private:
  friend class StreamingDecoder;
  struct Impl;
  // Where a decoded text stands: before its first token, and before text that encode put a space in front of.
  struct DecodeState {
    bool first = true;
    bool at_start = true;
  };
  void append_text(int32_t id, DecodeOptions options, DecodeState& state, std::string& out) const;

  std::unique_ptr<const Impl> impl_;
};

/// Decodes one token at a time and returns only whole UTF-8 characters: bytes of an unfinished character are held back,
/// bytes that cannot become one are replaced by U+FFFD. The tokenizer must outlive the decoder.
class StreamingDecoder {
 public:
  explicit StreamingDecoder(const Tokenizer& tokenizer, DecodeOptions options = {})
      : tokenizer_(&tokenizer), options_(options) {}

  /// Text that `id` completes, possibly none. Throws InvalidArgument for an id outside the vocabulary.
  std::string push(int32_t id);
  /// Ends the text: what is still held back becomes one U+FFFD. The decoder is then as new.
  std::string flush();
  /// Bytes held back, at most 3.
  size_t pending_bytes() const { return pending_.size(); }

 private:
  const Tokenizer* tokenizer_;
  DecodeOptions options_;
  Tokenizer::DecodeState state_;
  std::string pending_;
};

}  // namespace halftone
