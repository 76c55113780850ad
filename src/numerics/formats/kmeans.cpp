// Lloyd's algorithm on a line and in space; see kmeans.h.
#include "numerics/formats/kmeans.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"

namespace halftone {
namespace {

constexpr int64_t kLeastSamples = 16384, kNumberSamples = 1 << 20;

/// At most `count` of the vectors: one drawn from each of `count` stretches of equal length.
std::vector<float> sampled(std::span<const float> values, int64_t dimension, int64_t count, const RandomBits& random) {
  const int64_t all = static_cast<int64_t>(values.size()) / dimension;
  if (all <= count) return {values.begin(), values.end()};
  std::vector<float> out;
  out.reserve(static_cast<size_t>(count * dimension));
  for (int64_t i = 0; i < count; ++i) {
    const int64_t first = all * i / count, length = all * (i + 1) / count - first;
    const int64_t at = first + static_cast<int64_t>(random.word(static_cast<uint64_t>(i))) % length;
    const auto vector = values.subspan(static_cast<size_t>(at * dimension), static_cast<size_t>(dimension));
    out.insert(out.end(), vector.begin(), vector.end());
  }
  return out;
}

/// The distinct numbers of `values`, ascending, with sums over everything before each.
class Line {
 public:
  explicit Line(std::vector<float> values) {
    std::sort(values.begin(), values.end());
    counts_ = sums_ = {0};
    for (size_t i = 0; i < values.size(); ++i) {
      if (i > 0 && values[i] == values[i - 1]) {
        counts_.back() += 1, sums_.back() += values[i];
        continue;
      }
      distinct_.push_back(values[i]);
      counts_.push_back(counts_.back() + 1), sums_.push_back(sums_.back() + values[i]);
    }
  }
  int64_t size() const { return static_cast<int64_t>(distinct_.size()); }
  double value(int64_t i) const { return distinct_[static_cast<size_t>(i)]; }
  /// How many distinct numbers are below `edge`.
  int64_t below(double edge) const {
    return std::lower_bound(distinct_.begin(), distinct_.end(), edge,
                            [](float value, double limit) { return double{value} < limit; }) -
           distinct_.begin();
  }
  /// Mean over the distinct numbers first .. end - 1, each as often as it occurs; end > first.
  double mean(int64_t first, int64_t end) const {
    const auto a = static_cast<size_t>(first), b = static_cast<size_t>(end);
    return (sums_[b] - sums_[a]) / (counts_[b] - counts_[a]);
  }

 private:
  std::vector<float> distinct_;
  std::vector<double> counts_, sums_;  // [distinct + 1]
};

std::vector<float> find_on_line(std::vector<float> values, const KmeansOptions& options) {
  const Line line(std::move(values));
  const int64_t entries = options.entries;
  std::vector<double> table;
  if (line.size() <= entries) {  // every number is an entry; what is left repeats the last
    for (int64_t i = 0; i < entries; ++i) table.push_back(line.value(std::min(i, line.size() - 1)));
    return {table.begin(), table.end()};
  }
  for (int64_t i = 0; i < entries; ++i)
    table.push_back(line.mean(line.size() * i / entries, line.size() * (i + 1) / entries));
  std::vector<int64_t> edges(static_cast<size_t>(entries) + 1, -1), next(edges.size());
  for (int step = 0; step < options.iterations; ++step) {
    next.front() = 0, next.back() = line.size();
    for (size_t i = 1; i < table.size(); ++i) next[i] = line.below((table[i - 1] + table[i]) / 2);
    if (next == edges) break;
    edges = next;
    for (size_t i = 0; i < table.size(); ++i)
      if (edges[i + 1] > edges[i]) table[i] = line.mean(edges[i], edges[i + 1]);
  }
  return {table.begin(), table.end()};
}

/// Vectors with a table, stored by component so that distances to many entries are computed side by side.
class Space {
 public:
  Space(ThreadPool& pool, std::span<const float> values, const KmeansOptions& options)
      : pool_(pool),
        values_(values),
        dimension_(options.dimension),
        entries_(options.entries),
        count_(static_cast<int64_t>(values.size()) / dimension_),
        table_(static_cast<size_t>(entries_ * dimension_)),
        nearest_(static_cast<size_t>(count_), -1),
        distances_(static_cast<size_t>(count_)) {}

  void seed(const RandomBits& random);
  /// Each vector to its nearest entry, the lowest of several; returns whether any vector changed.
  bool assign();
  /// Sum of squared distances to the nearest entries.
  double error() const { return std::accumulate(distances_.begin(), distances_.end(), 0.0); }
  void move_entries();
  std::vector<float> table() const;

 private:
  const float* vector(int64_t i) const { return &values_[static_cast<size_t>(i * dimension_)]; }
  double& entry(int64_t e, int64_t component) { return table_[static_cast<size_t>(component * entries_ + e)]; }
  void set_entry(int64_t e, int64_t from) {
    for (int64_t i = 0; i < dimension_; ++i) entry(e, i) = vector(from)[i];
  }
  double distance_to_entry(int64_t v, int64_t e) {
    double sum = 0;
    for (int64_t i = 0; i < dimension_; ++i) sum += (vector(v)[i] - entry(e, i)) * (vector(v)[i] - entry(e, i));
    return sum;
  }

