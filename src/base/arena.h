// Memory for the intermediate results of one step: taken in order, given back all at once, and kept for the next step,
// so that a running model allocates nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace halftone {

/// A bump allocator over blocks that are kept until the arena dies. Not for use by several threads at once.
class Arena {
 public:
  Arena() = default;
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  /// `count` values of a trivial type, 64-byte aligned, contents undefined; valid until the enclosing Frame ends.
  template <class T>
  T* take(int64_t count) {
    return static_cast<T*>(take_bytes(static_cast<size_t>(count) * sizeof(T)));
  }

  /// Bytes of all blocks.
  size_t capacity_bytes() const;

  /// Gives back, at its end, everything taken since it began. Frames nest.
  class Frame {
   public:
    explicit Frame(Arena& arena) : arena_(arena), block_(arena.block_), used_(arena.used_) {}
    ~Frame() { arena_.block_ = block_, arena_.used_ = used_; }
    Frame(const Frame&) = delete;
    Frame& operator=(const Frame&) = delete;

   private:
    Arena& arena_;
    size_t block_, used_;
  };

 private:
  void* take_bytes(size_t bytes);

  struct Block {
    std::byte* memory;
    size_t bytes;
  };
  std::vector<Block> blocks_;
  size_t block_ = 0;  ///< in use
  size_t used_ = 0;   ///< bytes of it
};

}  // namespace halftone
