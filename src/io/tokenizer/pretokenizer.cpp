// The pre-tokeniser table and its regular-expression splitter; see pretokenizer.h.
#include "io/tokenizer/pretokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "io/utf8.h"

namespace halftone {

const std::string_view kGpt2Pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S))";

namespace {

// Llama 3 and Qwen 2 differ only in how many digits go together. Both cases are spelled out: (?i) would also take
// U+017F.
constexpr std::string_view kLlama3Pattern =
    R"('(?:[sStTmMdD]|[lL][lL]|[vV][eE]|[rR][eE])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2Pattern =
    R"('(?:[sStTmMdD]|[lL][lL]|[vV][eE]|[rR][eE])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

const std::array kGpt2Patterns{kGpt2Pattern};
const std::array kSmolLmPatterns{std::string_view(R"(\p{N})"), kGpt2Pattern};
const std::array kLlama3Patterns{kLlama3Pattern};
const std::array kQwen2Patterns{kQwen2Pattern};
const std::array kDefaultPatterns{std::string_view(R"([\p{P}\$\+<=>\^~\|]+)"), kGpt2Pattern,
                                  std::string_view(R"(\p{N}+)"), std::string_view("[0-9][0-9][0-9]")};

const std::array kRows{
    PreTokenizerRow{"default", kDefaultPatterns, false, false},
    PreTokenizerRow{"gpt2|gpt-2|phi-2|mpt|olmo|jina-es|jina-de|jais|roberta-bpe", kGpt2Patterns, false, false},
    PreTokenizerRow{"smollm|starcoder|refact|command-r|codeshell|exaone", kSmolLmPatterns, false, false},
    PreTokenizerRow{"llama3|llama-v3|llama-bpe|falcon3", kLlama3Patterns, true, true},
    PreTokenizerRow{"qwen2|deepseek-r1-qwen|megrez", kQwen2Patterns, false, false},
};

// Unicode White_Space, as the inside of a character class.
constexpr std::string_view kSpaceClass =
    R"(\x{9}-\x{D}\x{20}\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";

// Replaces \s and \S; a \S inside a class has no rewriting as a class member, and no known tokenizer uses one.
std::string with_unicode_spaces(std::string_view pattern) {
  std::string out;
  bool in_class = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\' && i + 1 < pattern.size()) {
      const char escaped = pattern[++i];
      if (escaped == 's' && in_class) {
        out.append(kSpaceClass);
      } else if ((escaped == 's' || escaped == 'S') && !in_class) {
        out.append(escaped == 's' ? "[" : "[^").append(kSpaceClass).append("]");
      } else {
        out.append({c, escaped});
      }
      continue;
    }
    if (c == '[' && !in_class) {
      in_class = true;
      if (i + 1 < pattern.size() && pattern[i + 1] == '^') out.push_back(pattern[i++]);
      if (i + 1 < pattern.size() && pattern[i + 1] == ']') out.push_back(pattern[i++]);  // a literal ']'
    } else if (c == ']') {
      in_class = false;
    }
    out.push_back(pattern[i]);
  }
  return out;
}

struct CodeFree {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
using Code = std::unique_ptr<pcre2_code, CodeFree>;

// Match state is one per thread: PCRE2 code is shared, its scratch memory must not be.
struct MatchScratch {
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(32 * 1024, 4 << 20, nullptr);
  MatchScratch() {
    constexpr uint32_t kMatchLimit = 4'000'000, kDepthLimit = 100'000, kHeapLimitKib = 64 * 1024;
    if (!context || !data || !stack) throw Error("out of memory for the pre-tokeniser's match state");
    pcre2_set_match_limit(context, kMatchLimit);
    pcre2_set_depth_limit(context, kDepthLimit);
    pcre2_set_heap_limit(context, kHeapLimitKib);
    pcre2_jit_stack_assign(context, nullptr, stack);
  }
  ~MatchScratch() {
    pcre2_jit_stack_free(stack);
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
  }
  MatchScratch(const MatchScratch&) = delete;
  MatchScratch& operator=(const MatchScratch&) = delete;
};

MatchScratch& match_scratch() {
  thread_local MatchScratch scratch;
  return scratch;
}

std::string pcre2_message(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

Code compile(const std::string& pattern) {
  constexpr size_t kMaxPatternBytes = 64 * 1024;
  if (pattern.size() > kMaxPatternBytes)
    throw InvalidArgument("pre-tokeniser pattern has {} bytes; at most {} are accepted", pattern.size(),
                          kMaxPatternBytes);
  const std::string rewritten = with_unicode_spaces(pattern);
  int error = 0;
  PCRE2_SIZE where = 0;
  // \C would split characters and callouts have no use here; a lookbehind never needs more than the piece itself.
  Code code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(rewritten.data()), rewritten.size(),
                          PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &where, nullptr));
  if (!code)
    throw InvalidArgument("pre-tokeniser pattern '{}' is not a valid regular expression at offset {}: {}", pattern,
                          where, pcre2_message(error));
  pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);  // may fail where JIT is off: the interpreter serves then
  return code;
}

}  // namespace

