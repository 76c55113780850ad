// halftone bench llm --vs: our program against others; --breakdown: where its own time goes.
#pragma once

#include <string>
#include <vector>

#include "cli/command.h"
#include "engine/bench/bench_llm_breakdown.h"
#include "engine/bench/bench_llm_peers.h"

namespace halftone::cli {

/// Adds --vs, --tasks, --peers-dir and --breakdown; `request.peers` is empty unless --vs is given.
void add_peer_options(CLI::App& command, engine::PeerBenchRequest& request, bool& breakdown);

/// Times and prints.
int run_peers(const CommonOptions& common, const std::string& model, const engine::PeerBenchRequest& request);
int run_breakdown(const CommonOptions& common, const std::string& model, const engine::BreakdownRequest& request);

}  // namespace halftone::cli
