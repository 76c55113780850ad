// halftone bench llm --vs: our program against others.
#pragma once

#include <string>
#include <vector>

#include "cli/command.h"
#include "engine/bench/bench_llm_peers.h"

namespace halftone::cli {

/// Adds --vs, --tasks and --peers-dir; `request.peers` is empty unless --vs is given.
void add_peer_options(CLI::App& command, engine::PeerBenchRequest& request);

/// Times and prints.
int run_peers(const CommonOptions& common, const std::string& model, const engine::PeerBenchRequest& request);

}  // namespace halftone::cli
