#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/exec_context.h"

namespace halftone {
namespace {

TEST(ThreadPool, CoversEveryIndexOnceInWholeGrains) {
  for (int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    ASSERT_EQ(pool.threads(), threads);
    for (int64_t count : {0, 1, 2, 7, 64, 1000}) {
      for (int64_t grain : {1, 3, 64, 5000}) {
        std::vector<std::atomic<int>> seen(static_cast<size_t>(count));
        std::atomic<int> bad{0};
        std::vector<std::atomic<int>> inside(static_cast<size_t>(threads));
        pool.parallel_for(count, grain, [&](int64_t begin, int64_t end, int worker) {
          if (begin >= end || begin % grain != 0 || (end % grain != 0 && end != count)) ++bad;
          if (worker < 0 || worker >= threads || inside[static_cast<size_t>(worker)]++ != 0) ++bad;
          for (int64_t i = begin; i < end; ++i) ++seen[static_cast<size_t>(i)];
          --inside[static_cast<size_t>(worker)];
        });
        EXPECT_EQ(bad, 0) << threads << " threads, count " << count << ", grain " << grain;
        for (const auto& times : seen) ASSERT_EQ(times, 1);
      }
    }
  }
}

// Every range waits until all have begun, so each must be on a thread of its own; a lost wake-up shows as a timeout.
// Pauses longer than the workers' spinning let them fall asleep first.
TEST(ThreadPool, RunsRangesAtTheSameTimeAlsoAfterSleep) {
  for (int threads : {2, 4}) {
    ThreadPool pool(threads);
    for (int round = 0; round < 40; ++round) {
      if (round % 4 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      std::atomic<int> begun{0};
      std::atomic<int> late{0};
      std::vector<std::thread::id> ids(static_cast<size_t>(threads));
      const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
      pool.parallel_for(threads, 1, [&](int64_t, int64_t, int worker) {
        ids[static_cast<size_t>(worker)] = std::this_thread::get_id();
        ++begun;
        while (begun < threads && late == 0) {
          std::this_thread::yield();
          if (std::chrono::steady_clock::now() > deadline) ++late;
        }
      });
      ASSERT_EQ(late, 0) << "a worker of " << threads << " never came, round " << round;
      std::sort(ids.begin(), ids.end());
      EXPECT_EQ(std::unique(ids.begin(), ids.end()), ids.end());
    }
  }
}

// Loops back to back and after pauses; the sums are plain integers, so a range run twice or seen late is caught, by
// the count here and by the thread sanitizer.
TEST(ThreadPool, SurvivesManyCallsWithAndWithoutPauses) {
  for (int threads : {2, 5}) {
    ThreadPool pool(threads);
    std::vector<int64_t> sums(static_cast<size_t>(threads) * 16);
    for (int round = 0; round < 3000; ++round) {
      pool.parallel_for(threads, 1, [&](int64_t begin, int64_t end, int worker) {
        sums[static_cast<size_t>(worker) * 16] += end - begin;
      });
      if (round % 100 == 0) std::this_thread::sleep_for(std::chrono::microseconds(round));
    }
    int64_t total = 0;
    for (int worker = 0; worker < threads; ++worker) total += sums[static_cast<size_t>(worker) * 16];
    EXPECT_EQ(total, 3000 * threads);
  }
}

// Whoever meets index 0 stays there until everything outside its piece is done, which others must therefore do: of a
// share of 32 it can have claimed 16.
TEST(ThreadPool, HelpsWithTheShareOfASlowThread) {
  for (int threads : {2, 3}) {
    ThreadPool pool(threads);
    const int64_t count = 32 * threads;
    std::atomic<int64_t> done{0};
    std::atomic<bool> late{false};
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    pool.parallel_for(count, 1, [&](int64_t begin, int64_t end, int) {
      while (begin == 0 && done < count - 16 && !late) {
        std::this_thread::yield();
        if (std::chrono::steady_clock::now() > deadline) late = true;
      }
      done += end - begin;
    });
    EXPECT_FALSE(late) << threads << " threads";
    EXPECT_EQ(done, count);
  }
}

TEST(ThreadPool, AGrainOfAWholeShareIsOneRange) {
  ThreadPool pool(3);
  std::atomic<int> ranges{0};
  pool.parallel_for(100, 34, [&](int64_t, int64_t, int) { ++ranges; });
  EXPECT_EQ(ranges, 3);
}

TEST(ThreadPool, SerialisesCallersOnDifferentThreads) {
  ThreadPool pool(2);
  std::atomic<int64_t> total{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 3; ++i) {
    callers.emplace_back([&] {
      for (int round = 0; round < 200; ++round) {
        pool.parallel_for(10, 1, [&](int64_t begin, int64_t end, int) { total += end - begin; });
      }
    });
  }
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(total, 3 * 200 * 10);
}

TEST(ThreadPool, RejectsImpossibleThreadCounts) {
  EXPECT_THROW(ThreadPool(-1), InvalidArgument);
  EXPECT_THROW(ThreadPool(1025), InvalidArgument);
  EXPECT_GE(ThreadPool(0).threads(), 1);
}

TEST(Workspace, GrowsAlignedAndKeepsABlockThatIsLargeEnough) {
  Workspace workspace;
  for (size_t bytes : {size_t{0}, size_t{1}, size_t{100}, size_t{4097}, size_t{1} << 20}) {
    auto* block = static_cast<uint8_t*>(workspace.reserve(bytes));
    ASSERT_NE(block, nullptr);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(block) % 64, 0u);
    EXPECT_GE(workspace.capacity_bytes(), bytes);
    std::fill_n(block, bytes, uint8_t{0xa5});
  }
  const void* before = workspace.reserve(1 << 20);
  EXPECT_EQ(workspace.reserve(10), before);
}

}  // namespace
}  // namespace halftone
