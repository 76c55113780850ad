// Tokenizer: checks the spec, cuts special tokens out of a text, hands the rest to the encoder of its kind, and
// decodes.
#include "io/tokenizer/tokenizer.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "io/tokenizer/tokenizer_impl.h"
#include "io/utf8.h"

namespace halftone {
namespace {

constexpr size_t kMaxTokens = size_t{1} << 24;
constexpr size_t kMaxTextBytes = size_t{256} << 20;

void check_id(std::string_view field, int32_t id, size_t count, bool may_be_absent) {
  if (may_be_absent && id == -1) return;
  if (id < 0 || static_cast<size_t>(id) >= count)
    throw InvalidArgument("tokenizer: {} = {} is outside the vocabulary; ids run from 0 to {}{}", field, id, count - 1,
                          may_be_absent ? ", -1 for none" : "");
}

void check_ids(const TokenizerSpec& spec) {
  const size_t count = spec.tokens.size();
  check_id("bos_id", spec.bos_id, count, true);
  check_id("eos_id", spec.eos_id, count, true);
  check_id("eot_id", spec.eot_id, count, true);
  check_id("unk_id", spec.unk_id, count, true);
  check_id("pad_id", spec.pad_id, count, true);
  for (const int32_t id : spec.end_of_generation_ids) check_id("end_of_generation_ids", id, count, false);
  for (const int32_t id : spec.lstrip_ids) check_id("lstrip_ids", id, count, false);
  for (const int32_t id : spec.rstrip_ids) check_id("rstrip_ids", id, count, false);
  if (spec.add_bos && spec.bos_id < 0) throw InvalidArgument("tokenizer: add_bos is set, but there is no bos_id");
  if (spec.add_eos && spec.eos_id < 0) throw InvalidArgument("tokenizer: add_eos is set, but there is no eos_id");
}

// Real files do have tokens with empty text (padding); they are never produced and decode to nothing.
void check_tokens(const TokenizerSpec& spec) {
  const size_t count = spec.tokens.size();
  if (count == 0 || count > kMaxTokens)
    throw InvalidArgument("tokenizer: the vocabulary has {} tokens; 1 to {} are accepted", count, kMaxTokens);
  if (!spec.types.empty() && spec.types.size() != count)
    throw InvalidArgument("tokenizer: {} token types for {} tokens; give one a token, or none", spec.types.size(),
                          count);
  if (!spec.scores.empty() && spec.scores.size() != count)
    throw InvalidArgument("tokenizer: {} scores for {} tokens; give one a token, or none", spec.scores.size(), count);
  for (size_t i = 0; i < count; ++i) {
    if (!utf8_valid(spec.tokens[i]))
      throw InvalidArgument("tokenizer: the text of token {} is not UTF-8; bytes must be spelled as the kind asks", i);
    if (!spec.scores.empty() && std::isnan(spec.scores[i]))
      throw InvalidArgument("tokenizer: the score of token {} ('{}') is NaN", i, spec.tokens[i]);
    if (!spec.types.empty() && (spec.types[i] < TokenType::Normal || spec.types[i] > TokenType::Byte))
      throw InvalidArgument("tokenizer: the type of token {} ('{}') is {}; types run from 1 to 6", i, spec.tokens[i],
                            static_cast<int>(spec.types[i]));
  }
}

const TokenizerSpec& checked(const TokenizerSpec& spec) {
  check_tokens(spec);
  check_ids(spec);
  return spec;
}

bool is_ascii_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

bool contains(const std::vector<int32_t>& ids, int32_t id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

}  // namespace

Tokenizer::Impl::Impl(TokenizerSpec given) : spec(std::move(given)), index(checked(spec).tokens) {
  const auto count = static_cast<int32_t>(spec.tokens.size());
  types = spec.types;
  if (types.empty()) {
    types.assign(count, TokenType::Normal);
    if (spec.kind != TokenizerKind::Bpe)
      for (int32_t id = 0; id < count; ++id)
        if (detail::byte_token_value(spec.tokens[id]) >= 0) types[id] = TokenType::Byte;
  }
  for (int32_t id = 0; id < count; ++id) {
    if (spec.tokens[id].empty()) continue;
    const int32_t other = index.insert(id);
    if (other >= 0)
      throw InvalidArgument("tokenizer: tokens {} and {} have the same text '{}'", other, id, spec.tokens[id]);
    if (!detail::is_special_type(types[id])) continue;
    specials.add(spec.tokens[id], id);
    has_specials = true;
  }
  ends_generation.resize(count);
  for (const int32_t id : spec.end_of_generation_ids) ends_generation[id] = true;
  for (const int32_t id : {spec.eos_id, spec.eot_id})
    if (id >= 0) ends_generation[id] = true;
  const detail::Vocabulary vocabulary{spec, index, types};
  switch (spec.kind) {
    case TokenizerKind::Bpe:
      encoder = detail::make_bpe_encoder(vocabulary);
      break;
    case TokenizerKind::Spm:
      encoder = detail::make_spm_encoder(vocabulary);
      break;
    case TokenizerKind::Unigram:
      encoder = detail::make_unigram_encoder(vocabulary);
      break;
  }
}

Tokenizer::Tokenizer(TokenizerSpec spec) : impl_(std::make_unique<Impl>(std::move(spec))) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

void TokenizerSpec::validate() const { Tokenizer{*this}; }

std::vector<int32_t> Tokenizer::encode(std::string_view text, EncodeOptions options) const {
  if (text.size() > kMaxTextBytes)
    throw InvalidArgument("tokenizer: the text has {} bytes; at most {} are accepted, encode it in parts", text.size(),
                          kMaxTextBytes);
  const TokenizerSpec& spec = impl_->spec;
  detail::EncodeScratch scratch;
  std::vector<int32_t> ids;
  ids.reserve(text.size() / 4 + 2);
  if (options.add_special && spec.add_bos) ids.push_back(spec.bos_id);

  size_t done = 0, position = 0;
  const auto accept = [&](int32_t id) {
    if (impl_->types[id] == TokenType::UserDefined) return true;
    return options.parse_special && !std::binary_search(options.plain_at.begin(), options.plain_at.end(), position);
  };
  const auto encode_until = [&](size_t end) {
    if (end <= done) return;
    const bool prefix = spec.add_space_prefix && (done == 0 || !spec.space_prefix_first_only);
    impl_->encoder->encode(text.substr(done, end - done), prefix, scratch, ids);
  };
  for (size_t at = 0; impl_->has_specials && at < text.size();) {
    position = at;
    const int32_t id = impl_->specials.may_start(text[at]) ? impl_->specials.longest(text.substr(at), accept) : -1;
    if (id < 0) {
      ++at;
      continue;
    }
    size_t end = at;
    if (contains(spec.lstrip_ids, id))
      while (end > done && is_ascii_space(text[end - 1])) --end;
    encode_until(end);
    ids.push_back(id);
    at += spec.tokens[id].size();
    if (contains(spec.rstrip_ids, id))
      while (at < text.size() && is_ascii_space(text[at])) ++at;
    done = at;
  }
  encode_until(text.size());
  if (options.add_special && spec.add_eos) ids.push_back(spec.eos_id);
  return ids;
}

std::vector<size_t> Tokenizer::control_names(std::string_view text) const {
  const auto accept = [&](int32_t id) { return impl_->types[id] != TokenType::UserDefined; };
  std::vector<size_t> starts;
  for (size_t at = 0; impl_->has_specials && at < text.size(); ++at)
    if (impl_->specials.may_start(text[at]) && impl_->specials.longest(text.substr(at), accept) >= 0)
      starts.push_back(at);
  return starts;
}

void Tokenizer::append_text(int32_t id, DecodeOptions options, DecodeState& state, std::string& out) const {
  const TokenizerSpec& spec = impl_->spec;
  check_id("decode: token id", id, spec.tokens.size(), false);
  const TokenType type = impl_->types[id];
  const bool named = type == TokenType::Control || type == TokenType::Unknown;
  const bool drops_space = state.at_start && spec.kind != TokenizerKind::Bpe && spec.add_space_prefix;
  const size_t size = out.size();
  if (!named)
    impl_->encoder->append_bytes(id, out);
  else if (!options.skip_special)
    out.append(spec.tokens[id]);
  if (detail::is_special_type(type)) {
    state.at_start = !spec.space_prefix_first_only || (state.first && id == spec.bos_id);
  } else {
    if (drops_space && out.size() > size && out[size] == ' ') out.erase(size, 1);
    state.at_start = false;
  }
  state.first = false;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, DecodeOptions options) const {
  std::string out;
  DecodeState state;
  for (const int32_t id : ids) append_text(id, options, state, out);
  return out;
}

std::string Tokenizer::token_text(int32_t id) const {
  std::string out;
  DecodeState state{.first = false, .at_start = false};
  append_text(id, {.skip_special = false}, state, out);
  return out;
}

int32_t Tokenizer::find(std::string_view text) const { return impl_->index.find(text); }
int32_t Tokenizer::vocab_size() const { return static_cast<int32_t>(impl_->spec.tokens.size()); }
const TokenizerSpec& Tokenizer::spec() const { return impl_->spec; }

bool Tokenizer::is_end_of_generation(int32_t id) const {
  return id >= 0 && id < vocab_size() && impl_->ends_generation[id];
}

bool Tokenizer::is_control(int32_t id) const {
  return id >= 0 && id < vocab_size() && impl_->types[id] == TokenType::Control;
}

std::string StreamingDecoder::push(int32_t id) {
  tokenizer_->append_text(id, options_, state_, pending_);
  std::string out;
  std::string_view rest = pending_;
  while (!rest.empty()) {
    const Utf8Char next = utf8_next(rest);
    if (next.state == Utf8State::Truncated) break;
    if (next.state == Utf8State::Valid)
      out.append(rest.substr(0, next.length));
    else
      utf8_append(next.code, out);
    rest.remove_prefix(next.length);
  }
  pending_.erase(0, pending_.size() - rest.size());
  return out;
}

std::string StreamingDecoder::flush() {
  std::string out;
  if (!pending_.empty()) utf8_append(0xFFFD, out);
  pending_.clear();
  state_ = {};
  return out;
}

}  // namespace halftone