const PreTokenizerRow* find_pretokenizer(std::string_view name) {
  for (const PreTokenizerRow& row : kRows) {
    std::string_view names = row.names;
    while (!names.empty()) {
      const auto bar = names.find('|');
      if (names.substr(0, bar) == name) return &row;
      names = bar == std::string_view::npos ? std::string_view() : names.substr(bar + 1);
    }
  }
  return nullptr;
}

std::string known_pretokenizers() {
  std::string all;
  for (const PreTokenizerRow& row : kRows) all.append(all.empty() ? "" : "|").append(row.names);
  std::replace(all.begin(), all.end(), '|', ' ');
  return all;
}

struct PreTokenizer::Impl {
  std::vector<Code> codes;
  std::vector<std::string> patterns;

  // The first match in text[0, size) at or after `from`; false when there is none.
  bool next_match(size_t step, std::string_view text, size_t from, size_t& begin, size_t& end) const {
    MatchScratch& scratch = match_scratch();
    const auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    uint32_t flags = PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY;
    int status = pcre2_match(codes[step].get(), subject, text.size(), from, flags, scratch.data, scratch.context);
    if (status == PCRE2_ERROR_JIT_STACKLIMIT)
      status = pcre2_match(codes[step].get(), subject, text.size(), from, flags | PCRE2_NO_JIT, scratch.data,
                           scratch.context);
    if (status == PCRE2_ERROR_NOMATCH) return false;
    if (status < 0)
      throw InvalidArgument(
          "pre-tokeniser pattern '{}' failed on a piece of {} bytes: {}; use a pattern that backtracks less",
          patterns[step], text.size(), pcre2_message(status));
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer(scratch.data);
    begin = range[0];
    end = range[1];
    // \K or a lookaround can report a match that ends before it starts or lies behind us; treat it as none.
    return begin >= from && end > begin;
  }

  void split_piece(size_t step, std::string_view text, uint32_t begin, uint32_t end,
                   std::vector<uint32_t>& ends) const {
    const std::string_view piece = text.substr(begin, end - begin);
    size_t done = 0, match_begin = 0, match_end = 0;
    while (done < piece.size() && next_match(step, piece, done, match_begin, match_end)) {
      if (match_begin > done) ends.push_back(begin + static_cast<uint32_t>(match_begin));
      ends.push_back(begin + static_cast<uint32_t>(match_end));
      done = match_end;
    }
    if (done < piece.size()) ends.push_back(end);
  }

  void split_valid(std::string_view text, std::vector<uint32_t>& ends) const {
    std::vector<uint32_t> pieces{static_cast<uint32_t>(text.size())}, next;
    for (size_t step = 0; step < codes.size(); ++step) {
      next.clear();
      uint32_t begin = 0;
      for (const uint32_t end : pieces) {
        split_piece(step, text, begin, end, next);
        begin = end;
      }
      pieces.swap(next);
    }
    ends.insert(ends.end(), pieces.begin(), pieces.end());
  }
};

PreTokenizer::PreTokenizer(const std::vector<std::string>& patterns) : impl_(std::make_unique<Impl>()) {
  constexpr size_t kMaxPatterns = 64;
  if (patterns.size() > kMaxPatterns)
    throw InvalidArgument("pre-tokeniser has {} patterns; at most {} are accepted", patterns.size(), kMaxPatterns);
  impl_->patterns = patterns;
  for (const std::string& pattern : patterns) impl_->codes.push_back(compile(pattern));
}

PreTokenizer::~PreTokenizer() = default;
PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;
PreTokenizer& PreTokenizer::operator=(PreTokenizer&&) noexcept = default;

void PreTokenizer::split(std::string_view text, std::vector<uint32_t>& ends) const {
  if (text.empty()) return;
  if (utf8_valid(text)) return impl_->split_valid(text, ends);
  // Split a copy in which U+FFFD stands for each damaged run, then carry the cuts back to the bytes given.
  std::string repaired;
  std::vector<std::pair<uint32_t, uint32_t>> origins;  // end in the repaired text, end in the text
  for (uint32_t at = 0; at < text.size();) {
    const Utf8Char next = utf8_next(text.substr(at));
    at += next.length;
    utf8_append(next.code, repaired);
    origins.emplace_back(static_cast<uint32_t>(repaired.size()), at);
  }
  const size_t first = ends.size();
  impl_->split_valid(repaired, ends);
  auto origin = origins.begin();
  for (size_t i = first; i < ends.size(); ++i) {
    while (origin->first < ends[i]) ++origin;
    ends[i] = origin->second;
  }
}

}  // namespace halftone
