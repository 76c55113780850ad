// The look-up structures behind Tokenizer: token text -> id, pair of ids -> merge, and the special tokens that are cut
// out of a text before anything else. All are flat open-addressing tables: a vocabulary of 262144 builds in about 0.1
// s.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace halftone::detail {

inline uint64_t mix_hash(uint64_t x) {
  x ^= x >> 32;
  x *= 0xD6E8FEB86659FD93u;
  x ^= x >> 32;
  x *= 0xD6E8FEB86659FD93u;
  return x ^ x >> 32;
}

/// A map from 64-bit keys (any but all ones) to small values.
template <class Value>
class FlatMap {
 public:
  explicit FlatMap(size_t expected = 0) : slots_(std::bit_ceil(expected * 2 + 16)) {}

  const Value* find(uint64_t key) const {
    for (size_t i = mix_hash(key);; ++i) {
      const Slot& slot = slots_[i & (slots_.size() - 1)];
      if (slot.key == key) return &slot.value;
      if (slot.key == kEmpty) return nullptr;
    }
  }

  /// Keeps the value already there; returns the value now stored and whether it is new.
  std::pair<Value*, bool> insert(uint64_t key, const Value& value) {
    if (2 * (count_ + 1) > slots_.size()) grow();
    for (size_t i = mix_hash(key);; ++i) {
      Slot& slot = slots_[i & (slots_.size() - 1)];
      if (slot.key == key) return {&slot.value, false};
      if (slot.key != kEmpty) continue;
      slot = {key, value};
      ++count_;
      return {&slot.value, true};
    }
  }

 private:
  static constexpr uint64_t kEmpty = ~uint64_t{0};
  struct Slot {
    uint64_t key = kEmpty;
    Value value{};
  };

  void grow() {
    std::vector<Slot> old(slots_.size() * 2);
    old.swap(slots_);
    count_ = 0;
    for (const Slot& slot : old)
      if (slot.key != kEmpty) insert(slot.key, slot.value);
  }

  std::vector<Slot> slots_;
  size_t count_ = 0;
};

/// Finds tokens by their text; refers to the token list, which must outlive it unmoved.
class TextIndex {
 public:
  explicit TextIndex(std::span<const std::string> tokens)
      : tokens_(tokens), slots_(std::bit_ceil(tokens.size() * 2 + 16)) {}

  int32_t find(std::string_view text) const {
    const uint64_t hash = std::hash<std::string_view>{}(text);
    for (size_t i = hash;; ++i) {
      const Slot& slot = slots_[i & (slots_.size() - 1)];
      if (slot.id < 0 || (slot.tag == static_cast<uint32_t>(hash >> 32) && tokens_[slot.id] == text)) return slot.id;
    }
  }

  /// Adds token `id`; returns the id that already has its text, or -1.
  int32_t insert(int32_t id) {
    const uint64_t hash = std::hash<std::string_view>{}(tokens_[id]);
    for (size_t i = hash;; ++i) {
      Slot& slot = slots_[i & (slots_.size() - 1)];
      if (slot.id < 0) {
        slot = {static_cast<uint32_t>(hash >> 32), id};
        return -1;
      }
      if (slot.tag == static_cast<uint32_t>(hash >> 32) && tokens_[slot.id] == tokens_[id]) return slot.id;
    }
  }

 private:
  struct Slot {
    uint32_t tag = 0;
    int32_t id = -1;
  };
  std::span<const std::string> tokens_;
  std::vector<Slot> slots_;
};

/// Tokens as a trie. Special tokens match leftmost-longest, as in the Hugging Face tokenizers; llama.cpp cuts out the
/// longest token of the whole list first, which differs only where two special tokens overlap in the text.
class TokenTrie {
 public:
  TokenTrie() : nodes_(1, -1) {}

  void add(std::string_view text, int32_t id) {
    uint32_t node = 0;
    starts_[static_cast<uint8_t>(text[0])] = true;
    for (const char c : text) {
      const auto [child, is_new] = children_.insert(key(node, c), static_cast<uint32_t>(nodes_.size()));
      if (is_new) nodes_.push_back(-1);
      node = *child;
    }
    nodes_[node] = id;
  }

  bool may_start(char c) const { return starts_[static_cast<uint8_t>(c)]; }

  /// Calls `visit(id, bytes)` for every token that `text` starts with, the shortest first.
  template <class Visit>
  void each_prefix(std::string_view text, const Visit& visit) const {
    uint32_t node = 0;
    for (size_t i = 0; i < text.size(); ++i) {
      const uint32_t* child = children_.find(key(node, text[i]));
      if (!child) return;
      node = *child;
      if (nodes_[node] >= 0) visit(nodes_[node], static_cast<uint32_t>(i + 1));
    }
  }

  /// The longest token that `text` starts with and `accept(id)` lets through; -1 when there is none.
  template <class Accept>
  int32_t longest(std::string_view text, const Accept& accept) const {
    int32_t best = -1;
    each_prefix(text, [&](int32_t id, uint32_t) {
      if (accept(id)) best = id;
    });
    return best;
  }

 private:
  static uint64_t key(uint32_t node, char c) { return uint64_t{node} << 8 | static_cast<uint8_t>(c); }

  FlatMap<uint32_t> children_;
  std::vector<int32_t> nodes_;  // the token that ends here, or -1
  std::array<bool, 256> starts_{};
};

}  // namespace halftone::detail
