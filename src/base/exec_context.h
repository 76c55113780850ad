// What a computation may use: handed down through every call, never global.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/arena.h"
#include "base/cpu_features.h"
#include "base/thread_pool.h"
#include "base/trace.h"

namespace halftone {

/// Scratch memory that only grows. A kernel's launcher takes one block per call; blocks do not outlive the call.
class Workspace {
 public:
  /// At least `bytes` bytes, 64-byte aligned, contents undefined; the previous block is invalid afterwards.
  void* reserve(size_t bytes);
  size_t capacity_bytes() const { return capacity_; }

 private:
  struct Free {
    void operator()(void* memory) const;
  };
  std::unique_ptr<void, Free> memory_;
  size_t capacity_ = 0;
};

/// What kernels may round the operands of long matrix products to, where that is much faster.
enum class ProductPrecision : uint8_t {
  Full,  ///< nothing beyond what a layer's own formats ask for: a prompt gives the same bits as its tokens one by one
  BFloat16,  ///< bf16, summed in f32: prompts of many tokens, on machines with matrix instructions for it
};

struct ExecContext {
  ThreadPool& pool;
  Workspace& workspace;
  Arena& arena;  ///< results that live as long as a step
  Isa isa = usable_isa();
  ProductPrecision products = ProductPrecision::Full;
  void* stream = nullptr;  ///< CUDA stream; unused on the CPU
  Trace* trace = nullptr;  ///< who is told what every kernel takes, or null
};

/// An ExecContext with its own pool and workspace, for programs and tests.
class OwnedExecContext {
 public:
  explicit OwnedExecContext(int threads = 0) : pool_(threads), context_{pool_, workspace_, arena_} {}
  ExecContext& get() { return context_; }

 private:
  ThreadPool pool_;
  Workspace workspace_;
  Arena arena_;
  ExecContext context_;
};

}  // namespace halftone
