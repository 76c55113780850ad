// Benchmark results as JSON; see bench.h.
#include "base/json.h"
#include "engine/bench/bench.h"

namespace halftone::engine {

Json to_json(const KernelTiming& t) {
  return {{"operation", t.operation},
          {"problem", t.problem},
          {"kernel", t.kernel},
          {"chosen", t.chosen},
          {"seconds", t.seconds},
          {"spread", t.spread},
          {"gigabytes_per_second", t.gigabytes_per_second},
          {"gigaflops", t.gigaflops},
          {"error", t.error}};
}

Json to_json(const LlmBench& bench) {
  Json ways = Json::array();
  for (const auto& way : bench.ways)
    ways.push_back({{"name", way.name},
                    {"bytes_per_token", way.bytes_per_token},
                    {"decode_tokens_per_second", way.decode_tokens_per_second},
                    {"decode_spread", way.decode_spread},
                    {"decode_ratio", way.decode_ratio},
                    {"decode_gigabytes_per_second", way.decode_tokens_per_second * way.bytes_per_token * 1e-9},
                    {"prefill_tokens_per_second", way.prefill_tokens_per_second},
                    {"prefill_spread", way.prefill_spread},
                    {"prefill_ratio", way.prefill_ratio}});
  return {{"read_gigabytes_per_second", bench.read_gigabytes_per_second}, {"ways", ways}};
}

}  // namespace halftone::engine