  ThreadPool& pool_;
  std::span<const float> values_;
  int64_t dimension_, entries_, count_;
  std::vector<double> table_;  // [dimension, entries]
  std::vector<int64_t> nearest_;
  std::vector<double> distances_;  // squared, to the nearest entry
};

void Space::seed(const RandomBits& random) {
  set_entry(0, static_cast<int64_t>(random.word(0)) % count_);
  std::fill(distances_.begin(), distances_.end(), HUGE_VAL);
  for (int64_t e = 0; e + 1 < entries_; ++e) {
    pool_.parallel_for(count_, 1024, [&](int64_t begin, int64_t end, int) {
      for (int64_t v = begin; v < end; ++v)
        distances_[static_cast<size_t>(v)] = std::min(distances_[static_cast<size_t>(v)], distance_to_entry(v, e));
    });
    double left = error() * (random.word(static_cast<uint64_t>(e) + 1) * 0x1p-32);
    int64_t chosen = 0;
    while (chosen + 1 < count_ && (left -= distances_[static_cast<size_t>(chosen)]) >= 0) ++chosen;
    set_entry(e + 1, chosen);
  }
}

bool Space::assign() {
  std::vector<std::vector<double>> scratch(static_cast<size_t>(pool_.threads()),
                                           std::vector<double>(static_cast<size_t>(entries_)));
  std::vector<uint8_t> changed(scratch.size());
  pool_.parallel_for(count_, 256, [&](int64_t begin, int64_t end, int worker) {
    double* sums = scratch[static_cast<size_t>(worker)].data();
    for (int64_t v = begin; v < end; ++v) {
      std::fill_n(sums, entries_, 0.0);
      for (int64_t i = 0; i < dimension_; ++i) {
        const double x = vector(v)[i];
        const double* components = &table_[static_cast<size_t>(i * entries_)];
        for (int64_t e = 0; e < entries_; ++e) sums[e] += (x - components[e]) * (x - components[e]);
      }
      const int64_t best = std::min_element(sums, sums + entries_) - sums;
      if (best != nearest_[static_cast<size_t>(v)]) changed[static_cast<size_t>(worker)] = 1;
      nearest_[static_cast<size_t>(v)] = best;
      distances_[static_cast<size_t>(v)] = sums[best];
    }
  });
  return std::find(changed.begin(), changed.end(), 1) != changed.end();
}

void Space::move_entries() {
  std::vector<int64_t> members(static_cast<size_t>(entries_));
  std::vector<double> sums(table_.size());
  for (int64_t v = 0; v < count_; ++v) {  // one after the other: the sums do not depend on threads
    const int64_t e = nearest_[static_cast<size_t>(v)];
    ++members[static_cast<size_t>(e)];
    for (int64_t i = 0; i < dimension_; ++i) sums[static_cast<size_t>(i * entries_ + e)] += vector(v)[i];
  }
  for (int64_t e = 0; e < entries_; ++e) {
    const int64_t count = members[static_cast<size_t>(e)];
    if (count == 0) {
      const auto farthest = std::max_element(distances_.begin(), distances_.end());
      set_entry(e, farthest - distances_.begin());
      *farthest = 0;  // the next unused entry takes another
      continue;
    }
    for (int64_t i = 0; i < dimension_; ++i)
      entry(e, i) = sums[static_cast<size_t>(i * entries_ + e)] / static_cast<double>(count);
  }
}

std::vector<float> Space::table() const {
  std::vector<float> out;
  for (int64_t e = 0; e < entries_; ++e)
    for (int64_t i = 0; i < dimension_; ++i)
      out.push_back(static_cast<float>(table_[static_cast<size_t>(i * entries_ + e)]));
  return out;
}

}  // namespace

std::vector<float> find_codebook(ThreadPool& pool, std::span<const float> values, const KmeansOptions& options) {
  const int64_t count = static_cast<int64_t>(values.size()) / std::max(1, options.dimension);
  if (options.dimension < 1 || options.entries < 2 || count * options.dimension != static_cast<int64_t>(values.size()))
    throw InvalidArgument("{} numbers do not divide into vectors of {} for {} entries; at least 2 entries of 1 can be",
                          values.size(), options.dimension, options.entries);
  if (count < options.entries)
    throw InvalidArgument(
        "a codebook of {} entries needs as many vectors; {} of {} numbers were given, so ask for less", options.entries,
        count, options.dimension);
  RandomKey key = options.key;
  const RandomBits drawing(key);
  key.step = ~key.step;  // a stream of its own
  const RandomBits seeding(key);
  const int64_t most =
      options.dimension == 1 ? kNumberSamples : std::max(kLeastSamples, options.entries * options.samples_per_entry);
  std::vector<float> vectors = sampled(values, options.dimension, most, drawing);
  if (options.dimension == 1) return find_on_line(std::move(vectors), options);
  Space space(pool, vectors, options);
  space.seed(seeding);
  double before = HUGE_VAL;
  for (int step = 0; step < options.iterations && space.assign(); ++step) {
    const double error = space.error();
    if (before - error < options.least_gain * before) break;
    before = error;
    space.move_entries();
  }
  return space.table();
}

}  // namespace halftone
