// Our program's turn in the tasks that other programs are timed with.
#pragma once

#include <map>
#include <string>

#include "base/philox.h"
#include "engine/bench/peer.h"
#include "engine/bench/speed.h"

namespace halftone::engine {

/// What a task needs before its clock starts, a filled cache, is kept between rounds.
class OurSide {
 public:
  OurSide(const nn::Decoder& decoder, uint64_t seed) : decoder_(decoder), random_(seed) {}

  /// Tokens per second of one round of `task`; a trace of `exec` holds what was timed alone.
  double measure(ExecContext& exec, const LlmTask& task);

 private:
  std::vector<int32_t> random_tokens(int64_t count);

  const nn::Decoder& decoder_;
  PhiloxStream random_;
  std::map<std::string, DecodeRun> runs_;
};

}  // namespace halftone::engine
