// Greedy pair merging, shared by BPE and SentencePiece-style tokenizers: the adjacent pair with the lowest rank merges
// first, the leftmost of equals, until no pair merges. A heap holds the candidates, so n symbols cost O(n log n).
// Stale candidates are recognised by length: symbols only grow, so two live neighbours whose lengths still add up to
// the candidate's have not changed.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace halftone::detail {

/// A run of text bytes and the token it is, or -1 when it is none.
struct Symbol {
  uint32_t begin;
  uint32_t length;
  int32_t id;
  int32_t previous;
  int32_t next;
};

/// What a rule says about a pair: whether it merges, how early (lower first), and into which token.
struct Merge {
  bool found = false;
  uint32_t rank = 0;
  int32_t id = -1;
};

/// Memory reused from piece to piece.
struct MergeScratch {
  struct Candidate {
    uint64_t order;  // rank, then position of the left symbol
    int32_t right;
    uint32_t length;
    int32_t id;
    bool operator<(const Candidate& other) const { return order > other.order; }  // a min-heap
  };
  std::vector<Symbol> symbols;
  std::vector<Candidate> heap;

  void add_symbol(uint32_t begin, uint32_t length, int32_t id) {
    const auto index = static_cast<int32_t>(symbols.size());
    if (index > 0) symbols.back().next = index;
    symbols.push_back({begin, length, id, index - 1, -1});
  }
};

/// Merges `scratch.symbols` in place; live symbols are those reached from symbol 0 by `next`.
/// `rule(left, right)` returns a Merge.
template <class Rule>
void merge_symbols(MergeScratch& scratch, const Rule& rule) {
  auto& symbols = scratch.symbols;
  auto& heap = scratch.heap;
  heap.clear();
  const auto candidate = [&](int32_t left, int32_t right, MergeScratch::Candidate& out) {
    if (left < 0 || right < 0) return false;
    const Merge merge = rule(symbols[left], symbols[right]);
    if (!merge.found) return false;
    out = {uint64_t{merge.rank} << 32 | static_cast<uint32_t>(left), right,
           symbols[left].length + symbols[right].length, merge.id};
    return true;
  };
  MergeScratch::Candidate found;
  for (size_t i = 1; i < symbols.size(); ++i)
    if (candidate(static_cast<int32_t>(i) - 1, static_cast<int32_t>(i), found)) heap.push_back(found);
  std::make_heap(heap.begin(), heap.end());
  const auto push = [&](int32_t left, int32_t right) {
    if (!candidate(left, right, found)) return;
    heap.push_back(found);
    std::push_heap(heap.begin(), heap.end());
  };
  while (!heap.empty()) {
    const MergeScratch::Candidate best = heap.front();
    std::pop_heap(heap.begin(), heap.end());
    heap.pop_back();
    const auto left_index = static_cast<int32_t>(best.order & 0xFFFFFFFFu);
    Symbol& left = symbols[left_index];
    Symbol& right = symbols[best.right];
    if (left.length == 0 || right.length == 0 || left.length + right.length != best.length) continue;
    left.length = best.length;
    left.id = best.id;
    left.next = right.next;
    right.length = 0;
    if (left.next >= 0) symbols[left.next].previous = left_index;
    push(left.previous, left_index);
    push(left_index, left.next);
  }
}

}  // namespace halftone::detail
