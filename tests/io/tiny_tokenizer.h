// Vocabularies small enough to work out by hand.
#pragma once

#include <fmt/format.h>

#include "io/tokenizer/tokenizer.h"

namespace halftone::test {

/// All bytes in GPT-2's alphabet (ids 0 to 255 in the alphabet's code order), then merges, then special tokens.
inline TokenizerSpec tiny_bpe() {
  TokenizerSpec spec;
  spec.pre = "gpt2";
  for (uint32_t code = 0; code < 324; ++code) {
    const bool used = (code >= 33 && code <= 126) || (code >= 161 && code <= 172) || (code >= 174);
    if (!used) continue;
    std::string text;
    if (code < 0x80) {
      text.push_back(static_cast<char>(code));
    } else {
      text.push_back(static_cast<char>(0xC0 | code >> 6));
      text.push_back(static_cast<char>(0x80 | (code & 0x3F)));
    }
    spec.tokens.push_back(text);
  }
  const auto id = [&](std::string_view text) {
    for (size_t i = 0; i < spec.tokens.size(); ++i)
      if (spec.tokens[i] == text) return static_cast<int32_t>(i);
    return -1;
  };
  const auto merge = [&](std::string_view left, std::string_view right) {
    spec.merges.push_back({id(left), id(right)});
    spec.tokens.push_back(std::string(left) + std::string(right));
  };
  merge("h", "e");
  merge("l", "l");
  merge("he", "ll");
  merge("hell", "o");
  merge("\xC4\xA0", "hello");
  spec.types.assign(spec.tokens.size(), TokenType::Normal);
  for (const char* name : {"<|end|>", "<|x|>", "<|x|>y"}) {
    spec.tokens.push_back(name);
    spec.types.push_back(TokenType::Control);
  }
  spec.tokens.push_back("<tool>");
  spec.types.push_back(TokenType::UserDefined);
  spec.eos_id = id("<|end|>");
  return spec;
}

/// <unk> <s> </s>, 256 byte tokens, then pieces with their scores.
inline TokenizerSpec tiny_spm() {
  TokenizerSpec spec;
  spec.kind = TokenizerKind::Spm;
  const auto add = [&](std::string text, TokenType type, float score) {
    spec.tokens.push_back(std::move(text));
    spec.types.push_back(type);
    spec.scores.push_back(score);
  };
  add("<unk>", TokenType::Unknown, 0);
  add("<s>", TokenType::Control, 0);
  add("</s>", TokenType::Control, 0);
  for (int byte = 0; byte < 256; ++byte) add(fmt::format("<0x{:02X}>", byte), TokenType::Byte, 0);
  for (const char* text : {"a", "b", "c", "\xE2\x96\x81"}) add(text, TokenType::Normal, -100);  // 259 to 262
  add("ab", TokenType::Normal, -2);                                                             // 263
  add("bc", TokenType::Normal, -1);                                                             // 264
  add("abc", TokenType::Normal, -5);                                                            // 265
  add("\xE2\x96\x81"
      "a",
      TokenType::Normal, -3);  // 266
  spec.unk_id = 0;
  spec.bos_id = 1;
  spec.eos_id = 2;
  spec.add_bos = true;
  spec.add_space_prefix = true;
  return spec;
}

}  // namespace halftone::test
